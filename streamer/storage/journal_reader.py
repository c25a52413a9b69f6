"""Read back a journal: all whole records, and the location of damage."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Self

from ptylive.schema import InputFileError, ScanHeader, WireError
from ptylive.streamer.storage.checksum import crc32
from ptylive.streamer.storage.resync import FILE_HEADER, HEAD_BYTES, Head, Resync
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, decode
from ptylive.streamer.wire.arrays import Buffer


class JournalReader:
    """Reader of a journal, whole record by whole record. A context manager; one pass through :meth:`messages`, and
    further ones after :meth:`look_again`.

    Raises InputFileError when the file is no journal or holds no arm record. ``damage``, ``valid_bytes``, ``end`` and
    ``senders`` are final once :meth:`messages` is exhausted. damage: half-open ranges of bytes outside whole records,
    except the record that a killed writer has cut short at the end, of which there are ``torn_bytes``. senders: number
    that announced the scan at the same time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end: EndMessage | None = None
        self.senders = 1
        self.damage: list[tuple[int, int]] = []
        self.torn_bytes = 0
        self._file: BufferedReader = path.open("rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._start = len(FILE_HEADER) if self._file.read(len(FILE_HEADER)) == FILE_HEADER else 0
            if self._start == 0 and Resync(self._file, self.size).next_whole(-1) is None:
                raise InputFileError(f"{path} is not a journal of this program", "move it out of the recording folder")
            self.header = self._found_header()
        except InputFileError:
            self._file.close()
            raise

    def _found_header(self) -> ScanHeader:
        """Return the scan from the first whole arm record; reading continues from there, or from the start."""
        self._rewind()
        readable = 0
        for message in self._records():
            if isinstance(message, ArmMessage):
                if readable:
                    self._rewind()
                return message.header
            readable += 1
        if readable:
            problem = f"{self.path}: its description of the scan is damaged; {readable} records of frames are undamaged"
            raise InputFileError(problem, "keep it: the frames can be read with the arm message of its sender")
        raise InputFileError(f"{self.path} holds no complete arm record", "no frame of it can be read")

    def _rewind(self) -> None:
        self.damage, self.torn_bytes = [], 0
        self.valid_bytes = self._start
        self._file.seek(self._start)

    @property
    def keep_bytes(self) -> int:
        """Where writing may continue: behind the last whole record, and behind damage that is not a torn record."""
        return max(self.valid_bytes, self.damage[-1][1] if self.damage else 0)

    def messages(self) -> Iterator[FramesMessage]:
        """Yield the frames messages in the order written; their buffers are writable and own their memory."""
        for message in self._records():
            if isinstance(message, EndMessage):
                self.end = message
                self.senders = max(self.senders, message.senders)
            elif isinstance(message, FramesMessage):
                self.end = None
                yield message

    @property
    def position(self) -> int:
        """Position in bytes where the next record is searched for."""
        return self._file.tell()

    def go_to(self, position: int) -> None:
        """Continue reading from an earlier :attr:`position` of this journal."""
        self._file.seek(position)

    def look_again(self) -> None:
        """Restart behind the last whole record of a file that may have grown: :meth:`messages` yields new records."""
        self.size = os.fstat(self._file.fileno()).st_size
        self.torn_bytes = 0
        self._file.seek(self.valid_bytes)

    def lock(self) -> bool:
        """Claim the journal; False when another process writes or converts it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def is_busy(self) -> bool:
        """Whether another process writes or converts the journal; it is claimed for an instant to find out."""
        if not self.lock():
            return True
        fcntl.flock(self._file, fcntl.LOCK_UN)
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _records(self) -> Iterator[Message]:
        resync = Resync(self._file, self.size)
        while (start := self._file.tell()) < self.size:
            message = self._record(start)
            if message is None:
                following = resync.next_whole(start)
                if following is None:
                    if resync.is_torn(start):
                        self.torn_bytes = self.size - start
                    else:
                        self._note_damage(start, self.size)
                    return
                self._note_damage(start, following)
                self._file.seek(following)
                continue
            self.valid_bytes = self._file.tell()
            yield message

    def _note_damage(self, start: int, stop: int) -> None:
        """Note bytes outside whole records; adjacent ranges are merged."""
        if self.damage and self.damage[-1][1] >= start:
            start = min(start, self.damage.pop()[0])
        self.damage.append((start, stop))

    def _record(self, start: int) -> Message | None:
        """Return the record at a position, or None where it is torn or damaged."""
        head = Head.read(self._file.read(HEAD_BYTES), start)
        if head is None or head.end > self.size:
            return None
        payload = bytearray(head.length)
        if self._file.readinto(payload) != head.length or crc32(payload) != head.crc:
            return None
        parts = _split(payload, head.parts)
        try:
            return None if parts is None else decode(parts)
        except WireError:
            return None


def _split(payload: bytearray, count: int) -> list[Buffer] | None:
    """Return the parts of a record's payload, or None when its table of lengths does not fit."""
    lengths = struct.unpack_from(f"<{count}I", payload)
    if sum(lengths) != len(payload) - 4 * count:
        return None
    view, start = memoryview(payload), 4 * count
    parts: list[Buffer] = []
    for length in lengths:
        parts.append(view[start : start + length])
        start += length
    return parts
