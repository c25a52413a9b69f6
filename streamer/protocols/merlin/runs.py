"""Runs of frames of equal length: headers are compared with one that has been parsed, pixels are decoded together.

Everything that must equal the first frame is compared byte by byte: the fields that describe the arrangement of the
pixels, and their positions. Sequence numbers are read; times, exposures, thresholds and converters may change from
frame to frame. The first frame that differs otherwise ends the run, and is read like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from ptylive.schema import FrameBatch
from ptylive.schema.model import Array, ByteArray, IndexArray
from ptylive.streamer.blocks import BlockMemory, FrameBlock
from ptylive.streamer.marks import marked_bytes, marks_of_bytes
from ptylive.streamer.protocols.merlin.headers import FrameHeader
from ptylive.streamer.protocols.merlin.pixels import PixelLayout, decode_pixels, stored_bytes
from ptylive.streamer.protocols.merlin.splitter import PREFIX_BYTES
from ptylive.streamer.wire import FramesMessage
from ptylive.streamer.wire.arrays import Buffer

MOST_BYTES = 8 * 2**20
"""Limit on the bytes of patterns that are decoded together."""
_FIRST_FIXED, _LAST_FIXED = 2, 7
"""Fields from the data offset to the layout."""
_MOST_DIGITS = 10
_LEAST_KEPT_BYTES = 2**18
"""Smaller runs are decoded to other memory: they would hold a buffer of which most is something else."""
_LEAST_MARKED_BYTES = 8


class Compiled(Protocol):
    """Examines and decodes runs faster than numpy; see :mod:`ptylive.streamer.fast.merlin_pixels`."""

    def alike(self, frames: ByteArray, places: IndexArray, text: ByteArray, digits: slice) -> tuple[int, int]:
        """:meth:`RunTemplate.alike` for frames (n, bytes)."""
        ...

    def marks(self, frames: ByteArray, places: IndexArray, nbytes: int) -> Array:
        """:meth:`RunTemplate.marks` for frames (n, bytes); positions below 0 hold nothing."""
        ...

    def decode(self, layout: PixelLayout, frames: ByteArray, offset: int, patterns: ByteArray) -> bool:
        """Fill patterns (bytes,) from frames (n, bytes) with pixels from column ``offset`` on; False: not supported."""
        ...

    def handed_on(
        self, layout: PixelLayout, frames: ByteArray, offset: int, uid: str, index: IndexArray
    ) -> FrameBatch | None:
        """Return the frames undecoded, to be decoded by whoever reads them; None: not supported."""
        ...

    def pack(self, layout: PixelLayout, frames: ByteArray, offset: int) -> ByteArray | None:
        """Decode within the memory of the frames; None where that is impossible."""
        ...


_compiled: list[Compiled] = []


def decode_runs_with(compiled: Compiled) -> None:
    """Decode runs with compiled functions from now on."""
    _compiled[:] = [compiled]


@dataclass(frozen=True)
class RunTemplate:
    """A parsed frame with which others of its acquisition are compared.

    stride: bytes of a frame with prefix and header; offset: bytes before the pixels; digits: position of the sequence
    number; places, text: positions and values of the bytes that must be the same.
    """

    stride: int
    offset: int
    digits: slice
    places: IndexArray
    text: ByteArray
    header: FrameHeader
    layout: PixelLayout

    @classmethod
    def of(cls, message: Buffer, header: FrameHeader, layout: PixelLayout) -> RunTemplate | None:
        """Make a template from a frame without its prefix; None for a header with which others cannot be compared."""
        text = bytes(message[: header.data_offset])
        fields = text.split(b",")
        starts = np.cumsum([0, *(len(field) + 1 for field in fields)])
        if not (fields[1].isdigit() and len(fields[1]) <= _MOST_DIGITS):
            return None
        same = [np.arange(starts[1]), np.arange(starts[_FIRST_FIXED] - 1, starts[_LAST_FIXED + 1])]
        if b"MQ1A" in fields:  # contains the depth of the counter
            at = fields.index(b"MQ1A")
            for k in [at, at + 3] if len(fields) > at + 4 else [at]:
                same.append(np.arange(starts[k] - 1, starts[k + 1]))
        places = np.concatenate(same)
        return cls(
            stride=PREFIX_BYTES + len(message),
            offset=PREFIX_BYTES + header.data_offset,
            digits=slice(PREFIX_BYTES + int(starts[1]), PREFIX_BYTES + int(starts[1]) + len(fields[1])),
            places=PREFIX_BYTES + places,
            text=np.frombuffer(text, np.uint8)[places],
            header=header,
            layout=layout,
        )

    def rows(self, run: Buffer) -> ByteArray | None:
        """Return the frames of a run that are processed together (n, stride); None where they have another length."""
        if len(run) % self.stride:
            return None
        return np.frombuffer(run, np.uint8).reshape(-1, self.stride)[: max(1, MOST_BYTES // max(1, self.pattern_bytes))]

    @cached_property
    def pattern_bytes(self) -> int:
        """Bytes of a pattern."""
        return int(np.prod(self.layout.shape)) * np.dtype(self.layout.dtype).itemsize

    def marks(self, rows: ByteArray) -> Array | None:
        """Marks (n,) of the patterns of frames (n, stride), without decoding them; None where that is impossible."""
        if (places := self._marked) is None:
            return None
        if _compiled:
            return _compiled[0].marks(rows, places, self.pattern_bytes)
        found = rows[:, places]
        found[:, places < 0] = 0
        return marks_of_bytes(found, self.pattern_bytes)

    @cached_property
    def _marked(self) -> IndexArray | None:
        """Positions in a frame of the bytes that its mark uses, -1 for those that are 0."""
        if self.pattern_bytes < _LEAST_MARKED_BYTES:
            return None
        places = stored_bytes(self.layout, tuple(marked_bytes(self.pattern_bytes).tolist()))
        return None if places is None else np.where(places < 0, -1, self.offset + places)

    def alike(self, rows: ByteArray) -> tuple[int, int]:
        """Number of the first frame, from 0, and how many frames from it on match the template and are consecutive."""
        if _compiled:
            return _compiled[0].alike(rows, self.places, self.text, self.digits)
        good = (rows[:, self.places] == self.text).all(axis=1)
        digits = rows[:, self.digits] - np.uint8(ord("0"))
        good &= (digits <= 9).all(axis=1)
        numbers = digits.astype(np.int64) @ 10 ** np.arange(digits.shape[1], dtype=np.int64)[::-1] - 1
        good &= (numbers == numbers[0] + np.arange(len(rows))) & (numbers >= 0)
        return int(numbers[0]), len(rows) if good.all() else int(np.argmin(good))


class RunDecoder:
    """Turns runs into frames as received, or into patterns, in memory that is reused."""

    def __init__(self) -> None:
        self._memory = BlockMemory()

    def message(self, template: RunTemplate, rows: ByteArray, uid: str, first: int) -> FramesMessage | FrameBlock:
        """Return the message or block of matching frames (n, stride) of a scan, from number ``first`` on; the frames
        stay undecoded where large runs are decoded faster while they are reduced.
        """
        decode = partial(self.decode, template, rows)
        if _compiled and rows.nbytes >= _LEAST_KEPT_BYTES and (marks := template.marks(rows)) is not None:
            index = np.arange(first, first + len(rows))
            batch = _compiled[0].handed_on(template.layout, rows, template.offset, uid, index)
            if batch is not None:
                return FrameBlock(batch, "none", marks, decode)
        return FramesMessage(uid, first, len(rows), "none", (decode().data,))

    def decode(self, template: RunTemplate, rows: ByteArray) -> Array:
        """Decode matching frames (n, stride) to patterns, back to back (bytes,) uint8; may overwrite the frames."""
        layout = template.layout
        if _compiled and rows.flags.writeable and rows.nbytes >= _LEAST_KEPT_BYTES:
            packed = _compiled[0].pack(layout, rows, template.offset)
            if packed is not None:
                return packed
        nbytes = template.pattern_bytes
        self._memory.shape(max(nbytes, MOST_BYTES // nbytes * nbytes))
        found = self._memory.block()[: len(rows) * nbytes]
        if not (_compiled and _compiled[0].decode(layout, rows, template.offset, found)):
            for k, row in enumerate(rows):
                pattern = decode_pixels(layout, row[template.offset :].data)
                found[k * nbytes : (k + 1) * nbytes] = np.frombuffer(pattern, np.uint8)
        return found
