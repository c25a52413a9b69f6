"""Open a scan file, native (docs/conventions.md) or foreign (docs/files.md), as frames in acquisition order."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import Detector, EventBatch, EventFrames, FrameBatch, InputFileError, PtyliveError, Scan, ScanHeader
from ptylive.schema.detector import ALLOWED_DTYPES, array_problem
from ptylive.schema.errors import encodable
from ptylive.schema.metadata import MASKS, NAMES, arrays_and_numbers, build, locate, overlay, sections_from
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.schema.pattern.undistorted import Undistorted
from ptylive.schema.scan_header import sent_texts
from ptylive.streamer.detector_arrays import read_detector_arrays, with_arrays
from ptylive.streamer.storage.hdf5 import never_written
from ptylive.streamer.storage.layout import StoredScan
from ptylive.streamer.storage.native import DAMAGED_HINT, open_native
from ptylive.streamer.storage.pixel_types import readable
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile
from ptylive.streamer.wire.armmap import array_shape

DIGESTED, DIGESTED_BYTES, DIGESTED_PART = 16, 2**26, 2**20
"""Number and bytes of patterns in a digest: reading all patterns of a large scan would take minutes."""


@dataclass(frozen=True)
class FileSource:
    """An open file. Frames are numbered in acquisition order, flyback included, 0 to ``frame_count`` - 1.

    ``received``: bool (frame_count,), which of them arrived when the file was recorded. ``notes``: what was not in the
    file and was concluded from its shape.
    """

    path: Path
    header: ScanHeader
    received: BoolArray
    notes: tuple[str, ...]
    _stored: StoredScan
    _file: ScanFile
    flat: Undistorted | None = None
    """Corrects the frames for a given distortion; ``header`` then describes the corrected counts."""

    @property
    def stored_uid(self) -> str:
        """Identity of the scan as stored in the file; empty for files of other programs."""
        return str(self._file.metadata.get("uid") or "")

    @property
    def doubts(self) -> tuple[str, ...]:
        """Notes that are guesses, or that may not be what the user meant."""
        return tuple(note for note in self.notes if note.endswith(CHECK_IT))

    @property
    def frame_count(self) -> int:
        """Number of frames in the file, missing ones included."""
        return self._stored.frames

    @property
    def stores_bslz4(self) -> bool:
        """Whether :meth:`stored_pattern` can return compressed patterns."""
        return self._file.chunk is not None and self.flat is None

    def frames(self, index: IndexArray) -> Array:
        """Return patterns (n, Qy, Qx) of the given acquisition numbers, as recorded, in native byte order.

        Their distortion is corrected where one is given. A compressed scan gives vectors (n, coefficients + extras).
        """
        recorded = self.recorded(index)
        return recorded if self.flat is None else self.flat.frames(recorded)

    def undistorted_by(self, flat: Undistorted) -> FileSource:
        """Return the same source with its distortion corrected by ``flat``."""
        return replace(self, header=flat.header, flat=flat)

    def recorded(self, index: IndexArray) -> Array:
        """Return patterns as recorded, also where a distortion is given."""
        index = np.asarray(index, dtype=np.int64)
        data = self._file.frames
        out = np.empty((len(index), *data.shape[len(self._stored.shape) :]), dtype=data.dtype.newbyteorder("="))
        breaks = np.flatnonzero(np.diff(index) != 1) + 1
        starts, stops = [0, *breaks.tolist()], [*breaks.tolist(), len(index)]
        for start, stop in zip(starts, stops, strict=True):
            if stop > start:
                self._read_run(int(index[start]), out[start:stop])
        return out

    def batches(self, n: int) -> Iterator[FrameBatch]:
        """Yield everything that arrived, in acquisition order, at most ``n`` frames at a time."""
        for start in range(0, self.frame_count, n):
            received = self.received[start : start + n]
            index = start + np.flatnonzero(received)
            if len(index) and self._file.events is not None and self.flat is None:
                events = self._events(start, start + len(received), self._file.events)
                yield EventBatch(self.header.uid, index, events if received.all() else events.kept(received))
            elif len(index):
                yield FrameBatch(self.header.uid, index, self.frames(index))

    def digest(self) -> str:
        """Return the SHA-256 of size, type and some patterns spread over the scan, as hexadecimal digits.

        It does not depend on names, containers or copies. Empty where one of these patterns cannot be read.
        """
        indices = np.flatnonzero(self.received)
        data = self._file.frames
        kind, size = data.dtype, data.shape[len(self._stored.shape) :]
        most = min(DIGESTED, max(DIGESTED_BYTES // max(kind.itemsize * math.prod(size), 1), 1), len(indices))
        found = hashlib.sha256(repr((self.frame_count, size, kind.kind, kind.itemsize)).encode())
        read = self.frames if self.flat is None else self.recorded
        try:
            for number in indices[np.linspace(0, len(indices) - 1, most).astype(np.int64)] if most else ():
                found.update(read(np.array([number])).astype(kind.newbyteorder("<"), copy=False).tobytes())
        except InputFileError:
            return ""
        return found.hexdigest()

    def identity(self) -> str:
        """Return the uid of the scan for its copies: as stored or, for files of other programs, made of the patterns.

        Events make other patterns with other settings: there it is made of the file. Empty where it cannot be read.
        """
        if self.stored_uid:
            return self.stored_uid
        digest = self.digest() if self._file.events is None else self._digest_of_file()
        return digest and str(uuid.UUID(digest[:32]))

    def _digest_of_file(self) -> str:
        """Return the SHA-256 of the file's size and some parts spread over it; empty where it cannot be read."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                found = hashlib.sha256(str(size).encode())
                for start in np.linspace(0, max(size - DIGESTED_PART, 0), DIGESTED).astype(np.int64).tolist():
                    file.seek(start)
                    found.update(file.read(DIGESTED_PART))
        except OSError:
            return ""
        return found.hexdigest()

    def identified(self) -> FileSource:
        """Return the same source with its :meth:`identity` in the header: of files of other programs, headers have a
        new uid whenever they are opened.
        """
        return replace(self, header=self.header.renamed(self.identity() or self.header.uid, self.header.series))

    def stored_pattern(self, number: int) -> bytes:
        """Return one pattern as stored in the file: a ``bslz4`` part of the stream. Needs :attr:`stores_bslz4`."""
        if self._file.chunk is None:
            raise InputFileError(f"{self.path} holds no bslz4 patterns", "replay it with codec none")
        return self._file.chunk(number)

    def _events(self, first: int, last: int, read: Callable[[Any], EventFrames]) -> EventFrames:
        """Return consecutive patterns as events."""
        parts = []
        for selection, start, stop in self._stored.pieces(first, last):
            try:
                parts.append(read(selection))
            except OSError as error:
                raise self._damage(start, stop, error) from None
        lengths = np.concatenate([np.diff(part.ends, prepend=0) for part in parts])
        pixels, counts = (np.concatenate([getattr(part, name) for part in parts]) for name in ("pixels", "counts"))
        native = counts.astype(counts.dtype.newbyteorder("="), copy=False)
        return EventFrames(np.cumsum(lengths), pixels, native, parts[0].shape)

    def _read_run(self, first: int, out: Array) -> None:
        """Read consecutive patterns, row by row."""
        for selection, start, stop in self._stored.pieces(first, first + len(out)):
            try:
                out[start - first : stop - first] = self._file.frames[selection]
            except OSError as error:
                raise self._damage(start, stop, error) from None

    def _damage(self, start: int, stop: int, error: OSError) -> InputFileError:
        """Return the error for frames that cannot be read, naming the damaged ones if others of the run can be read."""
        damaged = []
        for number in range(start, stop):
            try:
                self._file.frames[next(self._stored.pieces(number, number + 1))[0]]
            except OSError:
                damaged.append(number)
        if not damaged:
            return InputFileError(f"{self.path}: frames {start} to {stop - 1} could not be read: {error}", "try again")
        few = ", ".join(map(str, damaged[:8])) + (" …" if len(damaged) > 8 else "")
        return InputFileError(f"{self.path}: frame {few} cannot be read: its bytes are damaged", DAMAGED_HINT)


