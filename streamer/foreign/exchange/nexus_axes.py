"""Axes of a data set in a NeXus group NXdata: vectors of the same group with units, named by ``@axes``; or dimension
scales of HDF5 that are attached to it.

HyperSpy's writer keeps the order of a signal, in which the scan may come last.
"""

from __future__ import annotations

import re
from typing import Any

from ptylive.streamer.foreign.axes_order import in_order
from ptylive.streamer.foreign.units import detector_metadata, doubtful_axes, mean_step, scan_metadata
from ptylive.streamer.storage.hdf5 import attributes, dataset
from ptylive.streamer.storage.scan_file import ScanFile


def with_nexus_axes(data: Any, notes: tuple[str, ...]) -> ScanFile:
    """Frames of a data set (h5py) in the contract's order, with step and pixel size where its group states them."""
    frames, scales, turned = in_order(data, _scales(data))
    metadata = detector_metadata(scales[-2:])
    if len(scales) == 4:
        metadata |= scan_metadata(scales[:2])
    return ScanFile(frames, metadata, notes=(*notes, *turned, *doubtful_axes(scales)))


def _scales(data: Any) -> list[tuple[Any, Any]]:
    """(step, unit) of each axis; empty where the group does not name one for each and no scale is attached to any."""
    group = data.parent
    names = attributes(group).get("axes")
    if not isinstance(names, list):  # until 2014 it was the data set that named them, in one text
        stated = attributes(data).get("axes")
        names = re.split("[:,]", stated.strip("[]")) if isinstance(stated, str) else []
    if len(names) != data.ndim:
        return _attached(data)
    return [_scale(group, name, length) for name, length in zip(names, data.shape, strict=True)]


def _attached(data: Any) -> list[tuple[Any, Any]]:
    """(step, unit) of each axis by the dimension scales of HDF5, as netCDF has them; empty where there are none."""
    try:
        names = [str(axis[0].name) if len(axis) else "" for axis in data.dims]
    except (OSError, RuntimeError, ValueError, LookupError):  # references that lead nowhere
        return []
    if not any(names):
        return []
    return [_scale(data.file, name, length) for name, length in zip(names, data.shape, strict=True)]


def _scale(group: Any, name: Any, length: int) -> tuple[Any, Any]:
    name = (name.decode(errors="replace") if isinstance(name, bytes) else str(name)).strip()
    vector = dataset(group, name) if name not in ("", ".") and name in group else None  # "." stands for no axis
    if vector is None or vector.shape != (length,) or vector.dtype.kind not in "fiu":
        return None, None
    return mean_step(vector), attributes(vector).get("units")
