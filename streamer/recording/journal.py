"""The first copy of a scan on disk: an append-only file of checked records.

A killed writer leaves a readable journal (its last record may be torn), whereas a killed HDF5 writer leaves a file that
does not open. Layout: file header ``PTYLJRNL`` + u32 version, then records::

    "PJR1"  u16 kind  u16 parts  u64 length  u32 CRC-32 of the payload  u32 CRC-32 of these 20 bytes   (little-endian)
    payload: parts x u32 part length, then the parts: one native stream message, as received

The scan's arm record is written twice, at the start and again further on, so that no single damaged place costs
everything. A damaged record costs that record: reading goes on at the next whole one.

The receive thread appends; one thread writes the file, another forces it to the disk every ~100 ms. Only synced frames
are *safe*, and only those are acknowledged to senders. The bytes that wait for the disk are bounded (`backlog.py`).
"""

from __future__ import annotations

import errno
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.schema import ScanHeader
from ptylive.schema.model import BoolArray
from ptylive.streamer.recording.backlog import STALLED_S, Backlog
from ptylive.streamer.recording.journal_file import JournalFile
from ptylive.streamer.storage.checksum import crc32
from ptylive.streamer.storage.resync import FILE_HEADER, HEAD, HEAD_CHECK, MAGIC, RecordKind
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, encode
from ptylive.streamer.wire.arrays import Buffer

SYNC_INTERVAL_S = 0.1
REPEAT_BYTES = 2**16
"""Bytes after which the arm record is repeated; in a shorter journal it is repeated before the end record."""
_BLOCK_BYTES = 2**20
_HEAD_BYTES = HEAD.size + HEAD_CHECK.size


_KINDS = {ArmMessage: RecordKind.ARM, FramesMessage: RecordKind.FRAMES, EndMessage: RecordKind.END}


@dataclass(frozen=True)
class _Piece:
    """Records for the file, and the runs of frames in them. The checksums, which cost most, are left to the writer."""

    block: bytearray
    """Records with room for their heads."""
    records: list[tuple[int, RecordKind, int]]
    """(offset in the block, kind, parts) of each."""
    payload: Sequence[memoryview]
    """Payload of the last record, where it is large: not copied into the block."""
    runs: list[tuple[int, int]]

    @property
    def nbytes(self) -> int:
        return len(self.block) + sum(map(len, self.payload))

    def sealed(self) -> list[memoryview]:
        """Return the bytes to write, with every record's head."""
        block = memoryview(self.block)
        ends = [at for at, _, _ in self.records[1:]] + [len(block)]
        for (at, kind, parts), end in zip(self.records, ends, strict=True):
            copied = at + _HEAD_BYTES < end
            payload = [block[at + _HEAD_BYTES : end]] if copied else self.payload
            block[at : at + _HEAD_BYTES] = _head(kind, parts, payload)
        return [block, *self.payload]


