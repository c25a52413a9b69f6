"""Thermo Fisher Velox ``.emd``: HDF5 with series of images (y, x, frame), each with its metadata as JSON.

Layout: RosettaSciIO, ``rsciio/emd/_emd_velox.py``; numbers are in SI units. There is no data set of four axes: the one
camera series whose pixels are a frequency or an angle is read, in the order of acquisition.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import Array
from ptylive.streamer.foreign.units import (
    angle_mrad,
    detector_metadata,
    energy_eV,
    frequency_invA,
    time_us,
    unequal_pixels,
)
from ptylive.streamer.storage.hdf5 import dataset, opened
from ptylive.streamer.storage.scan_file import ScanFile

_IMAGES = "Data/Image"
_MOST_IMAGES, _MOST_JSON_BYTES = 1000, 16 * 2**20
_CONVERGENCE_NOT_USED = "the beam convergence is not used: Velox does not state whether it is the semi-angle"


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a Velox file with images."""
    return "Version" in file and isinstance(file.get(_IMAGES, getlink=False), h5py.Group)


@contextmanager
def open_velox(path: Path) -> Iterator[ScanFile]:
    """Open the only series of patterns. Raises InputFileError where there is none, or more than one."""
    with opened(path) as file:
        series = _series(path, file)
        found = [name for name, described in series.items() if _has_patterns(described)]
        if len(found) != 1:
            content = f"{len(found)} series of patterns" if found else "no series of diffraction patterns"
            held = f"{path} holds {content} ({len(series)} series of images)"
            raise InputFileError(held, "export the scan from Velox to a separate file")
        described = series[found[0]]
        frames = SeriesFrames(dataset(file, f"{_IMAGES}/{found[0]}/Data"))
        notes = (f"series read: {found[0]}", _CONVERGENCE_NOT_USED, *unequal_pixels(_pixel(described)))
        yield ScanFile(frames, _metadata(described), notes=notes)


class SeriesFrames:
    """Patterns (N, Qy, Qx) of a data set (Qy, Qx, N)."""

    def __init__(self, data: Any) -> None:
        self._data = data

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, Qy, Qx)."""
        rows, columns, count = self._data.shape
        return int(count), int(rows), int(columns)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel, in native byte order."""
        dtype: np.dtype[Any] = self._data.dtype
        return dtype.newbyteorder("=")

    def __getitem__(self, selection: Any) -> Array:
        chosen = selection[0] if isinstance(selection, tuple) else selection
        part = np.asarray(self._data[:, :, chosen])
        return np.moveaxis(part, 2, 0) if part.ndim == 3 else part


def _series(path: Path, file: Any) -> dict[str, Mapping[str, Any]]:
    """Images of more than one frame, with their metadata."""
    images = file[_IMAGES]
    if len(images) > _MOST_IMAGES:
        raise InputFileError(f"{path} holds more than {_MOST_IMAGES} images", "export the scan to a separate file")
    series = {}
    for name in images:
        data = dataset(file, f"{_IMAGES}/{name}/Data")
        if data is not None and data.ndim == 3 and 0 not in data.shape and data.shape[2] > 1:
            series[str(name)] = _described(path, dataset(file, f"{_IMAGES}/{name}/Metadata"))
    return series


def _described(path: Path, stored: Any) -> Mapping[str, Any]:
    """Metadata of the first frame: bytes of JSON in the first column; empty where there are none."""
    if stored is None or stored.ndim != 2 or 0 in stored.shape or stored.dtype != np.uint8:
        return {}
    if stored.shape[0] > _MOST_JSON_BYTES:
        raise InputFileError(f"{path}: its metadata are too large", "export the scan from Velox again")
    try:
        found = json.loads(np.asarray(stored[:, 0]).tobytes().rstrip(b"\0"))
    except (ValueError, RecursionError):
        raise InputFileError(
            f"{path}: its metadata are not readable as JSON", "is it complete? copy it again"
        ) from None
    return found if isinstance(found, Mapping) else {}


def _has_patterns(described: Mapping[str, Any]) -> bool:
    _, (_, unit) = _pixel(described)
    return frequency_invA(1, unit) is not None or angle_mrad(1, unit) is not None


def _pixel(described: Mapping[str, Any]) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """(size, unit) of rows and columns."""
    names = (("PixelSize.height", "PixelUnitY"), ("PixelSize.width", "PixelUnitX"))
    rows, columns = ((_at(described, f"BinaryResult.{a}"), _at(described, f"BinaryResult.{b}")) for a, b in names)
    return rows, columns


def _metadata(described: Mapping[str, Any]) -> dict[str, Any]:
    detector = f"Detectors.Detector-{_at(described, 'BinaryResult.DetectorIndex')}"
    values = {
        "energy_eV": energy_eV(_at(described, "Optics.AccelerationVoltage")),
        "dwell_time_us": time_us(_at(described, f"{detector}.ExposureTime")),
    }
    known = {name: value for name, value in values.items() if value is not None}
    return detector_metadata(_pixel(described)) | known


def _at(described: Mapping[str, Any], path: str) -> Any:
    """Return a value by its dotted path; None if absent."""
    value: Any = described
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
