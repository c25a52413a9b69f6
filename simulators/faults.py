"""Deliberate, repeatable faults of a sender or a transport."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ptylive.streamer.wire import FramesMessage
from ptylive.streamer.wire.arrays import Buffer


@dataclass(frozen=True)
class Faults:
    """Faults applied to frames messages. seed: the same seed, the same faults.

    shuffle: number of messages within which the order is random (0: order kept); duplicate, loss: fractions of messages
    sent twice, and not at all; corrupt, wrong_shape: fractions in which one pattern is damaged (its frame is then
    lost), or has one row too many; stall_at, stall_s: a pause of this length before the message of that number;
    abort_at: message before which the sender falls silent, without announcing the end of the scan.
    """

    seed: int = 0
    shuffle: int = 0
    duplicate: float = 0.0
    loss: float = 0.0
    corrupt: float = 0.0
    wrong_shape: float = 0.0
    stall_at: int | None = None
    stall_s: float = 0.0
    abort_at: int | None = None

    @property
    def aborts(self) -> bool:
        """Whether the sender leaves in the middle of a scan."""
        return self.abort_at is not None

    def apply(
        self, messages: Iterable[FramesMessage], pause: Callable[[float], None] = time.sleep
    ) -> Iterator[FramesMessage]:
        """Yield the messages as they arrive: missing, doubled, damaged, out of order within ``shuffle``, or late."""
        chance = random.Random(self.seed)  # noqa: S311  (repeatable, not secret)
        window: list[FramesMessage] = []
        for number, message in enumerate(messages):
            if number == self.abort_at:
                break
            if number == self.stall_at:
                yield from window
                window.clear()
                pause(self.stall_s)
            if chance.random() >= self.loss:
                window.append(self._damaged(message, chance))
                if chance.random() < self.duplicate:
                    window.append(message)
            while len(window) > self.shuffle:
                yield window.pop(chance.randrange(len(window)))
        chance.shuffle(window)
        yield from window

    def _damaged(self, message: FramesMessage, chance: random.Random) -> FramesMessage:
        if self.corrupt and chance.random() < self.corrupt:
            return _with_part(message, chance.randrange(len(message.parts)), _cut)
        if self.wrong_shape and chance.random() < self.wrong_shape:
            return _with_part(message, chance.randrange(len(message.parts)), _enlarged)
        return message


def _with_part(message: FramesMessage, k: int, change: Callable[[FramesMessage, bytes], bytes]) -> FramesMessage:
    """Return a message with one part changed."""
    parts: list[Buffer] = list(message.parts)
    parts[k] = change(message, bytes(parts[k]))
    return replace(message, parts=tuple(parts))


def _cut(message: FramesMessage, part: bytes) -> bytes:
    """The first half of a part: the effect of a flipped bit would go unnoticed, as the codecs carry no checksum."""
    return part[: len(part) // 2]


def _enlarged(message: FramesMessage, part: bytes) -> bytes:
    """A part as from a larger detector: more bytes, or a framing that announces more."""
    if message.codec == "none":
        return part + part[: max(1, len(part) // message.count // 16)]
    (announced,) = struct.unpack_from(">Q", part)
    return struct.pack(">Q", announced + announced // 16 + 1) + part[8:]
