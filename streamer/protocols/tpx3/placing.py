"""Which numbers the frames of a scan have: on the wire they have none, only their order.

Up to the first loss that is their count. What comes after one is held until the scan ends, for then it can be counted
from the end: of a scan that ended, all frames were sent. What came between two losses has no place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ptylive.streamer.protocols.tpx3.chunks import Csr

MOST_HELD_BYTES = 256 * 2**20


@dataclass
class _Part:
    """What came after a loss without another one: chunks, None for one whose frames are lost or were not held."""

    chunks: list[tuple[int, Csr | None]] = field(default_factory=list)
    """Each with the number of its frames."""

    @property
    def count(self) -> int:
        return sum(count for count, _ in self.chunks)


@dataclass(frozen=True)
class Placed:
    """Frames and the number of the first."""

    first: int
    frames: Csr


class Placing:
    """The frames of one scan."""

    def __init__(self, frames: int, *, begun: bool) -> None:
        """``frames`` in all; ``begun``: nothing of it was lost before."""
        self._frames = frames
        self._next = 0
        self._parts: list[_Part] = [] if begun else [_Part()]
        self._held_bytes = 0
        self.last = -1
        """The highest number that a frame had, -1 before the first."""

    def lose(self) -> None:
        """Nobody knows how many frames were lost here."""
        if not self._parts or self._parts[-1].count:
            self._parts.append(_Part())

    def put(self, count: int, frames: Csr | None) -> Placed | None:
        """The next ``count`` frames, None for those known to be lost; where they belong, or None: that is not known."""
        if not self._parts:
            first, self._next = self._next, self._next + count
            return self._placed(first, frames)
        part = self._parts[-1]
        if frames is not None:
            self._held_bytes += frames.ends.nbytes + frames.indices.nbytes + frames.values.nbytes
        part.chunks.append((count, frames if self._held_bytes <= MOST_HELD_BYTES else None))
        return None

    def settle(self, *, ended: bool) -> tuple[list[Placed], int]:
        """What was held, with its place, and how many frames have none; ``ended``: the sender has sent all frames."""
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

    def _placed(self, first: int, frames: Csr | None) -> Placed | None:
        if frames is None:
            return None
        self.last = max(self.last, first + len(frames.ends) - 1)
        return Placed(first, frames)