def open_source(path: Path, values: Mapping[str, Any] | None = None) -> AbstractContextManager[FileSource]:
    """Open a scan file of any format; ``values`` are metadata (flat or dotted names) that override the file's own.

    Raises InputFileError naming file, field and remedy: missing file, unknown format, no frames, wrong dimensions or
    type, impossible scan shape or metadata, data that lie outside the file. MetadataError for unknown ``values``.
    """
    from ptylive.streamer.foreign.exchange.readings import open_readings
    from ptylive.streamer.foreign.formats import reader_for

    path, masks = Path(path), arrays_and_numbers(values or {})[0].get(MASKS)
    if masks is not None:
        return _opened(path, open_readings(path, masks), values or {})
    return _opened(path, (reader_for(path, values) or open_native)(path), values or {})


def open_recording(path: Path) -> AbstractContextManager[FileSource]:
    """Open a native file and no other format, as for files in recording folders. Raises as open_source.

    Frames are as recorded, also where a distortion is given.
    """
    return _opened(Path(path), open_native(Path(path)), {}, undistort=False)


def open_array(frames: Array, values: Mapping[str, Any] | None = None) -> AbstractContextManager[FileSource]:
    """Open patterns in memory like a file: (rows, columns, Qy, Qx), or (N, Qy, Qx) in acquisition order.

    Raises InputFileError for an array that is not a scan of patterns, MetadataError for unknown ``values``.
    """
    from ptylive.streamer.foreign.arrays import check_frames

    name = Path("array")
    check_frames(name, frames.shape)
    return _opened(name, nullcontext(ScanFile(frames)), values or {})


