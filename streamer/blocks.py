"""Blocks of patterns from many messages, as the compiled loop hands them over (:mod:`ptylive.streamer.fast`), and the
memory that holds them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ptylive.schema import FrameBatch
from ptylive.schema.model import Array, ByteArray, IndexArray
from ptylive.streamer.wire import FrameLayout, FramesMessage
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.codec import Codec
from ptylive.streamer.wire.limits import MAX_BATCH

_KEPT_BLOCKS = 16


@dataclass(frozen=True)
class FrameBlock:
    """New patterns of one scan in order of arrival and as they arrived: ``batch.coded`` unless ``codec`` is none.

    Patterns in a detector's own coding follow one another; their ``codec`` is none, because they are written decoded.
    Call decode to get them as (bytes,) uint8; it may decode in place, which destroys the batch. marks (n,) uint32 is
    given where the maker of the block has not stored the marks itself.
    """

    batch: FrameBatch
    codec: Codec
    marks: Array | None = None
    decode: Callable[[], ByteArray] | None = None

    @property
    def uid(self) -> str:
        """Uid of the scan."""
        return self.batch.uid

    @property
    def index(self) -> IndexArray:
        """Acquisition numbers, (n,)."""
        return self.batch.index

    def decoded(self) -> FramesMessage:
        """Return consecutive patterns in a detector's own coding as a message; this destroys the block."""
        assert self.decode is not None  # noqa: S101  (a condition of this method, not user input)
        return FramesMessage(self.uid, int(self.index[0]), len(self.index), "none", (self.decode().data,))

    def in_bytes(self, layout: FrameLayout) -> FrameBlock:
        """Return the block with its patterns as they are written; a block in a detector's own coding is destroyed."""
        if self.decode is None:
            return self
        frames = self.decode().view(layout.dtype).reshape(-1, *layout.shape)
        return replace(self, batch=FrameBatch(self.uid, self.index, frames), decode=None)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Half-open ranges of patterns with consecutive acquisition numbers, each at most one message long."""
        breaks = (np.flatnonzero(np.diff(self.index) != 1) + 1).tolist()
        for start, stop in zip([0, *breaks], [*breaks, len(self.index)], strict=True):
            for first in range(start, stop, MAX_BATCH):
                yield first, min(stop, first + MAX_BATCH)

    def message(self, start: int, stop: int) -> tuple[FramesMessage, list[int], Buffer]:
        """Return a run as a frames message without its parts, the lengths of the parts, and the parts back to back."""
        head = FramesMessage(self.uid, int(self.index[start]), stop - start, self.codec, ())
        if self.batch.coded is None:
            payload = np.ascontiguousarray(self.batch.frames[start:stop]).data.cast("B")
            return head, [len(payload)], payload
        data, ends = self.batch.coded.data, self.batch.coded.ends
        offset = int(ends[start - 1]) if start else 0
        lengths = np.diff(ends[start:stop], prepend=offset)
        return head, lengths.tolist(), data[offset : int(ends[stop - 1])].data


class BlockMemory:
    """Blocks (bytes,) uint8, reused once nobody holds them: allocating fresh memory takes as long as decoding."""

    def __init__(self) -> None:
        self._nbytes = 0
        self._blocks: list[np.ndarray] = []

    def shape(self, nbytes: int) -> None:
        """Set the size of the blocks handed out from now on."""
        if self._nbytes != nbytes:
            self._nbytes, self._blocks = nbytes, []

    def block(self) -> np.ndarray:
        """Return a block that nobody else refers to."""
        for k in range(len(self._blocks)):
            if sys.getrefcount(self._blocks[k]) == 2:  # the list and the argument of this call
                return self._blocks[k]
        array = np.empty(self._nbytes, np.uint8)
        if len(self._blocks) < _KEPT_BLOCKS:
            self._blocks.append(array)
        return array
