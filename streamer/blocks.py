"""Blocks of patterns from many messages, as the compiled loop hands them over (:mod:`ptylive.streamer.fast`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ptylive.schema import FrameBatch
from ptylive.schema.model import IndexArray
from ptylive.streamer.wire import FramesMessage
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.limits import MAX_BATCH


@dataclass(frozen=True)
class FrameBlock:
    """New patterns of one scan in the order they came, and how they came: ``batch.coded`` unless ``codec`` is none."""

    batch: FrameBatch
    codec: Codec

    @property
    def uid(self) -> str:
        """The scan."""
        return self.batch.uid

    @property
    def index(self) -> IndexArray:
        """Acquisition numbers, (n,)."""
        return self.batch.index

    def runs(self) -> Iterator[tuple[int, int]]:
        """Half-open ranges of patterns whose acquisition numbers follow each other, each at most a message long."""
        breaks = (np.flatnonzero(np.diff(self.index) != 1) + 1).tolist()
        for start, stop in zip([0, *breaks], [*breaks, len(self.index)], strict=True):
            for first in range(start, stop, MAX_BATCH):
                yield first, min(stop, first + MAX_BATCH)

    def message(self, start: int, stop: int) -> tuple[FramesMessage, list[int], Buffer]:
        """A run as a frames message without its parts, the lengths of the parts, and the parts back to back."""
        head = FramesMessage(self.uid, int(self.index[start]), stop - start, self.codec, ())
        if self.batch.coded is None:
            payload = np.ascontiguousarray(self.batch.frames[start:stop]).data.cast("B")
            return head, [len(payload)], payload
        data, ends = self.batch.coded.data, self.batch.coded.ends
        offset = int(ends[start - 1]) if start else 0
        lengths = np.diff(ends[start:stop], prepend=offset)
        return head, lengths.tolist(), data[offset : int(ends[stop - 1])].data
