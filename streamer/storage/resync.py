"""Heads of journal records, and the search for the next whole record behind damaged bytes."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from io import BufferedReader

from ptylive.streamer.storage.checksum import crc32
from ptylive.streamer.wire.limits import MAX_MESSAGE_BYTES, MAX_PARTS

FILE_HEADER = b"PTYLJRNL" + struct.pack("<I", 1)
MAGIC = b"PJR1"
HEAD = struct.Struct("<4sHHQI")
HEAD_CHECK = struct.Struct("<I")
HEAD_BYTES = HEAD.size + HEAD_CHECK.size
_PIECE_BYTES = 2**20
_SPARE_BYTES = 64 * 2**20


class RecordKind(IntEnum):
    """Contents of a record."""

    ARM = 1
    FRAMES = 2
    END = 3


@dataclass(frozen=True)
class Head:
    """The intact head of a record at ``start``, with its description of the payload."""

    start: int
    kind: int
    parts: int
    length: int
    crc: int

    @property
    def end(self) -> int:
        """Position where the record ends."""
        return self.start + HEAD_BYTES + self.length

    @classmethod
    def read(cls, data: bytes, start: int) -> Head | None:
        """Parse the head in the first bytes of ``data``; None when there is none."""
        if len(data) < HEAD_BYTES or HEAD_CHECK.unpack_from(data, HEAD.size)[0] != crc32(data[: HEAD.size]):
            return None
        magic, kind, parts, length, crc = HEAD.unpack_from(data)
        if magic != MAGIC or parts > MAX_PARTS or not 4 * parts <= length <= MAX_MESSAGE_BYTES + 4 * parts:
            return None
        return cls(start, kind, parts, length, crc)


class Resync:
    """Searches for whole records in a journal of ``size`` bytes. Every byte is examined once or twice, whatever it
    holds: false heads, for instance in the pixels of a pattern, may waste as many bytes as the journal has, and no
    more.
    """

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file, self._size = file, size
        self._wasted = 0

    def head_at(self, start: int) -> Head | None:
        """Return the head of a record at a position, or None."""
        self._file.seek(start)
        return Head.read(self._file.read(HEAD_BYTES), start)

    def next_whole(self, start: int) -> int | None:
        """Position of the first whole record behind a damaged one at ``start``; None when there is none."""
        head = self.head_at(start) if start >= 0 else None
        if head is not None and head.end < self._size and self._is_whole(self.head_at(head.end)):
            return head.end
        place = start + 1
        while (place := self._next_data(place)) < self._size:
            self._file.seek(place)
            piece = self._file.read(_PIECE_BYTES + len(MAGIC) - 1)
            at = piece.find(MAGIC)
            while at >= 0:
                if self._is_whole(self.head_at(place + at)):
                    return place + at
                if self._wasted > self._size + _SPARE_BYTES:
                    return None
                at = piece.find(MAGIC, at + 1)
            place += _PIECE_BYTES
        return None

    def is_torn(self, start: int) -> bool:
        """Whether ``start`` begins a record that a killed writer has cut short, rather than a damaged one."""
        head = self.head_at(start)
        return self._size - start < HEAD_BYTES if head is None else head.end > self._size

    def _next_data(self, start: int) -> int:
        """First position from ``start`` on that is not a hole of the file: holes are zeros, and may be terabytes."""
        handle = self._file.fileno()
        before = os.lseek(handle, 0, os.SEEK_CUR)
        try:
            return os.lseek(handle, start, os.SEEK_DATA)
        except OSError as error:  # none behind it, or an unsupported file system
            return self._size if error.errno == errno.ENXIO else start
        finally:
            os.lseek(handle, before, os.SEEK_SET)

    def _is_whole(self, head: Head | None) -> bool:
        """Whether the payload behind a head is the one it was written with."""
        if head is None or head.end > self._size:
            return False
        self._file.seek(head.start + HEAD_BYTES)
        crc, remaining = 0, head.length
        while remaining and (piece := self._file.read(min(remaining, _PIECE_BYTES))):
            crc, remaining = crc32(piece, crc), remaining - len(piece)
        whole = remaining == 0 and crc == head.crc
        self._wasted += 0 if whole else head.length
        return whole