@contextmanager
def _opened(
    path: Path, opening: AbstractContextManager[ScanFile], values: Mapping[str, Any], *, undistort: bool = True
) -> Iterator[FileSource]:
    files, values = arrays_and_numbers(values)
    files.pop(MASKS, None)
    given = read_detector_arrays(files)
    with opening as opened:
        file = readable(opened)
        stored = StoredScan(file.leading)
        header = replace(_header(path, file, stored, values), basis=file.basis)
        if values:
            header = overlay(header, values)
        notes = [*file.notes, *_never_written(opened)]
        shape_given = any(locate(name) == ("scan", "shape") for name, value in values.items() if value is not None)
        header = replace(header, scan=_fitted_scan(path, stored, header.scan, notes, shape_given=shape_given))
        header = with_arrays(replace(header, arrays=_arrays(path, file, header)), given)
        received = np.ones(stored.frames, dtype=bool) if file.received is None else file.received
        if not received.all():
            arrived = f"{np.count_nonzero(received)} of {len(received)} frames arrived"
            notes.append(f"{arrived}: the scan ended early, or frames were lost; its other points are empty")
        flat = Undistorted.of(header) if undistort else None
        file_header = header if flat is None else flat.header
        yield FileSource(path, file_header, received, tuple(notes), stored, file, flat)


def _never_written(file: ScanFile) -> Iterator[str]:
    """A note on patterns that the file announces but does not hold, unless it marks them as not received."""
    if file.received is None and (part := never_written(file.frames)):
        yield f"{part}, patterns there are empty{CHECK_IT}"


def _header(path: Path, file: ScanFile, stored: StoredScan, values: Mapping[str, Any]) -> ScanHeader:
    """Header from the file, before the scan shape is compared with the data; without what ``values`` replace."""
    replaced = {locate(name) for name in values}
    given = {name: value for name, value in file.metadata.items() if NAMES.get(name) not in replaced}
    sections = sections_from(given)
    source = f"{path} /metadata"
    try:
        scan, optics, detector = (build(name, sections[name], source) for name in ("scan", "optics", "detector"))
    except (PtyliveError, TypeError, ValueError, OverflowError) as error:
        text = str(error) if str(error).startswith(source) else f"{source}: {error}"
        raise InputFileError(text, "correct the attribute, or override it with --set") from None
    return ScanHeader(
        uid=str(given.get("uid") or uuid.uuid4()),
        series=str(given.get("series") or encodable(path.stem)),
        frames=stored.frames,
        scan=scan,
        optics=optics,
        detector=detector.model_copy(update={"shape": _pixels(file), "dtype": _pixel_type(path, file)}),
        sent=sent_texts(file.sent),
    )


