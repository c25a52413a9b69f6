"""Convert a journal to HDF5: write under a temporary name, read back and compare, then rename.

Patterns that arrived as ``bslz4`` are stored unchanged (`write_direct_chunk`); a scan that arrived as events is stored
as events; other patterns are compressed with bitshuffle/LZ4; coefficients are stored uncompressed. An existing
recording of the same uid (the scan was interrupted and resumed) is merged in: it supplies what the journal lacks.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from ptylive.schema import EventFrames, InputFileError, ScanHeader, WireError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5
from ptylive.schema.metadata import FILE_ARRAYS, to_attributes
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.streamer.marks import marks_of_events, marks_of_frames, marks_of_parts
from ptylive.streamer.recorded_marks import MARKS
from ptylive.streamer.source import open_recording
from ptylive.streamer.storage.checksum import crc32
from ptylive.streamer.storage.events import EventSets, EventWriter, events_in
from ptylive.streamer.storage.fletcher32 import with_checksums
from ptylive.streamer.storage.hdf5 import write_arrays
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.storage.layout import StoredScan
from ptylive.streamer.storage.native import SENT
from ptylive.streamer.storage.vectors import VectorSets, write_basis
from ptylive.streamer.vetting.known_files import can_be_opened
from ptylive.streamer.wire import FrameLayout, FramesMessage, check_size, decode_frames, events_of, runs_of

_READ_BACK_FRAMES = 64
_READ_BACK_EVENTS = 4096
"""Patterns of a sparse scan."""
SENDERS = "senders"
"""Attribute of a recording: number of senders that announced the scan at the same time, if more than one."""


@dataclass(frozen=True)
class RecordingReport:
    """Contents of a recording. frames: announced; placed: stored; damage: of its journal, in words, empty for none;
    torn_bytes: of a last record that was cut short.
    """

    path: str
    uid: str
    frames: int
    placed: int
    nbytes: int
    seconds: float
    damage: str = ""
    torn_bytes: int = 0


def record(journal: Path, target: Path, uid: str = "") -> RecordingReport:
    """Make ``target`` from ``journal``, compare it with what was to be written, then remove the journal; a journal
    with damaged places is kept as ``….journal.damaged``. ``uid``: of the scan in ``target``, if not the journal's.

    Raises InputFileError when the journal is unreadable or busy, or when the file read back differs; OSError when the
    disk is full. In both cases the journal stays and ``target`` is as it was before.
    """
    started = time.monotonic()
    with JournalReader(journal) as reader:
        if not reader.lock():
            raise InputFileError(f"{journal} is in use by another process", "wait for it to finish")
        header = reader.header.renamed(uid or reader.header.uid, reader.header.series)
        with replacing(target) as temporary:
            messages = reader.messages()
            earliest = next(messages, None)
            sparse = earliest is not None and earliest.codec == "events"
            with _plainly_created(temporary, header, sparse=sparse) as writer:
                for message in chain([] if earliest is None else [earliest], messages):
                    writer.add(message)
                _merge_earlier(writer, target, {header.uid, reader.header.uid})
                writer.finish()
                placed = int(np.count_nonzero(writer.received))
                torn = reader.torn_bytes
                damage = _damage_of(reader, header.frames - placed)
                if damage:
                    writer.note_damage(damage)
                writer.note_senders(reader.senders)
            _compare(temporary, writer)
        if damage:
            aside = _set_aside(journal)
            damage = f"{damage}; the journal is kept as {aside.name}"
        else:
            journal.unlink()
    seconds = time.monotonic() - started
    return RecordingReport(str(target), header.uid, header.frames, placed, target.stat().st_size, seconds, damage, torn)


def _damage_of(reader: JournalReader, missing: int) -> str:
    """Describe the damaged places of a journal that has been read to its end."""
    if not reader.damage:
        return ""
    nbytes = sum(stop - start for start, stop in reader.damage)
    places = ", ".join(str(start) for start, _ in reader.damage[:8])
    return f"{nbytes} bytes of the journal are damaged (at {places}), {missing} frames are missing"


def _set_aside(journal: Path) -> Path:
    """Rename a journal with unexplained bytes, so that nothing mistakes it for one to be converted."""
    aside = journal.with_name(f"{journal.name}.damaged")
    number = 2
    while aside.exists():
        aside, number = journal.with_name(f"{journal.name}.damaged-{number}"), number + 1
    return journal.rename(aside)


class ScanWriter:
    """An HDF5 file of one scan that grows pattern by pattern; the first copy of a pattern wins."""

    def __init__(
        self, file: Any, header: ScanHeader, *, sparse: bool = False, check: Callable[[], None] = lambda: None
    ) -> None:
        """``sparse``: store patterns as the pixels that counted something; ``check`` raises OSError where a write
        failed.
        """
        self._check = check
        self.header = header
        self.stored = StoredScan.of(header)
        self.layout = FrameLayout.of(header)
        self.received: BoolArray = np.zeros(header.frames, dtype=bool)
        self.direct: BoolArray = np.zeros(header.frames, dtype=bool)
        self.checksums = np.zeros(header.frames, dtype=np.uint32)
        self.marks = np.zeros(header.frames, dtype=np.uint32)
        self._file = file
        self.events: EventWriter | None = None
        if sparse and header.basis.is_raw:
            self.events = EventWriter(file, self.stored.shape, header.detector_shape, self.layout.dtype)
        else:
            self._data = _data_sets(file, header, self.stored, self.layout)
        _describe(file, header, sparse=self.events is not None)

    def add(self, message: FramesMessage) -> None:
        """Store the patterns of a message that are not stored yet; patterns that do not decode are left out."""
        stop = message.first + message.count
        fresh = ~self.received[message.first : stop]
        if len(fresh) < message.count or not fresh.any():
            return
        try:
            check_size(message, self.layout)
        except WireError:
            return
        if message.codec == "bslz4" and self.header.basis.is_raw and self.events is None:
            numbers = message.first + np.flatnonzero(fresh)
            self._add_chunks(numbers, [bytes(message.parts[k]) for k in numbers - message.first])
            return
        if message.codec == "events" and self.events is not None:
            events, good, _ = events_of(message, self.layout)
            self._add_events(message.first + np.flatnonzero(fresh & good), events.kept(fresh & good))
            return
        frames, good, _ = decode_frames(message, self.layout)
        keep = np.flatnonzero(fresh & good)
        self.add_frames(message.first + keep, frames[keep])

    def add_frames(self, index: IndexArray, frames: Array) -> None:
        """Store patterns (n, Qy, Qx), or vectors (n, coefficients + extras), under rising acquisition numbers."""
        if self.events is not None:
            self._add_events(index, events_in(frames))
            return
        for start, stop in _consecutive(index):
            for selection, first, last in self.stored.pieces(int(index[start]), int(index[stop - 1]) + 1):
                offset = start + first - int(index[start])
                self._data[selection] = frames[offset : offset + last - first]
        for number, frame in zip(index.tolist(), frames, strict=True):
            self.checksums[number] = _checksum(frame, self.layout)
        self.marks[index] = marks_of_frames(frames, self.layout)
        self.received[index] = True
        self._check()

    def finish(self, *, marks: bool = True) -> None:
        """Write which patterns are missing, if any, and the marks that identify the patterns.

        ``marks``: needed where a sender may return with the same scan; a copy of a file needs none.
        """
        if self.events is not None:
            self.events.finish()
        if marks:
            self._file["metadata"].create_dataset(MARKS, data=self.marks)
        if not self.received.all():
            self._file["metadata"].create_dataset("received", data=self.received.reshape(self.stored.shape))

    def note_damage(self, text: str) -> None:
        """Note in the file that frames were lost on the disk."""
        self._file.attrs["journal_damage"] = text

    def note_senders(self, count: int) -> None:
        """Note in the file that several senders announced this scan at once: it may hold frames of two scans."""
        count = max(count, int(self._file.attrs.get(SENDERS, 1)))
        if count > 1:
            self._file.attrs[SENDERS] = count

    def _add_events(self, numbers: IndexArray, frames: EventFrames) -> None:
        """Store patterns as events; the mark of a pattern covers all its events, and serves as its checksum."""
        assert self.events is not None  # noqa: S101  (checked by the callers)
        self.events.add(numbers, frames)
        self.marks[numbers] = self.checksums[numbers] = marks_of_events(frames)
        self.received[numbers] = True
        self._check()

    def _add_chunks(self, numbers: IndexArray, chunks: list[bytes]) -> None:
        """Store patterns that arrived compressed without changing them."""
        for number, stored in zip(numbers.tolist(), with_checksums(chunks), strict=True):
            self._data.id.write_direct_chunk((*self.stored.at(number), 0, 0), stored)
            self.checksums[number] = crc32(stored)
        self.marks[numbers] = marks_of_parts(chunks, "bslz4")
        self.direct[numbers] = self.received[numbers] = True
        self._check()


@contextmanager
def created_scan(path: Path, header: ScanHeader, *, sparse: bool = False) -> Iterator[ScanWriter]:
    """Create a native file for a scan, ``sparse``: of events; call :meth:`ScanWriter.finish` when all is stored. Raises
    OSError: disk full.
    """
    with for_hdf5(path) as whole, h5py.File(whole, "w", libver="v110") as file:
        yield ScanWriter(file, header, sparse=sparse, check=whole.check)


@contextmanager
def _plainly_created(path: Path, header: ScanHeader, *, sparse: bool) -> Iterator[ScanWriter]:
    """Like :func:`created_scan` but written by HDF5 itself, which gives a seventh more frames per second: for a process
    that only records, and whose frames are in the journal. On a full disk HDF5 may crash it when it ends.
    """
    try:
        with h5py.File(path, "w", libver="v110") as file:
            yield ScanWriter(file, header, sparse=sparse)
    except RuntimeError as error:  # h5py's error for a write that fails when the file is closed
        found = re.search(r"errno = (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def _data_sets(file: Any, header: ScanHeader, stored: StoredScan, layout: FrameLayout) -> Any:
    """Create the data sets for frames: ``/data``, one pattern per chunk, or ``/coefficients`` and ``/extra``."""
    if not header.basis.is_raw:
        write_basis(file, header.basis, header.arrays["masks"])
        return VectorSets.create(file, stored.shape, header.basis)
    return file.create_dataset(
        "data",
        (*stored.shape, *layout.shape),
        layout.dtype,
        chunks=(*(1 for _ in stored.shape), *layout.shape),
        fletcher32=True,
        **hdf5plugin.Bitshuffle(cname="lz4"),
    )


def _describe(file: Any, header: ScanHeader, *, sparse: bool) -> None:
    """Write metadata under the contract's names, and a NeXus plot group so that common viewers show the patterns."""
    metadata = file.create_group("metadata")
    for name, value in {**to_attributes(header), "uid": header.uid, "series": header.series}.items():
        metadata.attrs[name] = value
    if header.sent:
        metadata.create_group(SENT).attrs.update(header.sent)
    write_arrays(metadata, {name: header.arrays[name] for name in FILE_ARRAYS if name in header.arrays})
    if sparse:
        return
    file.attrs["default"] = "view"
    view = file.create_group("view")
    view.attrs.update({"NX_class": "NXentry", "default": "frames"})
    frames = view.create_group("frames")
    frames.attrs.update({"NX_class": "NXdata", "signal": "data"})
    frames["data"] = h5py.SoftLink("/data" if header.basis.is_raw else "/coefficients")


