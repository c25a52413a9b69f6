"""Reading native files (docs/conventions.md): what the program records, and every data set of that layout.

A file holds patterns (``/data``) or vectors of coefficients and extras (``/coefficients``, docs/compression.md).
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import Arm, Basis, Detector, FrameBatch, InputFileError, PtyliveError, Scan
from ptylive.schema.metadata import build, overlay, sections_from
from ptylive.schema.model import Array, BoolArray, IndexArray
from ptylive.streamer.storage.hdf5 import attributes, dataset, opened, stores_bslz4_patterns
from ptylive.streamer.storage.layout import StoredScan
from ptylive.streamer.storage.vectors import VectorSets, extra_names, read_basis
from ptylive.streamer.wire.armmap import array_shape

_FILE_ARRAYS = ("bad_pixel_mask", "positions_A", "vacuum_pattern")


@dataclass(frozen=True)
class FileSource:
    """An open native file. Frames are numbered in acquisition order, flyback included, 0 to ``frame_count`` - 1.

    ``received``: bool (frame_count,), which of them arrived when the file was recorded. ``notes``: what the file did
    not say and was concluded from its shape.
    """

    path: Path
    arm: Arm
    received: BoolArray
    notes: tuple[str, ...]
    _stored: StoredScan
    _data: Any

    @property
    def frame_count(self) -> int:
        """Frames in the file, missing ones included."""
        return self._stored.frames

    @property
    def stores_bslz4(self) -> bool:
        """Whether :meth:`stored_pattern` can hand out compressed patterns."""
        return self.arm.basis.is_raw and stores_bslz4_patterns(self._data)

    def frames(self, index: IndexArray) -> Array:
        """Patterns (n, Qy, Qx) of the given acquisition numbers, as recorded, in native byte order.

        Of a compressed scan vectors (n, coefficients + extras).
        """
        index = np.asarray(index, dtype=np.int64)
        dtype = self._data.dtype.newbyteorder("=")
        out = np.empty((len(index), *self._data.shape[len(self._stored.shape) :]), dtype=dtype)
        breaks = np.flatnonzero(np.diff(index) != 1) + 1
        starts, stops = [0, *breaks.tolist()], [*breaks.tolist(), len(index)]
        for start, stop in zip(starts, stops, strict=True):
            if stop > start:
                self._read_run(int(index[start]), out[start:stop])
        return out

    def batches(self, n: int) -> Iterator[FrameBatch]:
        """Everything that arrived, in acquisition order, at most ``n`` frames at a time."""
        for start in range(0, self.frame_count, n):
            index = start + np.flatnonzero(self.received[start : start + n])
            if len(index):
                yield FrameBatch(self.arm.uid, index, self.frames(index))

    def stored_pattern(self, number: int) -> bytes:
        """One pattern as it lies in the file: a ``bslz4`` part of the stream. Needs :attr:`stores_bslz4`."""
        mask, chunk = self._data.id.read_direct_chunk((*self._stored.at(number), 0, 0))
        if mask:
            raise InputFileError(f"{self.path}: frame {number} was stored uncompressed", "replay it with codec none")
        return bytes(chunk)

    def _read_run(self, first: int, out: Array) -> None:
        """Consecutive patterns, row by row."""
        for selection, start, stop in self._stored.pieces(first, first + len(out)):
            out[start - first : stop - first] = self._data[selection]


@contextmanager
def open_source(path: Path, values: Mapping[str, Any] | None = None) -> Iterator[FileSource]:
    """Open a native file; ``values`` are metadata (flat or dotted names) that win over the file's own.

    Raises InputFileError naming file, field and remedy: missing file, not HDF5, no ``/data``, wrong dimensions or
    type, impossible scan shape or metadata, data that lie outside the file. MetadataError for unknown ``values``.
    """
    path = Path(path)
    with opened(path) as file:
        vectors = VectorSets.find(path, file) if "data" not in file else None
        data = vectors or _data(path, file)
        metadata = file.get("metadata")
        given = attributes(metadata) if metadata is not None else {}
        basis, masks = (Basis(), None) if vectors is None else read_basis(path, file)
        stored = StoredScan(data.shape[:-2] if masks is None else data.shape[:-1])
        rows, columns = data.shape[-2:] if masks is None else masks.shape[1:]
        arm = _arm(path, stored.frames, Detector(shape=(rows, columns), dtype=data.dtype.str), given)
        if vectors is not None:
            arm = replace(arm, basis=basis.model_copy(update={"extra": extra_names(path, vectors)}))
        if values:
            arm = overlay(arm, values)
        notes: list[str] = []
        arm = replace(arm, scan=_fitted_scan(path, stored, arm.scan, notes))
        arm = replace(
            arm, arrays=_arrays(path, file, arm) if masks is None else {**_arrays(path, file, arm), "masks": masks}
        )
        yield FileSource(path, arm, _received(path, file, stored), tuple(notes), stored, data)


def _data(path: Path, file: Any) -> Any:
    data = dataset(file, "data")
    if data is None:
        hint = "give a native file, or import it with ptylive convert (docs/conventions.md)"
        raise InputFileError(f"{path} has no data set /data", hint)
    if data.ndim not in (3, 4) or 0 in data.shape:
        shape = " x ".join(map(str, data.shape)) or "a single number"
        raise InputFileError(
            f"{path}: /data is {shape}", "it must be (Ry, Rx, Qy, Qx), or (N, Qy, Qx) in acquisition order"
        )
    try:
        Detector(dtype=data.dtype.str)
    except (ValueError, TypeError):
        raise InputFileError(
            f"{path}: /data has the type {data.dtype}", "store unsigned integers or floating-point numbers"
        ) from None
    return data


def _arm(path: Path, frames: int, stored: Detector, given: Mapping[str, Any]) -> Arm:
    """What the file says of its scan, before the scan shape is compared with the data.

    stored: shape and type of the patterns as they lie in the file.
    """
    sections = sections_from(given)
    source = f"{path} /metadata"
    try:
        scan, optics, detector = (build(name, sections[name], source) for name in ("scan", "optics", "detector"))
    except (PtyliveError, TypeError, ValueError, OverflowError) as error:
        text = str(error) if str(error).startswith(source) else f"{source}: {error}"
        raise InputFileError(text, "correct the attribute or override it with --set") from None
    return Arm(
        uid=str(given.get("uid") or uuid.uuid4()),
        series=str(given.get("series") or path.stem),
        frames=frames,
        scan=scan,
        optics=optics,
        detector=detector.model_copy(update={"shape": stored.shape, "dtype": stored.dtype}),
    )


def _fitted_scan(path: Path, stored: StoredScan, scan: Scan, notes: list[str]) -> Scan:
    """The scan with what its data set's shape adds. Raises InputFileError when the two contradict each other."""
    hint = "correct scan_shape, flyback_frames, skip_first or repeats, or override them with --set"
    if len(stored.shape) == 1:
        if scan.shape is not None and scan.frames > stored.frames:
            raise InputFileError(
                f"{path}: impossible scan_shape {scan.shape[0]} x {scan.shape[1]}: it needs {scan.frames} frames, "
                f"/data has {stored.frames}",
                hint,
            )
        return scan
    rows, columns = stored.shape
    if scan.shape is None:
        notes.append(f"scan_shape is not given: taken from /data, {rows} x {columns - scan.flyback_frames}")
        return scan.model_copy(update={"shape": (rows, columns - scan.flyback_frames)})
    if scan.flyback_frames == 0 and scan.shape[0] == rows and scan.shape[1] < columns and scan.repeats == 1:
        flyback = columns - scan.shape[1]
        notes.append(f"flyback_frames is not given: {flyback}, the columns of /data beyond scan_shape")
        return scan.model_copy(update={"flyback_frames": flyback})
    if (scan.shape[0], scan.frames_per_row) != (rows, columns) or scan.skip_first:
        raise InputFileError(
            f"{path}: impossible scan_shape {scan.shape[0]} x {scan.shape[1]} (flyback_frames {scan.flyback_frames}) "
            f"for /data of {rows} x {columns} patterns",
            hint,
        )
    return scan


def _arrays(path: Path, file: Any, arm: Arm) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name in _FILE_ARRAYS:
        found = dataset(file, f"metadata/{name}")
        if found is None:
            continue
        wanted = array_shape(arm, name)
        if wanted is not None and found.shape != wanted:
            raise InputFileError(f"{path}: /metadata/{name} has shape {found.shape}, expected {wanted}", "correct it")
        array = np.asarray(found[()])
        arrays[name] = array.astype(bool) if name == "bad_pixel_mask" else array
    return arrays


def _received(path: Path, file: Any, stored: StoredScan) -> BoolArray:
    found = dataset(file, "metadata/received")
    if found is None:
        return np.ones(stored.frames, dtype=bool)
    if math.prod(found.shape) != stored.frames:
        raise InputFileError(
            f"{path}: /metadata/received has shape {found.shape} for {stored.frames} frames", "remove or correct it"
        )
    return np.asarray(found[()], dtype=bool).ravel()
