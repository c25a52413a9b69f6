"""Faults a transport may have, made on purpose and repeatably: shuffled, repeated and lost messages."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ptylive.streamer.wire import FramesMessage


@dataclass(frozen=True)
class Faults:
    """What happens to frames messages on their way. seed: the same seed, the same faults.

    shuffle: messages within which the order is random (0: kept); duplicate, loss: fractions of messages sent twice,
    and not at all.
    """

    seed: int = 0
    shuffle: int = 0
    duplicate: float = 0.0
    loss: float = 0.0

    def apply(self, messages: Iterable[FramesMessage]) -> Iterator[FramesMessage]:
        """The messages as they arrive: some missing, some twice, in a window of ``shuffle`` out of order."""
        chance = random.Random(self.seed)  # noqa: S311  (repeatable, not secret)
        window: list[FramesMessage] = []
        for message in messages:
            if chance.random() >= self.loss:
                window.append(message)
                if chance.random() < self.duplicate:
                    window.append(message)
            while len(window) > self.shuffle:
                yield window.pop(chance.randrange(len(window)))
        chance.shuffle(window)
        yield from window
