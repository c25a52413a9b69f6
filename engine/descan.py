"""Patterns at rest: the descan of a scan removed from its frames (docs/theory/calibration.md, Descan).

For maps, patterns are moved back by the shift theorem, which does not blur. Linear interpolation between pixels costs
the bright field 5 % to 12 % of its correlation and changes its noise; whole pixels leave a saw-tooth of half a pixel
that is immediately visible in maps of the centre of mass. The part that all patterns of a scan have in common, above
all the edge of the disc, is not interpolated if it is known (``wandering_mean``), since it would ring. A refinement
receives unaltered counts, moved by whole pixels; the rest is a shift of the modelled pattern (``Dataset.offsets_px``).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import fft, ndimage

from ptylive.engine.backend.imaging.wandering_mean import WanderingMean, moments_of
from ptylive.engine.bad_pixels import bad_pixels
from ptylive.schema import Basis, Calibration, MetadataError, Scan, ScanHeader
from ptylive.schema.basis import MOMENTS
from ptylive.schema.detector import Descan, scan_places, undo_transform_of_displacement
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray

NEAR_PX = 5
"""Side of the square whose good pixels are averaged to fill a bad pixel before patterns are moved."""
MOVED_TOGETHER_PX = 2**16
"""Pixels of frames that are moved at a time: of small ones many, as each call takes longer than the transform."""
MOST_MISSED = 0.1
"""Share of the patterns that may lack a pixel: a tenth of its counts is less than what is attributed to background, and
a single line with a large jump would otherwise remove its whole border from all patterns."""


def descan_of(calibration: Calibration) -> Descan | None:
    """Return the descan of a calibration, or None if there is none to remove. Raises MetadataError if it is invalid."""
    numbers = calibration.get("descan_px")
    try:
        found = None if numbers is None else Descan.of(numbers)
    except (TypeError, ValueError) as error:
        reason = error if isinstance(error, ValueError) else "descan_px does not hold numbers"
        raise MetadataError(
            f"the calibration cannot be used: {reason}", "estimate descan_px again, or give 0"
        ) from None
    return found if found is not None and found.moves else None


def given_descan(header: ScanHeader) -> Descan | None:
    """Return the descan given by the user for raw frames, or None if there is none to remove."""
    numbers = header.detector.descan_px
    return None if numbers is None or not any(numbers) or not header.basis.is_raw else Descan.of(numbers)


def header_at_rest(header: ScanHeader, descan: Descan | None) -> ScanHeader:
    """Return the header of patterns moved back: their bad pixels are filled and would differ from frame to frame."""
    if descan is None or not descan.moves:
        return header
    return replace(header, arrays={name: array for name, array in header.arrays.items() if name != "bad_pixel_mask"})


def moved_back(
    header: ScanHeader, descan: Descan, index: IndexArray, frames: Array, mean: WanderingMean | None = None
) -> FloatArray:
    """Return frames (n, Qy, Qx) by acquisition number (n,), single precision, each moved to its place without descan.

    Values from outside the detector are 0; frames of no scan point stay where they are. ``mean``: the part common to
    all patterns of the scan, which is then not interpolated.
    """
    if mean is None:
        return moved(_without_bad_pixels(header, frames), _displacement(header, descan, index))
    near, remainder = nearly_moved_back(header, descan, index, frames)
    strength = mean.strength(near)[:, None, None]
    out = moved(near - strength * mean.at(remainder), remainder, round_the_edge=True) + strength * mean.still
    moments = moments_of(near)
    moments[:, 1:] -= remainder * moments[:, :1]
    out = mean.with_moments(out, moments)
    return _outside_zeroed(out, _displacement(header, descan, index))


def nearly_moved_back(
    header: ScanHeader, descan: Descan, index: IndexArray, frames: Array
) -> tuple[FloatArray, DoubleArray]:
    """Move frames back by whole pixels only; also return the rest (n, 2), at most half a pixel along each axis."""
    displacement = _displacement(header, descan, index)
    whole = np.rint(displacement)
    near = np.zeros(frames.shape, dtype=np.float32)
    for n, (row, col) in enumerate(whole.astype(np.int64).tolist()):
        near[n] = read_at_pixels(_without_bad_pixels(header, frames[n : n + 1]), row, col)[0]
    return near, displacement - whole


def places_in_scan(scan: Scan, index: IndexArray) -> DoubleArray:
    """Return the places in the scan (n, 2) of frames by acquisition number, from -1 to 1 along its rows and columns."""
    return np.stack(scan_places(scan.point_of(index), scan.require_shape()), axis=1)


def _without_bad_pixels(header: ScanHeader, frames: Array) -> Array:
    bad = bad_pixels(header)
    return np.stack([_filled(frame, bad) for frame in frames]) if bad.any() and len(frames) else frames


def _outside_zeroed(frames: FloatArray, displacement_px: DoubleArray) -> FloatArray:
    """Set frames to 0, in place, where they would be read from beyond the edges of the detector."""
    rows, cols = frames.shape[1:]
    for n, (row, col) in enumerate(displacement_px.tolist()):
        frames[n, _outside(row, rows)] = 0.0
        frames[n, :, _outside(col, cols)] = 0.0
    return frames


def seen_everywhere(shape: tuple[int, int], displacement_px: DoubleArray) -> BoolArray:
    """Return the pixels (Qy, Qx) that lie on the detector in all patterns moved back by displacements (n, 2)."""
    farthest = np.stack([displacement_px.min(axis=0), displacement_px.max(axis=0)])
    on_detector = _outside_zeroed(np.ones((2, *shape), dtype=np.float32), farthest)
    return np.asarray(on_detector.all(axis=0))


def beyond_detector(header: ScanHeader, descan: Descan) -> BoolArray:
    """Return the pixels (Qy, Qx) that have no counts in too many patterns once these are moved back by whole pixels."""
    shape, (rows, columns) = header.scan.require_shape(), header.detector_shape
    displacements = np.rint(descan.at_points(np.arange(math.prod(shape)), shape)).astype(np.int64)
    whole, points = np.unique(displacements, axis=0, return_counts=True)
    pixels_read = [whole[:, axis, None] + np.arange(size) for axis, size in enumerate((rows, columns))]
    seen_rows, seen_columns = ((pixels >= 0) & (pixels < pixels.shape[1]) for pixels in pixels_read)
    missed = points.sum() - (seen_rows.T * points) @ seen_columns
    return np.asarray(missed > MOST_MISSED * points.sum())


def moved_by_whole_pixels(header: ScanHeader, descan: Descan, index: IndexArray, frames: Array) -> Array:
    """Move frames (n, Qy, Qx), acquired as ``index`` (n,), back to the nearest pixel, keeping counts and their type."""
    whole = np.rint(_displacement(header, descan, index)).astype(np.int64)
    out, bad = np.zeros(frames.shape, dtype=frames.dtype), bad_pixels(header)
    for n, (row, col) in enumerate(whole.tolist()):
        frame = _filled(frames[n], bad) if bad.any() else frames[n]
        counts = read_at_pixels(frame[None], row, col)[0]
        out[n] = np.rint(counts) if out.dtype.kind in "ui" else counts
    return out


def read_at_pixels(frames: Array, row: int, col: int) -> Array:
    """Return frames (n, Qy, Qx) read ``row`` and ``col`` whole pixels further on; 0 from outside."""
    out = np.zeros(frames.shape, dtype=frames.dtype)
    into_rows, from_rows = _overlap(row, frames.shape[1])
    into_cols, from_cols = _overlap(col, frames.shape[2])
    out[:, into_rows, into_cols] = frames[:, from_rows, from_cols]
    return out


def offsets_px(header: ScanHeader, descan: Descan | None, point: IndexArray, transform: str, frames: Array) -> Any:
    """Return the displacement (N, 2), detector frame, that patterns of scan points (N,) still have; None if none.

    For frames it is the remainder left by :func:`moved_by_whole_pixels`. Coefficients (N, coefficients + extras) cannot
    be moved, so for them it is all displacement that their masks did not follow.
    """
    basis, shape = header.basis, header.scan.require_shape()
    if basis.is_raw:
        displacement = None if descan is None else descan.undone(transform).at_points(point, shape)
        return None if displacement is None else displacement - np.rint(displacement)
    if descan is None and not basis.follows:
        return None
    wander = (descan or Descan.of([0])).at_points(point, shape)
    sums = basis.columns(frames, MOMENTS) if basis.follows else np.zeros((len(point), 3))
    offset = beside_masks(basis, wander, basis.moved_px(frames), sums)
    return undo_transform_of_displacement(offset, transform)


def beside_masks(basis: Basis, wander: DoubleArray, moved_px: DoubleArray, moments: DoubleArray) -> DoubleArray:
    """Return how far patterns lie from their masks, (n, 2) in pixels.

    wander: the descan; moved_px: the part that the masks followed, both (n, 2). moments (n, 3): if masks followed, the
    mean centre of mass determines the offset that neither contains. Fixed masks were made for the mean place.
    """
    if not basis.follows:
        return wander
    usual_offset = np.zeros(2)
    if basis.com_px is not None and basis.center_px is not None:
        usual_offset = np.subtract(basis.com_px, basis.center_px)
    counts = max(float(moments[:, 0].sum()), 1e-12)
    place = moments[:, 1:].sum(axis=0) / counts - usual_offset
    offset: DoubleArray = wander - moments[:, 0] @ wander / counts + place - moved_px
    return offset


def _displacement(header: ScanHeader, descan: Descan, index: IndexArray) -> DoubleArray:
    """Return the descan (n, 2) in recorded pixels, 0 for frames of no scan point."""
    point = header.scan.point_of(index)
    return descan.at_points(point.clip(min=0), header.scan.require_shape()) * (point >= 0)[:, None]


def moved(frames: Array, displacement_px: DoubleArray, *, round_the_edge: bool = False) -> FloatArray:
    """Return frames (n, Qy, Qx) read at ``displacement_px`` (n, 2) from each pixel; 0 from outside, or wrapped around.

    By the shift theorem: no blur, and noise stays white. Counts may become slightly negative.
    """
    rows, cols = frames.shape[1:]
    k_row, k_col = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(cols)
    out = frames.astype(np.float32)
    moving = np.flatnonzero(np.any(displacement_px, axis=1))
    together = max(1, MOVED_TOGETHER_PX // (rows * cols))
    for first in range(0, len(moving), together):
        part = moving[first : first + together]
        row, col = np.asarray(displacement_px)[part].T[:, :, None, None]
        ramp = np.exp(2j * np.pi * row * k_row) * np.exp(2j * np.pi * col * k_col)
        out[part] = fft.irfft2(fft.rfft2(out[part]) * ramp.astype(np.complex64), s=(rows, cols))
    return out if round_the_edge else _outside_zeroed(out, displacement_px)


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """Return where pixels of a line of ``size`` read ``shift`` further on are written to, and where they come from."""
    first, stop = min(max(shift, 0), size), max(min(size + shift, size), 0)
    return (slice(first - shift, stop - shift) if stop > first else slice(0, 0)), slice(first, max(stop, first))


def _outside(shift: float, size: int) -> slice:
    """Return the pixels of a line that would be read from beyond its ends."""
    count = min(math.ceil(abs(shift)), size)
    return slice(size - count, size) if shift > 0 else slice(0, count)


def _filled(frame: Array, bad: BoolArray) -> FloatArray:
    """Return a frame with bad pixels replaced by the mean of good ones around them, 0 if there are none."""
    good = (~bad).astype(np.float32)
    counts = np.where(bad, 0, frame).astype(np.float32)
    good_share = ndimage.uniform_filter(good, NEAR_PX, mode="constant")
    neighbours = ndimage.uniform_filter(counts, NEAR_PX, mode="constant") / np.maximum(good_share, 1e-6)
    return np.where(bad, neighbours, counts)
