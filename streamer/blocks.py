"""Blocks of patterns from many messages, as the compiled loop hands them over (:mod:`ptylive.streamer.fast`), and
the memory they lie in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ptylive.schema import FrameBatch
from ptylive.schema.model import IndexArray
from ptylive.streamer.wire import FramesMessage
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.limits import MAX_BATCH

_KEPT_BLOCKS = 16


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


class BlockMemory:
    """Blocks (bytes,) uint8, used again once nobody holds them: fresh memory is as slow as decoding."""

    def __init__(self) -> None:
        self._nbytes = 0
        self._blocks: list[np.ndarray] = []

    def shape(self, nbytes: int) -> None:
        """Make blocks of this size from now on."""
        if self._nbytes != nbytes:
            self._nbytes, self._blocks = nbytes, []

    def block(self) -> np.ndarray:
        """A block that nobody else refers to."""
        for k in range(len(self._blocks)):
            if sys.getrefcount(self._blocks[k]) == 2:  # the list and this question
                return self._blocks[k]
        made = np.empty(self._nbytes, np.uint8)
        if len(self._blocks) < _KEPT_BLOCKS:
            self._blocks.append(made)
        return made
