"""Patterns handed on in the coding in which they arrived: checked by the receive loop, decoded by their readers."""

from __future__ import annotations

import numpy as np

from ptylive.schema import CodedFrames, FrameBatch
from ptylive.schema.model import Array, ByteArray, IndexArray
from ptylive.streamer.fast.bslz4 import WORK_BYTES, decode_all, decode_at, decode_bytes_at, work_space
from ptylive.streamer.wire import FrameLayout


class DecodableBatch(FrameBatch):
    """A batch of coded patterns, all of which decode."""

    @property
    def frames(self) -> Array:
        """All patterns (n, *shape), decoded anew each time."""
        return self._decoded(0, len(self.index))

    def frame(self, position: int) -> Array:
        """Return one decoded pattern."""
        return np.asarray(self._decoded(position, 1)[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the coded patterns."""
        return self._coded.data.nbytes

    @property
    def _coded(self) -> CodedFrames:
        assert self.coded is not None  # noqa: S101  (always given here)
        return self.coded

    def _decoded(self, first: int, count: int) -> Array:
        """Decode ``count`` patterns from position ``first`` on."""
        raise NotImplementedError


class CodedBatch(DecodableBatch):
    """A batch of bslz4 patterns that the receive loop has checked."""

    def __init__(self, uid: str, index: IndexArray, data: ByteArray, ends: IndexArray, layout: FrameLayout) -> None:
        """Patterns back to back in data (bytes,) uint8, each up to ends (n,)."""
        coded = CodedFrames(data, ends, decode_at.address, WORK_BYTES, in_bytes=decode_bytes_at.address)
        vars(self).update(uid=uid, index=index, coded=coded, _layout=layout)

    def _decoded(self, first: int, count: int) -> Array:
        layout: FrameLayout = vars(self)["_layout"]
        coded, frames = self._coded, np.empty((count, layout.nbytes), dtype=np.uint8)
        decode_all(coded.data, coded.ends, first, layout.dtype.itemsize, frames, *work_space())
        return frames.view(layout.dtype).reshape(count, *layout.shape)
