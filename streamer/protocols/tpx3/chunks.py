"""The arrays of a chunk: whole frames as CSR, read, checked, and cut into smaller chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ptylive.schema import WireError
from ptylive.schema.model import Array, IndexArray
from ptylive.streamer.protocols.tpx3.headers import (
    HEADER_BYTES,
    ITEM_BYTES,
    AcquisitionStart,
    Chunk,
    chunk_numbers,
    pack_header,
)
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.events import falling, sum_over_frames

PIECE_BYTES = 2**20
"""A larger chunk is cut, at frames, into pieces of about this size."""


@dataclass(frozen=True)
class Csr:
    """Frames of a chunk: ends (n,) int64; indices (events,) of flat pixels and values (events,), as on the wire."""

    ends: IndexArray
    indices: Array
    values: Array

    def run(self, first: int, stop: int) -> Csr:
        """Return frames ``first`` to ``stop`` (exclusive)."""
        begin, end = int(self.ends[first - 1]) if first else 0, int(self.ends[stop - 1])
        return Csr(self.ends[first:stop] - begin, self.indices[begin:end], self.values[begin:end])


def frame_ends(chunk: Chunk, acquisition: AcquisitionStart, arrays: Buffer) -> IndexArray | None:
    """Positions where the events of each frame (n,) end; None where ``indptr``, the first array, is invalid."""
    indptr = np.frombuffer(arrays, f"<u{acquisition.indptr_bytes}", chunk.frames + 1)
    if int(indptr[0]) or int(indptr[-1]) != chunk.events or bool((indptr[1:] < indptr[:-1]).any()):
        return None
    return indptr[1:].astype(np.int64)


def read_csr(chunk: Chunk, acquisition: AcquisitionStart, arrays: Buffer) -> Csr | None:
    """Return the frames of a chunk whose header has been checked; None where its ``indptr`` is invalid."""
    ends = frame_ends(chunk, acquisition, arrays)
    if ends is None:
        return None
    indices = np.frombuffer(arrays, f"<u{acquisition.index_bytes}", chunk.events, chunk.indices_offset)
    values = np.frombuffer(arrays, f"<u{chunk.value_bytes}", chunk.events, chunk.values_offset)
    return Csr(ends, indices, values)


def pack_chunk(frames: Csr, acquisition: AcquisitionStart) -> bytes:
    """Return header and arrays of some frames."""
    indptr = np.concatenate([[0], frames.ends]).astype(f"<u{acquisition.indptr_bytes}")
    indices = frames.indices.astype(f"<u{acquisition.index_bytes}", copy=False)
    indices_offset = indptr.nbytes
    chunk = Chunk(
        value_bytes=frames.values.dtype.itemsize,
        frames=len(frames.ends),
        events=len(indices),
        indices_offset=indices_offset,
        values_offset=indices_offset + indices.nbytes,
    )
    return pack_header(chunk) + indptr.tobytes() + indices.tobytes() + frames.values.tobytes()


def cut(frames: Csr, acquisition: AcquisitionStart) -> Iterator[bytes]:
    """Cut the frames into chunks of about :data:`PIECE_BYTES`, none without a frame."""
    each = acquisition.index_bytes + frames.values.dtype.itemsize
    sizes = frames.ends * each + np.arange(1, len(frames.ends) + 1) * acquisition.indptr_bytes
    first = 0
    while first < len(sizes):
        before = int(sizes[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(sizes, before + PIECE_BYTES, side="right")))
        yield pack_chunk(frames.run(first, stop), acquisition)
        first = stop


def repaired(data: Buffer, acquisition: AcquisitionStart) -> Chunk | None:
    """Reconstruct the header of a chunk (bytes from its own to the next header) with some damaged fields; None where
    the other fields and the arrays do not determine them.
    """
    frames, events, indices_offset, values_offset = chunk_numbers(data)
    indptr_bytes, index_bytes = acquisition.indptr_bytes, acquisition.index_bytes
    nbytes = len(data) - HEADER_BYTES
    for count in {frames, indices_offset // indptr_bytes - 1}:
        begins = (count + 1) * indptr_bytes
        for inside in {
            events,
            (values_offset - indices_offset) // index_bytes,
            (values_offset - begins) // index_bytes,
        }:
            ends = begins + inside * index_bytes
            value_bytes = (nbytes - ends) // inside if inside > 0 else acquisition.index_bytes
            if inside < 0 or value_bytes not in ITEM_BYTES.values() or ends + inside * value_bytes != nbytes:
                continue
            chunk = Chunk(value_bytes, count, inside, begins, ends)
            with contextlib.suppress(WireError):
                chunk.check(acquisition)
                if frame_ends(chunk, acquisition, data[HEADER_BYTES:]) is not None:
                    return chunk
    return None


def in_order(frames: Csr) -> Csr:
    """Return the frames with rising pixels (32 bits), each once: counts of a pixel listed twice are added."""
    pixels = frames.indices
    if pixels.itemsize > 4:  # a pixel beyond the detector stays so
        pixels = np.minimum(pixels, np.uint64(2**32 - 1))
    pixels = pixels.astype(np.uint32)
    if not falling(pixels, frames.ends).any():
        return Csr(frames.ends, pixels, frames.values)
    number = np.repeat(np.arange(len(frames.ends)), np.diff(frames.ends, prepend=0))
    order = np.lexsort((pixels, number))
    number, pixels, values = number[order], pixels[order], frames.values[order].astype(np.uint64)
    first = np.concatenate([[True], (np.diff(pixels) != 0) | (np.diff(number) != 0)])
    stops = np.append(np.flatnonzero(first)[1:], len(pixels))
    ends = np.cumsum(np.bincount(number[first], minlength=len(frames.ends)))
    return Csr(ends, pixels[first], sum_over_frames(values, stops))
