"""py4DSTEM's EMD files, version 1 (emdfile) and older, and Berkeley's: HDF5 with a data set of four axes.

py4DSTEM calls the slow axis of scan and detector x; the order of the axes in the file is the contract's. Its rotation
(QR_rotation) is not adopted, because its sense changed between versions. HyperSpy's writer of Berkeley's EMD reverses
all axes, and marks the group; files of others are recognised by the units of their axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ptylive.schema import InputFileError
from ptylive.schema.units import unit_factor
from ptylive.streamer.foreign.axes_order import (
    IN_ORDER,
    REVERSED,
    ROWS_FIRST,
    Order,
    ReorderedFrames,
    all_units_known,
    order_by_units,
    reordered,
    scan_lies_last,
)
from ptylive.streamer.foreign.units import (
    angle_mrad,
    detector_metadata,
    doubtful_axes,
    energy_eV,
    mean_step,
    scan_metadata,
)
from ptylive.streamer.storage.hdf5 import attributes, dataset, opened
from ptylive.streamer.storage.scan_file import CHECK_IT, ScanFile

_MARKS = ("emd_group_type", "version_major", "authoring_program")
_MOST_NAMES = 10_000
_OF_HYPERSPY = "signal_type"
"""Attribute of a group that only HyperSpy's writer sets."""


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is an EMD file."""
    inside = [file[name] for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    return any(mark in found.attrs for found in (file, *inside) for mark in _MARKS)


@contextmanager
def open_emd(path: Path) -> Iterator[ScanFile]:
    """Open the only data cube of an EMD file. Raises InputFileError where there is none, or more than one."""
    with opened(path) as file:
        names = _cubes(file)
        if len(names) != 1:
            found = f"{len(names)} data cubes ({', '.join(names[:4])})" if names else "no data cube of four axes"
            raise InputFileError(f"{path} holds {found}", "save one data cube to a file of its own")
        data = dataset(file, names[0])
        scales = [_scale(file, names[0], axis) for axis in range(4)]
        notes: tuple[str, ...] = (f"data cube read: {names[0]}",)
        frames, order = data, _order(file, names[0], scales)
        if order != IN_ORDER:
            frames, scales = ReorderedFrames(data, order), [scales[axis] for axis in order]
            by_hyperspy = _by_hyperspy(file, names[0])
            basis = "as HyperSpy stores them" if by_hyperspy else "by their units"
            doubt = "" if by_hyperspy or all_units_known(scales) else CHECK_IT
            notes += (f"{basis} its axes are {reordered(order)}{doubt}",)
        metadata = {
            **scan_metadata(scales[:2]),
            **detector_metadata(scales[2:]),
            **_high_tension(file),
            **_calibration(file),
        }
        yield ScanFile(frames, metadata, notes=(*notes, *doubtful_axes(scales)))


def _cubes(file: Any) -> list[str]:
    """Names of the four-dimensional data sets, none of which lies in another file."""
    names: list[str] = []

    def look(name: str, found: Any) -> bool | None:
        if isinstance(found, h5py.Dataset) and found.ndim == 4 and 0 not in found.shape:
            names.append(name)
        return True if len(names) > _MOST_NAMES else None

    file.visititems(look)
    return names


def _by_hyperspy(file: Any, name: str) -> bool:
    return _OF_HYPERSPY in file[name].parent.attrs


def _order(file: Any, name: str, scales: list[tuple[Any, Any]]) -> Order:
    """Axes of the array in the order (Ry, Rx, Qy, Qx)."""
    if _by_hyperspy(file, name):  # reversed, whatever the units; a transposed signal may have the scan last
        found = order_by_units([scales[axis] for axis in REVERSED]) or IN_ORDER
        return tuple(REVERSED[axis] for axis in found)
    if not scan_lies_last(scales):
        return order_by_units(scales) or IN_ORDER
    of_emdfile = "dim0" in file[name].parent  # which keeps the order of an array
    rows_first = of_emdfile or [_name(file, name, axis) for axis in (2, 3)] == ["y", "x"]
    return ROWS_FIRST if rows_first else REVERSED


def _scale(file: Any, name: str, axis: int) -> tuple[Any, Any]:
    """(step, unit) of an axis."""
    vector = _axis(file, name, axis)
    if vector is None or vector.ndim != 1 or len(vector) < 2:
        return None, None
    return mean_step(vector), _plain_unit(attributes(vector).get("units"))


def _axis(file: Any, name: str, axis: int) -> Any:
    """The vector ``dim<n>`` next to the data, counted from 0, or from 1 in older files; None where there is none."""
    parent = file[name].parent
    return dataset(parent, f"dim{axis + (0 if 'dim0' in parent else 1)}")


def _name(file: Any, name: str, axis: int) -> str:
    vector = _axis(file, name, axis)
    return "" if vector is None else str(attributes(vector).get("name") or "").strip().lower()


def _plain_unit(unit: Any) -> Any:
    """Convert Berkeley's ``[n_m]`` and ``[1_/_n_m]`` to the usual spelling."""
    is_spelt = isinstance(unit, str) and unit.startswith("[") and unit.endswith("]")
    return unit[1:-1].replace("_", "") if is_spelt else unit


def _high_tension(file: Any) -> dict[str, Any]:
    """High tension in Berkeley's group ``microscope``, if its unit is given."""
    group = file.get("microscope") if isinstance(file.get("microscope", getlink=True), h5py.HardLink) else None
    if not isinstance(group, h5py.Group):
        return {}
    found = attributes(group)
    factor = unit_factor("energy", str(_plain_unit(found.get("voltage_units")) or ""))
    energy = None if factor is None else energy_eV(found.get("voltage"), factor)
    return {} if energy is None else {"energy_eV": energy}


def _calibration(file: Any) -> dict[str, Any]:
    """Metadata that py4DSTEM's calibration adds to the vectors of the axes."""
    found: list[Any] = []

    def look(_name: str, group: Any) -> bool | None:
        if isinstance(group, h5py.Group) and attributes(group).get("python_class") == "Calibration":
            found.append(group)
            return True
        return None

    file.visititems(look)
    if not found:
        return {}
    step = _value(found[0], "R_pixel_size"), _value(found[0], "R_pixel_units")
    pixel = _value(found[0], "Q_pixel_size"), _value(found[0], "Q_pixel_units")
    metadata = {**scan_metadata([step, step]), **detector_metadata([pixel, pixel])}
    energy = energy_eV(_value(found[0], "accelerating_voltage"))
    if energy is not None:
        metadata["energy_eV"] = energy
    semiangle = angle_mrad(_value(found[0], "convergence_semiangle_mrad"), "mrad")
    if semiangle is not None:
        metadata["convergence_semiangle_mrad"] = semiangle
    if _value(found[0], "QR_flip"):
        metadata["detector_transform"] = "transpose"
    return metadata


def _value(group: Any, name: str) -> Any:
    """A single number or text, as emdfile stores it."""
    found = dataset(group, name)
    return None if found is None or found.shape != () else found[()]
