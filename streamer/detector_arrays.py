"""Bad-pixel masks, vacuum patterns and references of a detector, given by the user as files or arrays.

A file is an image saved by ``numpy.save``, or a scan in any supported format, of which the mean is used: a dark
reference is a scan with the beam blanked, a vacuum pattern one without a specimen. An offset that is the same in all
pixels may be given as a number instead of a dark reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import InputFileError, MetadataError, ScanHeader
from ptylive.schema.detector import DP_MASK, MOST_COUNTS, joined, usable_counts
from ptylive.schema.errors import brief
from ptylive.schema.model import Array, DoubleArray
from ptylive.streamer.foreign.arrays import mapped_array
from ptylive.streamer.foreign.formats import reader_for
from ptylive.streamer.storage.layout import StoredScan
from ptylive.streamer.storage.native import open_native
from ptylive.streamer.storage.scan_file import ScanFile
from ptylive.streamer.wire.limits import MAX_DETECTOR_SIDE

BAD_PIXELS, DARK = "bad_pixel_mask", "dark_reference"
READ_BYTES = 64 * 2**20
"""Bytes of frames read at a time."""


def read_detector_arrays(given: Mapping[str, Any]) -> dict[str, Array]:
    """Read images (Qy, Qx), named as in :data:`ptylive.schema.detector.DETECTOR_ARRAYS`, from files or arrays.

    A dark reference that is a number has the shape (). Pixels excluded by a ``dp_mask`` join the bad pixels. Raises
    InputFileError for an unusable file, MetadataError for a value that is neither file nor array, and for masks of two
    detectors.
    """
    present = {name: value for name, value in given.items() if value is not None}
    offset = None if DARK not in present else _number(present[DARK])
    if offset is not None:
        del present[DARK]
    arrays = {name: _read(name, value) for name, value in present.items()}
    if offset is not None:
        arrays[DARK] = np.asarray(offset, np.float32)
    counts = arrays.pop(DP_MASK, None)
    if counts is not None:
        bad = arrays.get(BAD_PIXELS, np.zeros_like(counts))
        if bad.shape != counts.shape:
            raise MetadataError(
                f"{DP_MASK} is {counts.shape}, {BAD_PIXELS} {bad.shape} pixels", "give images of the same detector"
            )
        if not counts.any():
            raise MetadataError(f"{DP_MASK} excludes every pixel", "it must be non-zero for pixels that count")
        arrays[BAD_PIXELS] = bad | ~counts
    return arrays


def _number(given: Any) -> float | None:
    """The number of counts, in digits or not; None for everything else, such as the name of a file."""
    if isinstance(given, bool) or not isinstance(given, str | int | float | np.number):
        return None
    try:
        value = float(given)
    except (ValueError, OverflowError):
        return None
    return value if abs(value) <= MOST_COUNTS else None


def _read(name: str, given: Any) -> Array:
    if isinstance(given, str | Path) and str(given):
        try:
            path = given_path(given)
            image, what = _image_of(path), f"{name} ({path})"
        except InputFileError as error:
            raise InputFileError(f"{name}: {error}", error.hint) from None
    elif isinstance(given, np.ndarray):
        image, what = given, name
    else:
        raise MetadataError(
            f"{name} is {brief(given)}, not a file", "give a .npy image, or a scan file, whose mean is used"
        )
    if image.ndim != 2 or not 0 < min(image.shape) <= max(image.shape) <= MAX_DETECTOR_SIDE:
        raise MetadataError(f"{what} has the shape {image.shape}", "it must be an image: detector rows x columns")
    if image.dtype.kind not in "buif":
        raise MetadataError(f"{what} holds {image.dtype}, not numbers")
    if name in (BAD_PIXELS, DP_MASK):
        return np.asarray(image != 0)
    with np.errstate(over="ignore"):
        image = np.asarray(image, dtype=np.float32)
    if not np.isfinite(image).all() and name != "gain_reference":
        raise MetadataError(
            f"{what} holds values that are not numbers", "replace them; mark bad pixels with bad_pixel_mask"
        )
    if name == "gain_reference" and not (image > 0).any():
        raise MetadataError(f"{what} has no value above 0", "counts are multiplied by it; its values should be near 1")
    return image


def given_path(given: str | Path) -> Path:
    """Return the named file, expanding ``~``. Raises InputFileError if the home folder does not exist."""
    try:
        return Path(given).expanduser()
    except RuntimeError as error:
        raise InputFileError(f"{given}: {error}", "give the full path") from None


def _image_of(path: Path) -> Array:
    if path.suffix.lower() == ".npy":
        array = mapped_array(path)
        if array.ndim == 2:
            return np.array(array)
    with (reader_for(path) or open_native)(path) as file:
        return _mean(path, file)


def _mean(path: Path, file: ScanFile) -> DoubleArray:
    """Return the mean of all frames that arrived."""
    if not file.basis.is_raw:
        raise InputFileError(f"{path} holds coefficients", "give a scan of frames")
    stored, shape = StoredScan(file.leading), tuple(file.frames.shape[-2:])
    at_once = max(1, READ_BYTES // max(1, int(np.prod(shape)) * file.frames.dtype.itemsize))
    received = np.ones(stored.frames, dtype=bool) if file.received is None else file.received
    total, count = np.zeros(shape), 0
    for first in range(0, stored.frames, at_once):
        for selection, start, stop in stored.pieces(first, min(first + at_once, stored.frames)):
            try:
                frames = usable_counts(np.asarray(file.frames[selection]))[0].reshape(-1, *shape)
            except OSError as error:
                raise InputFileError(f"{path}: frames {start} to {stop - 1} could not be read: {error}") from None
            total += frames[received[start:stop]].sum(axis=0, dtype=float)
            count += int(received[start:stop].sum())
    if not count:
        raise InputFileError(f"{path}: no frame of this scan was received", "give a scan with frames")
    return total / count


def with_arrays(header: ScanHeader, given: Mapping[str, Array]) -> ScanHeader:
    """Return the scan header with the given images. Raises MetadataError if they belong to another detector."""
    if not given:
        return header
    if not header.basis.is_raw:
        raise MetadataError(
            f"{', '.join(given)}: the scan holds coefficients", "give them when its frames are compressed"
        )
    images = {name: image if image.ndim else np.full(header.detector_shape, image) for name, image in given.items()}
    for name, image in images.items():
        if image.shape != header.detector_shape:
            rows, columns = header.detector_shape
            raise MetadataError(
                f"{name} is {image.shape[0]} x {image.shape[1]}, a frame {rows} x {columns} pixels",
                "give the image of this detector, in its recorded orientation",
            )
    return replace(header, arrays=joined(header.arrays, images, header.detector.saturation_value))
