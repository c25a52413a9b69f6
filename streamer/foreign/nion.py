"""Metadata that Nion Swift exports as ``.json`` next to an array (``.npy``), or next to a PyPty ``.h5``.

Names of the keys: nionswift's ``Metadata.key_map``, and those written by its scan and camera devices. Aberrations and
rotation are not adopted: their signs depend on the set-up of each microscope.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import check_is_file
from ptylive.streamer.foreign.arrays import stored_frames
from ptylive.streamer.foreign.axes_order import in_order
from ptylive.streamer.foreign.units import (
    angle_mrad,
    axes_metadata,
    doubtful_axes,
    energy_eV,
    is_energy,
    length_A,
    time_us,
)
from ptylive.streamer.storage.native import open_native
from ptylive.streamer.storage.scan_file import ScanFile, StoredFrames

MAX_JSON_BYTES = 16 * 2**20
_NOT_OF_NION = "export the data from Nion Swift again; rename the file if it does not describe frames of the same name"
_HIGH_TENSION_V = (
    "hardware_source.high_tension_v",
    "hardware_source.autostem.high_tension_v",
    "instrument.high_tension",
    "instrument.high_tension_v",
    "scan.scan_device_properties.EHT",
)
_SEMIANGLE_RAD = ("hardware_source.convergence_angle_rad", "scan.scan_device_properties.ImageScanned:probe_ha")


@contextmanager
def open_nion(path: Path) -> Iterator[ScanFile]:
    """Open the ``.npy`` or ``.h5`` of the same name that a Nion ``.json`` describes. Raises InputFileError."""
    array, hdf5 = path.with_suffix(".npy"), path.with_suffix(".h5")
    check_is_file(path)
    if array.is_file():
        frames, metadata, notes = read_described(path, stored_frames(array))
        yield ScanFile(frames, metadata, notes=notes)
    elif hdf5.is_file():
        with open_native(hdf5) as stored:
            frames, metadata, notes = read_described(path, stored.frames)
            yield ScanFile(frames, {**metadata, **stored.metadata}, stored.arrays, stored.received, notes=notes)
    else:
        raise InputFileError(
            f"{path} has no frames next to it", f"put {array.name} or {hdf5.name} into the same folder"
        )


def read_described(path: Path, frames: StoredFrames) -> tuple[StoredFrames, dict[str, Any], tuple[str, ...]]:
    """Return the frames that a Nion ``.json`` describes in the contract's order, their metadata from it, and notes.

    Raises InputFileError.
    """
    return as_described(_read(path), frames, path.name)


def as_described(
    described: Mapping[str, Any], frames: StoredFrames, name: str
) -> tuple[StoredFrames, dict[str, Any], tuple[str, ...]]:
    """Like :func:`read_described`, for properties already read from the file of that name. Raises InputFileError."""
    metadata: dict[str, Any] = {}
    doubtful: tuple[str, ...] = ()
    calibrations = described.get("spatial_calibrations") or described.get("dimensional_calibrations") or []
    scales = [(c.get("scale"), c.get("units")) for c in calibrations if isinstance(c, Mapping)]
    if any(is_energy(unit) for _, unit in scales):
        raise InputFileError(f"{name} describes spectra, not diffraction patterns", "name the file that holds the scan")
    frames, scales, turned = in_order(frames, scales)
    shape = frames.shape
    if len(scales) == len(shape):
        metadata |= axes_metadata(scales)
        doubtful = doubtful_axes(scales)
    given = described.get("metadata")
    given = given if isinstance(given, Mapping) else {}
    size = _scan_size(given)
    if len(shape) == 3 and size is not None and size[0] * size[1] == shape[0]:
        metadata["scan_shape"] = list(size)
    field_A = length_A(_first(given, ("scan.fov_nm", "hardware_source.fov_nm")), "nm")
    points = shape[:2] if len(shape) == 4 else size
    if "scan_step_A" not in metadata and field_A is not None and points is not None:
        metadata["scan_step_A"] = field_A / max(points)  # Nion's field of view is that of the longer side
    metadata |= _known(
        energy_eV=energy_eV(_first(given, _HIGH_TENSION_V)),
        convergence_semiangle_mrad=angle_mrad(_first(given, _SEMIANGLE_RAD), "rad"),
        dwell_time_us=time_us(_first(given, ("hardware_source.exposure",))),
    )
    description = f"metadata of {name}: {', '.join(sorted(metadata)) or 'none of the needed values'}"
    return frames, metadata, (description, *turned, *doubtful)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputFileError(f"{path} is too large to be a metadata file", _NOT_OF_NION)
        described = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except (OSError, ValueError, RecursionError) as error:
        raise InputFileError(f"{path} is not readable as JSON: {error}", _NOT_OF_NION) from None
    if not isinstance(described, Mapping):
        raise InputFileError(f"{path} is not a metadata file of Nion Swift", _NOT_OF_NION)
    return described


def _scan_size(given: Mapping[str, Any]) -> tuple[int, int] | None:
    """Scan points (rows, columns)."""
    size = _first(given, ("scan.scan_size", "scan.scan_context_size", "scan.valid_size"))
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        return None
    return size[0], size[1]


def _first(given: Mapping[str, Any], paths: tuple[str, ...]) -> Any:
    """The value at the first existing dotted path; names may contain dots after the last but one."""
    for path in paths:
        value: Any = given
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    return None


def _known(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
