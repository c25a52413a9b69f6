"""Gatan DigitalMicrograph ``.dm3``/``.dm4`` through RosettaSciIO: 4D-STEM data sets, and series of patterns.

RosettaSciIO always takes the two fastest axes for the detector's. DigitalMicrograph marks data of that order with "Data
Order Swapped"; without this tag the fastest axes of a 4D-STEM data set are those of the scan. The units decide where
they can, otherwise the tag. Patterns are read at the position in the file that RosettaSciIO finds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import Array
from ptylive.streamer.foreign.arrays import check_frames, unmapped
from ptylive.streamer.foreign.axes_order import BY_UNITS, IN_ORDER, ROWS_FIRST, Order, order_by_units, put_in_order
from ptylive.streamer.foreign.rosetta import check_no_spectra, only_scan, read_signals, scale_of, value_at
from ptylive.streamer.foreign.units import (
    angle_mrad,
    axes_metadata,
    doubtful_axes,
    energy_eV,
    time_us,
)
from ptylive.streamer.storage.scan_file import ScanFile

_IMAGE = "original_metadata.ImageList.TagGroup0"
_TAGS = f"{_IMAGE}.ImageTags"
_SECONDS = ("SI.Acquisition.Pixel time (s)", "Acquisition.Parameters.High Level.Exposure (s)")
_SEMIANGLE_MRAD = "EELS.Experimental Conditions.Convergence semi-angle (mrad)"


@contextmanager
def open_dm(path: Path) -> Iterator[ScanFile]:
    """Open the only data set of four axes, or else of three. Raises InputFileError."""
    found = only_scan(path, read_signals("digitalmicrograph", path, chunks=-1))
    check_no_spectra(path, found)
    array = _mapped(path, found)
    scales = [scale_of(axis) for axis in found["axes"]]
    order, basis, guessed = _order(found, scales)
    frames, scales, notes = put_in_order(unmapped(path, array), scales, order, basis, guessed=guessed)
    if order == IN_ORDER:
        notes = (f"detector axes are the last two, {basis}",)
    seconds = (time_us(value_at(found, f"{_TAGS}.{tag}")) for tag in _SECONDS)
    values = {
        "energy_eV": energy_eV(value_at(found, f"{_TAGS}.Microscope Info.Voltage")),
        "convergence_semiangle_mrad": angle_mrad(value_at(found, f"{_TAGS}.{_SEMIANGLE_MRAD}"), "mrad"),
        "dwell_time_us": next((value for value in seconds if value is not None), None),
    }
    metadata = axes_metadata(scales) | {name: value for name, value in values.items() if value is not None}
    yield ScanFile(frames, metadata, notes=(*notes, *doubtful_axes(scales)))


def _order(found: Mapping[str, Any], scales: Sequence[tuple[Any, Any]]) -> tuple[Order, str, bool]:
    """Position of each axis in the array, how it is known, and whether the tag that would tell is missing."""
    if (order := order_by_units(scales)) is not None:
        return order, BY_UNITS, False
    if len(scales) != len(IN_ORDER):
        return tuple(range(len(scales))), "", False
    swapped = value_at(found, f"{_TAGS}.Meta Data.Data Order Swapped")
    basis = f"by the tag Data Order Swapped ({'absent' if swapped is None else int(swapped)})"
    return IN_ORDER if swapped else ROWS_FIRST, basis, swapped is None


def _mapped(path: Path, found: Mapping[str, Any]) -> Array:
    """Map the array at its position in the file. Raises InputFileError where the file ends before it."""
    shape = tuple(int(n) for n in found["data"].shape)
    check_frames(path, shape)
    place = value_at(found, f"{_IMAGE}.ImageData.Data")
    if not isinstance(place, Mapping) or not {"offset", "endian"} <= place.keys():
        raise InputFileError(f"{path}: RosettaSciIO does not say where its data lie", "update RosettaSciIO")
    dtype: np.dtype[Any] = np.dtype(found["data"].dtype).newbyteorder("<" if place["endian"] == "little" else ">")
    end, size = int(place["offset"]) + math.prod(shape) * dtype.itemsize, path.stat().st_size
    if end > size:
        raise InputFileError(f"{path} ends after {size} bytes, its data need {end}", "is it complete? copy it again")
    return np.memmap(path, dtype, "r", int(place["offset"]), shape)
