"""Axes of a data set in a NeXus group NXdata: vectors of the same group with units, named by ``@axes``; or dimension
scales of HDF5 that are attached to it.

HyperSpy's writer keeps the order of a signal, in which the scan may come last.
"""

from __future__ import annotations

import re
from typing import Any

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.axes_order import in_order, order_by_units
from ptylive.streamer.foreign.units import axes_metadata, doubtful_axes, is_energy, mean_step
from ptylive.streamer.storage.hdf5 import attributes, dataset
from ptylive.streamer.storage.scan_file import ScanFile


def with_nexus_axes(data: Any, notes: tuple[str, ...]) -> ScanFile:
    """Frames of a data set (h5py) in the contract's order, with step and pixel size where its group states them.

    An axis that lies in another file, or that holds nothing, is not used, and noted. Raises InputFileError for spectra,
    and for a damaged axis.
    """
    scales = _scales(data)
    if any(is_energy(unit) for _, unit in scales):
        problem = f"{data.file.filename}: {data.name} holds spectra, not diffraction patterns"
        raise InputFileError(problem, "name the file that holds the scan")
    frames, scales, turned = in_order(data, scales)
    return ScanFile(frames, axes_metadata(scales), notes=(*notes, *turned, *doubtful_axes(scales), *_unread(data)))


def states_axes(data: Any) -> bool:
    """Whether the group of a data set (h5py), or a dimension scale attached to it, states the unit of an axis."""
    return any(unit is not None for _, unit in _scales(data))


def tells_axes(data: Any) -> bool:
    """Whether the units of a data set's (h5py) axes tell those of the scan from those of the detector."""
    return order_by_units(_scales(data)) is not None


def _scales(data: Any) -> list[tuple[Any, Any]]:
    """(step, unit) of each axis; empty where the group does not name one for each and no scale is attached to any."""
    group, names = _named(data)
    return [_scale(group, name, length) for name, length in zip(names, data.shape, strict=False)]


def _unread(data: Any) -> list[str]:
    """A remark for each axis that cannot be read where it is, such as one that lies in another file."""
    group, names = _named(data)
    problems = [_vector(group, name)[1] for name in names]
    return [
        f"{problem}: not used as an axis; give scan_step_A or detector_pixel_mrad, whichever it states"
        for problem in problems
        if problem
    ]


def _named(data: Any) -> tuple[Any, list[str]]:
    """Group and names of the vector of each axis; no names where there is not one for each and no scale is attached."""
    group = data.parent
    names = attributes(group).get("axes")
    if not isinstance(names, list):  # until 2014 it was the data set that named them, in one text
        stated = attributes(data).get("axes")
        names = re.split("[:,]", stated.strip("[]")) if isinstance(stated, str) else []
    if len(names) == data.ndim:
        return group, [
            (name.decode(errors="replace") if isinstance(name, bytes) else str(name)).strip() for name in names
        ]
    attached = _attached(data)
    return data.file, attached if any(attached) else []


def _attached(data: Any) -> list[str]:
    """Names of the dimension scales of HDF5, as netCDF has them; empty for an axis that has none."""
    try:
        return [str(axis[0].name) if len(axis) else "" for axis in data.dims]
    except (OSError, RuntimeError, ValueError, LookupError):  # references that lead nowhere
        return []


def _vector(group: Any, name: str) -> tuple[Any, str]:
    """The data set of an axis, None if there is none; and why it cannot be read here, or nothing."""
    try:
        return dataset(group, name), ""
    except InputFileError as error:
        return None, str(error)


def _scale(group: Any, name: str, length: int) -> tuple[Any, Any]:
    """(step, unit) of an axis of that length, nothing where there is none. Raises InputFileError for a damaged one."""
    vector, _ = _vector(group, name)
    if vector is None or vector.shape != (length,) or vector.dtype.kind not in "fiu":
        return None, None
    try:
        return mean_step(vector), attributes(vector).get("units")
    except OSError:
        remedy = f'restore the file from a copy, or remove this axis: with h5py, del file["{vector.name}"]'
        raise InputFileError(f"{group.file.filename}: the axis {vector.name} is damaged", remedy) from None