def _pixels(file: ScanFile) -> tuple[int, int]:
    """Rows and columns of a pattern."""
    rows, columns = (file.frames if file.basis.is_raw else file.arrays["masks"]).shape[-2:]
    return int(rows), int(columns)


def _pixel_type(path: Path, file: ScanFile) -> str:
    try:
        return Detector(dtype=file.frames.dtype.str).dtype
    except (ValueError, TypeError):
        raise InputFileError(
            f"{path}: frames have the type {file.frames.dtype}", f"store one of {', '.join(ALLOWED_DTYPES)}"
        ) from None


def _fitted_scan(path: Path, stored: StoredScan, scan: Scan, notes: list[str], *, shape_given: bool) -> Scan:
    """Complete the scan with the shape of its data set. Raises InputFileError when the two contradict each other.

    ``shape_given``: the user gave the shape, which overrides the file; its frames are then taken one after the other.
    """
    hint = "correct scan_shape, flyback_frames, skip_first or repeats, or override them with --set"
    if len(stored.shape) == 1:
        if scan.shape is None:
            notes.append(
                f"scan_shape is not given: {stored.frames} frames in one row; use --set scan_shape=ROWS,COLUMNS"
            )
        elif scan.frames > stored.frames:
            raise InputFileError(
                f"{path}: impossible scan_shape {scan.shape[0]} x {scan.shape[1]}: it needs {scan.frames} frames, "
                f"the file has {stored.frames}",
                hint,
            )
        else:
            _note_left_out(stored, scan, notes)
        return scan
    rows, columns = stored.shape
    if scan.shape is None:
        if scan.flyback_frames >= columns or scan.skip_first or scan.repeats > 1:
            stated = f"flyback_frames {scan.flyback_frames}, skip_first {scan.skip_first}, repeats {scan.repeats}"
            raise InputFileError(f"{path}: impossible for {rows} x {columns} patterns: {stated}", hint)
        notes.append(f"scan_shape is not given: taken from the frames, {rows} x {columns - scan.flyback_frames}")
        return scan.with_shape((rows, columns - scan.flyback_frames))
    if scan.flyback_frames == 0 and scan.shape[0] == rows and scan.shape[1] < columns and scan.repeats == 1:
        flyback = columns - scan.shape[1]
        notes.append(f"flyback_frames is not given: {flyback}, the columns of the frames beyond scan_shape")
        return scan.model_copy(update={"flyback_frames": flyback})
    if (scan.shape[0], scan.frames_per_row) == (rows, columns) and not scan.skip_first:
        return scan
    points = f"{scan.shape[0]} x {scan.shape[1]}"
    if shape_given and scan.frames <= stored.frames:
        notes.append(f"frames stored as {rows} x {columns} are read one after the other, for {points} points: check it")
        _note_left_out(stored, scan, notes)
        return scan
    stated = f"impossible scan_shape {points} (flyback_frames {scan.flyback_frames})"
    raise InputFileError(f"{path}: {stated} for {rows} x {columns} patterns", hint)


def _note_left_out(stored: StoredScan, scan: Scan, notes: list[str]) -> None:
    """Note the frames of a file that a scan of this shape does not use, if there are any."""
    left = stored.frames - scan.frames
    if left > 0:
        notes.append(
            f"the scan has {scan.frames} frames, the file has {stored.frames}; the last {left} belong to none of its "
            "points: check it"
        )


def _arrays(path: Path, file: ScanFile, header: ScanHeader) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, found in file.arrays.items():
        wanted = array_shape(header, name)
        if wanted is not None and found.shape != wanted:
            raise InputFileError(f"{path}: /metadata/{name} has shape {found.shape}, expected {wanted}", "correct it")
        array = np.asarray(found[()])
        if problem := array_problem(name, array):
            raise InputFileError(f"{path}: /metadata/{name} {problem}", "correct it")
        arrays[name] = array.astype(bool) if name == "bad_pixel_mask" else array
    return arrays
