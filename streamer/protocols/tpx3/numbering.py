"""Number the frames of a scan: on the wire they have no numbers, only their order.

Up to the first loss, frames are counted from the beginning. Frames after a loss are held until the scan ends, because
they can then be counted from the end: a scan that ended has sent all its frames. Frames between two losses cannot be
placed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ptylive.streamer.protocols.tpx3.chunks import Csr

MOST_HELD_BYTES = 256 * 2**20


@dataclass
class _Part:
    """Frames between one loss and the next: chunks, None for one whose frames are lost or were not held."""

    chunks: list[tuple[int, Csr | None]] = field(default_factory=list)
    """Pairs of a number of frames and their data."""

    @property
    def count(self) -> int:
        return sum(count for count, _ in self.chunks)


@dataclass(frozen=True)
class PlacedFrames:
    """Frames and the number of the first one."""

    first: int
    frames: Csr


class FrameNumbering:
    """Assigns numbers to the frames of one scan."""

    def __init__(self, frames: int, *, begun: bool) -> None:
        """``frames``: number in the whole scan; ``begun``: no earlier frame was lost."""
        self._frames = frames
        self._next = 0
        self._parts: list[_Part] = [] if begun else [_Part()]
        self._held_bytes = 0
        self.last = -1
        """The highest number that a frame had, -1 before the first frame."""

    def lose(self) -> None:
        """Record a loss of an unknown number of frames."""
        if not self._parts or self._parts[-1].count:
            self._parts.append(_Part())

    def put(self, count: int, frames: Csr | None) -> PlacedFrames | None:
        """Place the next ``count`` frames, None for those known to be lost; None while their place is unknown."""
        if not self._parts:
            first, self._next = self._next, self._next + count
            return self._placed(first, frames)
        part = self._parts[-1]
        if frames is not None:
            self._held_bytes += frames.ends.nbytes + frames.indices.nbytes + frames.values.nbytes
        part.chunks.append((count, frames if self._held_bytes <= MOST_HELD_BYTES else None))
        return None

    def settle(self, *, ended: bool) -> tuple[list[PlacedFrames], int]:
        """Place held frames and count those that have no place; ``ended``: the sender has sent all frames."""
        parts, self._parts = self._parts, []
        waiting = sum(len(frames.ends) for part in parts for _, frames in part.chunks if frames is not None)
        at = self._frames - parts[-1].count if parts else 0
        if not ended or at < self._next:
            return [], waiting
        found = []
        for count, frames in parts[-1].chunks if parts else ():
            placed = self._placed(at, frames)
            found += [] if placed is None else [placed]
            at += count
        return found, waiting - sum(len(placed.frames.ends) for placed in found)

    def _placed(self, first: int, frames: Csr | None) -> PlacedFrames | None:
        if frames is None:
            return None
        self.last = max(self.last, first + len(frames.ends) - 1)
        return PlacedFrames(first, frames)
