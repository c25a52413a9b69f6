"""Headers of the Timepix3 stream: 32 bytes each, little-endian; the first byte gives the kind.

An acquisition gives shapes and types; it holds scans, and a scan holds chunks of whole frames, in order and without
numbers. The start of a scan is followed by text, a chunk by arrays. There is no checksum; reserved bytes that must be
zero, and lengths that follow from one another, distinguish a header from other bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from ptylive.schema import WireError
from ptylive.streamer.wire.arrays import Buffer
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE, MAX_FRAMES

HEADER_BYTES = 32
MAX_METADATA_BYTES = 2**20
"""Limit on the text that may follow the start of a scan."""
MAX_CHUNK_BYTES = 512 * 2**20
"""Limit on the arrays of one chunk: a scan of 1024 x 1024 frames of 50 electrons has 430 MB."""
ACQUISITION_START, SCAN_START, CHUNK, SCAN_END, ACQUISITION_END = range(5)
ITEM_BYTES = {2: 1, 3: 2, 4: 4, 5: 8}
"""Code of an integer type -> its bytes; the types of 1 and 4 bits, which also have codes, are not in use."""
_ALIGNMENTS = (1, 2, 4, 8, 16, 32, 64)
_ACQUISITION = struct.Struct("<3B2HB2HBI15s")
_SCAN = struct.Struct("<BIQ19s")
_CHUNK = struct.Struct("<2B4I14s")
_END = struct.Struct("<BI27s")


@dataclass(frozen=True)
class AcquisitionStart:
    """Properties shared by all scans of an acquisition. nav_shape, sig_shape: (rows, columns) of scan and detector;
    indptr_bytes, index_bytes: of a number in these arrays; time_over_threshold: values are not counts.
    """

    nav_shape: tuple[int, int]
    sig_shape: tuple[int, int]
    indptr_bytes: int
    index_bytes: int
    sequence: int
    time_over_threshold: bool = False
    version: int = 7

    nbytes = 0

    @property
    def frames(self) -> int:
        """Number of frames in one scan."""
        return self.nav_shape[0] * self.nav_shape[1]


@dataclass(frozen=True)
class ScanStart:
    """A scan begins; ``nbytes`` of JSON follow."""

    sequence: int
    nbytes: int = 0


@dataclass(frozen=True)
class Chunk:
    """Whole frames, one behind the other, as CSR arrays: indptr (frames + 1,) from byte 0 on, then indices and values
    (events,) from their offsets on.
    """

    value_bytes: int
    frames: int
    events: int
    indices_offset: int
    values_offset: int

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.values_offset + self.events * self.value_bytes

    def is_close(self, acquisition: AcquisitionStart) -> bool:
        """Whether the arrays follow one another without a byte between them."""
        indptr_end, indices_end = self._ends(acquisition)
        return (self.indices_offset, self.values_offset) == (indptr_end, indices_end)

    def check(self, acquisition: AcquisitionStart) -> None:
        """Raise WireError ``bad_chunk`` for lengths that contradict each other."""
        indptr_end, indices_end = self._ends(acquisition)
        if not (_follows(self.indices_offset, indptr_end) and _follows(self.values_offset, indices_end)):
            raise WireError(f"chunk of {self.frames} frames and {self.events} events: its arrays overlap", "bad_chunk")
        most = acquisition.sig_shape[0] * acquisition.sig_shape[1] * self.frames
        if not 0 < self.frames <= acquisition.frames or self.events > most:
            text = f"chunk of {self.frames} frames and {self.events} events in a scan of {acquisition.frames} frames"
            raise WireError(text, "bad_chunk")
        if self.nbytes > MAX_CHUNK_BYTES:
            raise WireError(f"chunk of {self.nbytes} bytes", "oversized")

    def _ends(self, acquisition: AcquisitionStart) -> tuple[int, int]:
        indptr = (self.frames + 1) * acquisition.indptr_bytes
        return indptr, self.indices_offset + self.events * acquisition.index_bytes


@dataclass(frozen=True)
class ScanEnd:
    """A scan is over."""

    sequence: int
    nbytes = 0


@dataclass(frozen=True)
class AcquisitionEnd:
    """No further scan follows; if a scan has not ended, no further frame of it follows."""

    sequence: int
    nbytes = 0


Tpx3Header = AcquisitionStart | ScanStart | Chunk | ScanEnd | AcquisitionEnd


def parse_header(data: Buffer) -> Tpx3Header:
    """Parse a single header. Raises WireError ``bad_header``, ``impossible_value`` or ``oversized``."""
    kind = data[0]
    if kind == ACQUISITION_START:
        return _acquisition(data)
    if kind == SCAN_START:
        _, sequence, nbytes, zeros = _SCAN.unpack_from(data)
        _check_zeros(zeros)
        if nbytes > MAX_METADATA_BYTES:
            raise WireError(f"start of scan {sequence}: {nbytes} bytes of metadata", "oversized")
        return ScanStart(sequence, nbytes)
    if kind == CHUNK:
        _, value_type, frames, events, indices_offset, values_offset, zeros = _CHUNK.unpack_from(data)
        _check_zeros(zeros)
        return Chunk(_item_bytes(value_type, "values"), frames, events, indices_offset, values_offset)
    if kind in (SCAN_END, ACQUISITION_END):
        _, sequence, zeros = _END.unpack_from(data)
        _check_zeros(zeros)
        return ScanEnd(sequence) if kind == SCAN_END else AcquisitionEnd(sequence)
    raise WireError(f"header of unknown kind {kind}", "bad_header")


def chunk_numbers(data: Buffer) -> tuple[int, int, int, int]:
    """Frames, events, and the offsets of indices and values as given in the header of a chunk, unchecked."""
    _, _, frames, events, indices_offset, values_offset, _ = _CHUNK.unpack_from(data)
    return frames, events, indices_offset, values_offset


def pack_header(header: Tpx3Header) -> bytes:
    """Return the 32 bytes of a header."""
    codes = {nbytes: code for code, nbytes in ITEM_BYTES.items()}
    if isinstance(header, AcquisitionStart):
        types = codes[header.indptr_bytes], codes[header.index_bytes]
        values = (header.version, header.time_over_threshold, *header.nav_shape, types[0], *header.sig_shape, types[1])
        return _ACQUISITION.pack(ACQUISITION_START, *values, header.sequence, b"")
    if isinstance(header, ScanStart):
        return _SCAN.pack(SCAN_START, header.sequence, header.nbytes, b"")
    if isinstance(header, Chunk):
        fields = (header.frames, header.events, header.indices_offset, header.values_offset)
        return _CHUNK.pack(CHUNK, codes[header.value_bytes], *fields, b"")
    return _END.pack(SCAN_END if isinstance(header, ScanEnd) else ACQUISITION_END, header.sequence, b"")


def _acquisition(data: Buffer) -> AcquisitionStart:
    fields = _ACQUISITION.unpack_from(data)
    _, version, values, nav_rows, nav_columns, indptr, rows, columns, index, sequence, zeros = fields
    _check_zeros(zeros)
    if values > 1:
        raise WireError(f"acquisition of unknown format {values}", "bad_header")
    start = AcquisitionStart(
        nav_shape=(nav_rows, nav_columns),
        sig_shape=(rows, columns),
        indptr_bytes=_item_bytes(indptr, "indptr"),
        index_bytes=_item_bytes(index, "indices"),
        sequence=sequence,
        time_over_threshold=values == 1,
        version=version,
    )
    if not 0 < start.frames <= MAX_FRAMES:
        raise WireError(f"scan of {nav_rows} x {nav_columns} points is impossible", "impossible_value")
    if not 0 < min(rows, columns) or max(rows, columns) > MAX_DETECTOR_SIDE:
        raise WireError(f"detector of {rows} x {columns} pixels is impossible", "impossible_value")
    return start


def _item_bytes(code: int, label: str) -> int:
    if code not in ITEM_BYTES:
        raise WireError(f"{label} of unknown type {code}", "bad_header")
    return ITEM_BYTES[code]


def _check_zeros(reserved: bytes) -> None:
    if any(reserved):
        raise WireError("header whose reserved bytes are not zero", "bad_header")


def _follows(offset: int, end: int) -> bool:
    """Whether an array may begin at ``offset``: behind the previous one, or at the next multiple of a power of two."""
    return any(offset == -(-end // step) * step for step in _ALIGNMENTS)
