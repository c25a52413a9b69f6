"""The first copy of a scan on disk: an append-only file of checked records.

A killed writer leaves a readable journal (its last record may be torn), where a killed HDF5 writer leaves a file that
does not open. Layout: file header ``PTYLJRNL`` + u32 version, then records::

    "PJR1"  u16 kind  u16 parts  u64 length  u32 CRC-32 of the payload  u32 CRC-32 of these 20 bytes   (little-endian)
    payload: parts x u32 part length, then the parts: one native stream message, as it came

The scan's arm record is written twice, at the start and once more further on, so that no single damaged place costs
all. A damaged record costs that record: reading goes on at the next whole one.

The receive thread appends; another thread forces the file to the disk every ~100 ms. Only what has been forced there
is *safe*, and only that is acknowledged to senders.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from io import BufferedReader
from pathlib import Path
from typing import Self

import numpy as np

from ptylive.schema import Arm, InputFileError, WireError
from ptylive.schema.model import BoolArray
from ptylive.streamer.resync import HEAD, HEAD_BYTES, HEAD_CHECK, MAGIC, Head, Resync
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, decode, encode
from ptylive.streamer.wire.arrays import Buffer

SUFFIX = ".journal"
FILE_HEADER = b"PTYLJRNL" + struct.pack("<I", 1)
SYNC_INTERVAL_S = 0.1
REPEAT_BYTES = 2**16
"""Behind so many bytes the arm record is written once more; in a shorter journal, before its end record."""
_BLOCK_BYTES = 2**20
_MAX_IOV = 512


class RecordKind(IntEnum):
    """What a record holds."""

    ARM = 1
    FRAMES = 2
    END = 3


_KINDS = {ArmMessage: RecordKind.ARM, FramesMessage: RecordKind.FRAMES, EndMessage: RecordKind.END}


class Journal:
    """A journal being written. Every method may raise OSError (disk full); the file then ends with a whole record."""

    def __init__(self, path: Path, arm: Arm, *, keep_bytes: int = 0) -> None:
        """Start a journal, or go on after the first ``keep_bytes`` bytes of one that was read before."""
        self.path = path
        self.error: OSError | None = None
        self._arm = arm
        self._arm_repeated = False
        self._safe: BoolArray = np.zeros(arm.frames, dtype=bool)
        self._buffered: list[tuple[int, int]] = []  # runs of frames in the block, not yet in the file
        self._written: list[tuple[int, int]] = []  # runs in the file, not yet synced
        self._block = bytearray()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise
        try:
            self._begin(arm, keep_bytes)
        except OSError:
            if keep_bytes == 0:
                path.unlink(missing_ok=True)  # no frame is in it, and without its arm record it is no journal
            os.close(self._fd)
            raise
        self._thread = threading.Thread(target=self._sync_often, name="journal-sync", daemon=True)
        self._thread.start()

    def _begin(self, arm: Arm, keep_bytes: int) -> None:
        """Cut the file to what is kept of it; a new one gets its arm record."""
        os.ftruncate(self._fd, keep_bytes)
        self._end = os.lseek(self._fd, 0, os.SEEK_END)
        if keep_bytes == 0:
            self._block += FILE_HEADER
            self._append(ArmMessage(arm))
            self._flush()
        os.fdatasync(self._fd)

    def append(self, message: FramesMessage | EndMessage) -> None:
        """Add a message. Raises OSError, now or for an earlier block, when the disk refuses it."""
        with self._lock:
            if self.error is not None:
                raise self.error
            if isinstance(message, FramesMessage):
                self._buffered.append((message.first, message.count))
            else:
                self._repeat_arm()
            self._append(message)
            if len(self._block) >= _BLOCK_BYTES:
                self._flush()

    def append_packed(self, head: FramesMessage, lengths: Sequence[int], parts: Buffer) -> None:
        """Add a frames message whose parts lie back to back in memory; ``head`` is the message without them.

        Raises OSError as :meth:`append` does.
        """
        header = encode(head)[0]
        table = struct.pack(f"<{1 + len(lengths)}I", len(header), *lengths)
        with self._lock:
            if self.error is not None:
                raise self.error
            self._buffered.append((head.first, head.count))
            payload = [memoryview(table), memoryview(header), memoryview(parts).cast("B")]
            self._add(RecordKind.FRAMES, 1 + len(lengths), payload)
            if len(self._block) >= _BLOCK_BYTES:
                self._flush()

    def mark_safe(self, received: BoolArray) -> None:
        """Frames that earlier runs of the program have already put on the disk."""
        with self._lock:
            self._safe[...] |= received

    @property
    def safe(self) -> BoolArray:
        """Which frames of the scan are on the disk, synced (a view that goes on changing)."""
        return self._safe

    def close(self) -> None:
        """Force everything to the disk and close the file; afterwards ``safe`` is final. Raises OSError."""
        self._stop.set()
        self._thread.join()
        try:
            self._sync()
        finally:
            os.close(self._fd)
        if self.error is not None:
            raise self.error

    def _repeat_arm(self) -> None:
        """The arm record once more: without it nobody knows what the frames are."""
        if not self._arm_repeated:
            self._arm_repeated = True
            self._append(ArmMessage(self._arm))

    def _append(self, message: Message) -> None:
        parts = [memoryview(part).cast("B") for part in encode(message)]
        table = memoryview(struct.pack(f"<{len(parts)}I", *map(len, parts)))
        self._add(_KINDS[type(message)], len(parts), [table, *parts])

    def _add(self, kind: RecordKind, parts: int, payload: list[memoryview]) -> None:
        """Put a record into the block; a large one goes to the file directly, without being copied."""
        crc = 0
        for part in payload:
            crc = zlib.crc32(part, crc)
        length = sum(map(len, payload))
        head = HEAD.pack(MAGIC, kind, parts, length, crc)
        self._block += head + HEAD_CHECK.pack(zlib.crc32(head))
        if length < _BLOCK_BYTES // 4:
            for part in payload:
                self._block += part
        else:
            self._write([memoryview(self._block), *payload])
            self._block = bytearray()

    def _flush(self) -> None:
        if self._block:
            self._write([memoryview(self._block)])
            self._block = bytearray()

    def _write(self, buffers: list[memoryview]) -> None:
        """Append buffers to the file, whole; on failure the file is cut back to its last whole write."""
        wanted = sum(map(len, buffers))
        try:
            while buffers:
                written = os.writev(self._fd, buffers[:_MAX_IOV])
                buffers = _after(buffers, written)
        except OSError as error:
            self.error = error
            self._block, self._buffered = bytearray(), []
            os.ftruncate(self._fd, self._end)
            raise
        self._end += wanted
        self._written += self._buffered
        self._buffered = []

    def _sync_often(self) -> None:
        while not self._stop.wait(SYNC_INTERVAL_S):
            self._sync()

    def _sync(self) -> None:
        """Write what is buffered, force it to the disk, then call it safe."""
        try:
            with self._lock:
                if self._end + len(self._block) > REPEAT_BYTES and self.error is None:
                    self._repeat_arm()
                self._flush()
                runs, self._written = self._written, []
            if runs or self._stop.is_set():
                os.fdatasync(self._fd)
        except OSError as error:
            self.error = error
            return
        with self._lock:
            for first, count in runs:
                self._safe[first : first + count] = True


def _after(buffers: list[memoryview], written: int) -> list[memoryview]:
    """What is left of ``buffers`` once their first ``written`` bytes have gone."""
    for k, buffer in enumerate(buffers):
        if written < len(buffer):
            return [buffer[written:], *buffers[k + 1 :]]
        written -= len(buffer)
    return []


class JournalReader:
    """A journal read back, whole record by whole record. A context manager; one pass through :meth:`messages`, more of
    them after :meth:`look_again`.

    Raises InputFileError when the file is no journal or holds no arm record. ``damage``, ``valid_bytes`` and ``end``
    are final once :meth:`messages` is exhausted. damage: half-open ranges of bytes that are no whole records, without
    the torn record that a killed writer leaves at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end: EndMessage | None = None
        self.damage: list[tuple[int, int]] = []
        self._file: BufferedReader = path.open("rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._start = len(FILE_HEADER) if self._file.read(len(FILE_HEADER)) == FILE_HEADER else 0
            if self._start == 0 and Resync(self._file, self.size).next_whole(-1) is None:
                raise InputFileError(f"{path} is not a journal of this program", "move it out of the recording folder")
            self.arm = self._found_arm()
        except InputFileError:
            self._file.close()
            raise

    def _found_arm(self) -> Arm:
        """The scan, from the first arm record that is whole; what follows is read from there, or from the start."""
        self._rewind()
        others = 0
        for message in self._records():
            if isinstance(message, ArmMessage):
                if others:
                    self._rewind()
                return message.arm
            others += 1
        if others:
            problem = f"{self.path}: what it says of its scan is damaged; {others} records of frames are whole"
            raise InputFileError(problem, "keep it: with the arm message of its sender the frames can be read")
        raise InputFileError(f"{self.path} holds no whole arm record", "no frame of it can be read")

    def _rewind(self) -> None:
        self.damage = []
        self.valid_bytes = self._start
        self._file.seek(self._start)

    @property
    def keep_bytes(self) -> int:
        """Where writing may go on: behind the last whole record, and behind what is damaged but not torn."""
        return max(self.valid_bytes, self.damage[-1][1] if self.damage else 0)

    def messages(self) -> Iterator[FramesMessage]:
        """The frames messages in the order they were written; their buffers are writable and own their memory."""
        for message in self._records():
            if isinstance(message, EndMessage):
                self.end = message
            elif isinstance(message, FramesMessage):
                self.end = None
                yield message

    def look_again(self) -> None:
        """Begin behind the last whole record, in a file that may have grown: :meth:`messages` gives what came since."""
        self.size = os.fstat(self._file.fileno()).st_size
        self._file.seek(self.valid_bytes)

    def lock(self) -> bool:
        """Claim the journal; False when another process writes or converts it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

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
                    if not resync.is_torn(start):
                        self._note_damage(start, self.size)
                    return
                self._note_damage(start, following)
                self._file.seek(following)
                continue
            self.valid_bytes = self._file.tell()
            yield message

    def _note_damage(self, start: int, stop: int) -> None:
        """Bytes that are no whole record; those that follow each other are one place."""
        if self.damage and self.damage[-1][1] >= start:
            start = min(start, self.damage.pop()[0])
        self.damage.append((start, stop))

    def _record(self, start: int) -> Message | None:
        """The record at a place, or None where it is torn or damaged."""
        head = Head.read(self._file.read(HEAD_BYTES), start)
        if head is None or head.end > self.size:
            return None
        payload = bytearray(head.length)
        if self._file.readinto(payload) != head.length or zlib.crc32(payload) != head.crc:
            return None
        parts = _split(payload, head.parts)
        try:
            return None if parts is None else decode(parts)
        except WireError:
            return None


def _split(payload: bytearray, count: int) -> list[Buffer] | None:
    """The parts of a record's payload, or None when its table of lengths does not fit."""
    lengths = struct.unpack_from(f"<{count}I", payload)
    if sum(lengths) != len(payload) - 4 * count:
        return None
    view, start = memoryview(payload), 4 * count
    parts: list[Buffer] = []
    for length in lengths:
        parts.append(view[start : start + length])
        start += length
    return parts