def _consecutive(index: IndexArray) -> Iterator[tuple[int, int]]:
    """Half-open ranges within ``index`` of consecutive acquisition numbers."""
    if len(index):
        breaks = np.flatnonzero(np.diff(index) != 1) + 1
        yield from zip([0, *breaks.tolist()], [*breaks.tolist(), len(index)], strict=True)


def _merge_earlier(writer: ScanWriter, target: Path, uids: Collection[str]) -> None:
    """Copy what an earlier recording of the same scan, one of ``uids``, has and the journal lacks."""
    if not target.exists():
        return
    if not can_be_opened(target):
        raise InputFileError(f"{target}, the earlier part of the scan, cannot be read", "move it away")
    with h5py.File(target, "r") as file:
        writer.note_senders(_count(file.attrs.get(SENDERS, 1)))
    with open_recording(target) as earlier:
        if earlier.header.uid not in uids or earlier.frame_count != writer.header.frames:
            raise InputFileError(f"{target} is the recording of another scan", "move it away")
        if FrameLayout.of(earlier.header).shape != writer.layout.shape:
            raise InputFileError(f"{target} holds the same scan in another form", "move it away")
        for first, last in runs_of(earlier.received & ~writer.received):
            for start in range(first, last, _READ_BACK_FRAMES):
                index = np.arange(start, min(last, start + _READ_BACK_FRAMES))
                frames = earlier.frames(index)
                writer.add_frames(index, frames.astype(writer.layout.dtype, copy=False))