class Journal:
    """A journal being written. Only :meth:`close`, and the constructor when given a path, wait for the disk.

    One thread opens and writes the file, another syncs it. An error of the disk is raised by the next call.
    """

    def __init__(
        self,
        place: Path | Callable[[], Path],
        scan_header: ScanHeader,
        *,
        keep_bytes: int = 0,
        backlog: Backlog | None = None,
    ) -> None:
        """Start a journal, or continue one that was read before after its first ``keep_bytes`` bytes.

        ``place``: its path, which is then open on return, or OSError is raised; or a function that finds one, called in
        the thread that opens it, which sets ``opened`` whether that works or not. ``backlog``: bytes waiting for the
        disk.
        """
        self.path = place if isinstance(place, Path) else None
        self.error: OSError | None = None
        self.opened = threading.Event()
        self.closed = False
        self._header = scan_header
        self._arm_repeated = False
        self._keep_bytes = self._size = keep_bytes
        self._backlog = backlog or Backlog()
        self._file: JournalFile | None = None
        self._safe: BoolArray = np.zeros(scan_header.frames, dtype=bool)
        self._buffered: list[tuple[int, int]] = []  # runs of frames in the block, not yet in the queue
        self._written: list[tuple[int, int]] = []  # runs in the file, not yet synced
        self._block = bytearray()
        self._records: list[tuple[int, RecordKind, int]] = []  # those in the block
        self._queue: deque[_Piece] = deque()
        self._changed = threading.Condition()
        self._busy_since: float | None = None
        self._ending = False
        self._stop = threading.Event()
        if isinstance(place, Path):
            self._open(place)
        self._writer = threading.Thread(target=self._write_all, args=(place,), name="journal", daemon=True)
        self._syncer = threading.Thread(target=self._sync_often, name="journal-sync", daemon=True)
        try:
            self._syncer.start()
            self._writer.start()
        except RuntimeError:
            self._stop.set()
            raise

    def append(self, message: FramesMessage | EndMessage) -> None:
        """Add a message. Raises OSError, now or for an earlier message, when the disk refuses it."""
        if isinstance(message, FramesMessage):
            self._require_room()
        with self._changed:
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

        The memory must not change. Raises OSError as :meth:`append` does.
        """
        header = encode(head)[0]
        table = struct.pack(f"<{1 + len(lengths)}I", len(header), *lengths)
        self._require_room()
        with self._changed:
            if self.error is not None:
                raise self.error
            self._buffered.append((head.first, head.count))
            payload = [memoryview(table), memoryview(header), memoryview(parts).cast("B")]
            self._add(RecordKind.FRAMES, 1 + len(lengths), payload)
            if len(self._block) >= _BLOCK_BYTES:
                self._flush()

    def mark_safe(self, received: BoolArray) -> None:
        """Mark frames as safe that earlier runs have already put on the disk: ``received`` (frames,)."""
        with self._changed:
            self._safe[...] |= received

    @property
    def safe(self) -> BoolArray:
        """Which frames (frames,) of the scan are on the disk, synced (a view that keeps changing)."""
        return self._safe

    @property
    def stalled(self) -> bool:
        """Whether the disk has not answered for a while."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > STALLED_S

    def close(self, *, remove: bool = False) -> None:
        """Force everything to the disk and close the file, or remove it; afterwards ``safe`` is final. Raises OSError.

        Waits for the disk without limit.
        """
        self._hand_on()
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._writer.join()
        self._stop.set()
        self._syncer.join()
        file, self._file = self._file, None
        self._busy_since = time.monotonic()
        try:
            if file is not None and remove:
                file.discard()
            elif file is not None:
                try:
                    self._sync(file)
                finally:
                    file.close()
        finally:
            self._busy_since, self.closed = None, True
        if self.error is not None:
            raise self.error

    def _require_room(self) -> None:
        """Raise OSError when too much waits for a disk that takes nothing."""
        if not self._backlog.has_room():
            waiting = f"it does not respond, and {self._backlog.nbytes / 1e6:.0f} MB are waiting to be written"
            raise TimeoutError(errno.ETIMEDOUT, waiting)

    def _repeat_arm(self) -> None:
        """Write the arm record once more: without it nobody knows what the frames are."""
        if not self._arm_repeated:
            self._arm_repeated = True
            self._append(ArmMessage(self._header))

    def _append(self, message: Message) -> None:
        payload = _payload(message)
        self._add(_KINDS[type(message)], len(payload) - 1, payload)

    def _add(self, kind: RecordKind, parts: int, payload: list[memoryview]) -> None:
        """Put a record into the block; a large one is handed on without being copied."""
        self._records.append((len(self._block), kind, parts))
        self._block += bytes(_HEAD_BYTES)
        if sum(map(len, payload)) < _BLOCK_BYTES // 4:
            for part in payload:
                self._block += part
        else:
            self._flush(payload)

    def _flush(self, payload: Sequence[memoryview] = ()) -> None:
        """Hand the block, and the payload that follows it, to the thread that writes."""
        if not self._block:
            return
        piece = _Piece(self._block, self._records, payload, self._buffered)
        self._block, self._records, self._buffered = bytearray(), [], []
        self._size += piece.nbytes
        self._backlog.add(piece.nbytes)
        self._queue.append(piece)
        self._changed.notify_all()

    def _open(self, path: Path) -> None:
        """Open the file; write the arm record if it is new. Raises OSError."""
        file = JournalFile(path, self._keep_bytes)
        try:
            if self._keep_bytes == 0:
                payload = _payload(ArmMessage(self._header))
                first = FILE_HEADER + _head(RecordKind.ARM, len(payload) - 1, payload)
                file.write([memoryview(first), *payload])
            file.sync()
        except OSError:
            if self._keep_bytes == 0:
                file.discard()  # it holds no frame, and without its arm record it is no journal
            else:
                file.close()
            raise
        with self._changed:
            self.path, self._file = path, file
            self._size += file.end - self._keep_bytes
        self.opened.set()

    def _write_all(self, place: Path | Callable[[], Path]) -> None:
        """Open the file if necessary, then write queued pieces until there will be no more."""
        self._busy_since = time.monotonic()
        try:
            if not isinstance(place, Path):
                self._open(place())
            while (piece := self._next_piece()) is not None and self._file is not None:
                try:
                    self._file.write(piece.sealed())
                finally:
                    self._backlog.remove(piece.nbytes)
                with self._changed:
                    self._written += piece.runs
        except Exception as error:  # whatever it is: without this thread nothing is recorded, which must be reported
            self._give_up(error if isinstance(error, OSError) else OSError(f"the journal cannot be written: {error!r}"))
        finally:
            self._busy_since = None
            self.opened.set()

    def _next_piece(self) -> _Piece | None:
        """Wait for the next piece to write; None at the end."""
        with self._changed:
            self._busy_since = None
            while not self._queue and not self._ending:
                self._changed.wait()
            self._busy_since = time.monotonic()
            return self._queue.popleft() if self._queue else None

    def _give_up(self, error: OSError) -> None:
        """Stop writing: drop the queue, and raise the error in the next call."""
        with self._changed:
            self.error = error
            given_up = sum(piece.nbytes for piece in self._queue)
            self._queue.clear()
            self._block, self._records, self._buffered = bytearray(), [], []
        self._backlog.remove(given_up)

    def _sync_often(self) -> None:
        while not self._stop.wait(SYNC_INTERVAL_S):
            try:
                self._hand_on()
                if self._file is not None and self.error is None:
                    self._sync(self._file)
            except Exception as error:  # as in the thread that writes: without this one nothing is safe any more
                self._give_up(OSError(f"the journal cannot be synced: {error!r}"))

    def _hand_on(self) -> None:
        """Hand everything that is buffered, however little, to the thread that writes."""
        with self._changed:
            if self.error is None and self._size + len(self._block) > REPEAT_BYTES:
                self._repeat_arm()
            self._flush()

    def _sync(self, file: JournalFile) -> None:
        """Force written records to the disk, then mark their frames as safe."""
        with self._changed:
            runs, self._written = self._written, []
        try:
            if runs or self._ending:
                file.sync()
        except OSError as error:
            self._give_up(error)
            return
        with self._changed:
            for first, count in runs:
                self._safe[first : first + count] = True


def _payload(message: Message) -> list[memoryview]:
    """Return the payload of a message's record: the lengths of its parts, and the parts."""
    parts = [memoryview(part).cast("B") for part in encode(message)]
    return [memoryview(struct.pack(f"<{len(parts)}I", *map(len, parts))), *parts]


def _head(kind: RecordKind, parts: int, payload: Sequence[memoryview]) -> bytes:
    """Return the head of a record."""
    crc = 0
    for part in payload:
        crc = crc32(part, crc)
    head = HEAD.pack(MAGIC, kind, parts, sum(map(len, payload)), crc)
    return head + HEAD_CHECK.pack(crc32(head))