def _count(value: Any) -> int:
    """Number of senders stored in a file; 1 where it is invalid."""
    return int(value) if isinstance(value, int | np.integer) and value > 0 else 1


def _compare(path: Path, writer: ScanWriter) -> None:
    """Read everything back. Raises InputFileError at the first pattern that differs from what was written."""
    _compare_chunks(path, writer)
    if writer.events is not None:
        _compare_events(path, writer)
    with open_recording(path) as source:
        if not np.array_equal(source.received, writer.received):
            raise InputFileError(f"{path}: the list of received frames reads back differently", "check the disk")
        compressed_here = np.flatnonzero(writer.received & ~writer.direct & (writer.events is None))
        for start in range(0, len(compressed_here), _READ_BACK_FRAMES):
            index = compressed_here[start : start + _READ_BACK_FRAMES]
            for number, frame in zip(index.tolist(), source.frames(index), strict=True):
                if _checksum(frame, writer.layout) != writer.checksums[number]:
                    raise InputFileError(f"{path}: frame {number} reads back differently", "check the disk")


def _compare_chunks(path: Path, writer: ScanWriter) -> None:
    """Compare the patterns that were written as they arrived, without decoding them. Raises InputFileError."""
    direct = np.flatnonzero(writer.received & writer.direct)
    if not len(direct):
        return
    with h5py.File(path) as file:
        chunks = file["data"].id
        for number in direct.tolist():
            chunk = chunks.read_direct_chunk((*writer.stored.at(number), 0, 0))[1]
            if crc32(chunk) != writer.checksums[number]:
                raise InputFileError(f"{path}: frame {number} reads back differently", "check the disk")


def _compare_events(path: Path, writer: ScanWriter) -> None:
    """Like :func:`_compare`, for events."""
    received = np.flatnonzero(writer.received)
    with h5py.File(path) as file:
        sets = EventSets.find(path, file)
        if sets is None:
            raise InputFileError(f"{path}: its events read back as nothing", "check the disk")
        first, length = (np.asarray(data[()]).ravel() for data in (sets.first, sets.length))
        for start in range(0, len(received), _READ_BACK_EVENTS):
            index = received[start : start + _READ_BACK_EVENTS]
            try:
                found = marks_of_events(sets.read(first[index], length[index]))
            except OSError as error:
                raise InputFileError(
                    f"{path}: frames from {start} on do not read back: {error}", "check the disk"
                ) from None
            differ = np.flatnonzero(found != writer.checksums[index])
            if len(differ):
                raise InputFileError(f"{path}: frame {index[differ[0]]} reads back differently", "check the disk")


def _checksum(frame: Array, layout: FrameLayout) -> int:
    """CRC-32 of a pattern's bytes in the type it is stored in."""
    return crc32(np.ascontiguousarray(frame.astype(layout.dtype, copy=False)).data)
