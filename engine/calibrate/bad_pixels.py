"""Pixels that nobody said were bad: found on the mean pattern, by pixels around them.

A detector blurs and a disc is wider than a pixel, so what stands alone is no diffraction. *Hot*: three times as bright
as the second brightest of its eight neighbours. *Dead*: inside the disc, a tenth of the second darkest. Two may touch;
both by more than six standard deviations. Lines, gaps between discs or modules and what a beam stop covers are no such
pixels: a mask has to name those. Discs of less than three pixels are as narrow as a hot pixel: nothing is said of their
patterns.

Values need not be electrons. Their variance over their mean, by which sums are divided before they count as such, is
estimated inside the disc and beside it, from how much a pixel differs from the middle of its neighbours on both sides;
structure, of the specimen and of a detector without flat field, makes it larger, never smaller.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.calibrate.disc import find_disc
from ptylive.schema import Calibration, Origin, Quantity, ScanHeader
from ptylive.schema.model import Array, BoolArray, DoubleArray
from ptylive.schema.pattern.undistorted import Undistorted
from ptylive.schema.units import invA_to_mrad

log = logging.getLogger(__name__)

HOT, DEAD = 3.0, 0.1
STANDARD_DEVIATIONS = 6.0
LEAST_COUNTS = 30.0
"""Of a hot pixel, in all frames: fewer come alone by chance."""
LEAST_RADIUS_PX = 3.0
MOST, MOST_SHARE, ALWAYS = 2000, 0.005, 8
"""More than this is no defect here and there: then none is left out."""
BRIGHTEST_PERCENT = 99.5
"""Pixels as bright as this may hide where the disc is."""
LEAST_WITNESSES = 30
"""Pixels beside the disc that tell of noise there."""
LOOKED_AT, LOOKED_AT_BYTES = 512, 2**26
"""Of the frames that hot pixels are looked for in before they are freed of a distortion."""
SAID = 8
"""Places that a warning names."""
INSIDE, BESIDE = 0.8, 1.2
"""Shares of the radius: where the disc is flat, and where it has ended."""
DIFFERENCE = 1.5
"""Variance of a value less the middle of two others, over that of one."""
MEDIAN_OF_THE_SMALLER = 0.163
"""Of two squares of normal numbers that have a pixel in common: the differences along rows and along columns."""
MOST_COUNTS = 1e9
"""In a pixel of the disc: of patterns without noise, no unit could be told."""
AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)


def find_bad_pixels(
    mean_pattern: DoubleArray,
    frames: int,
    known: BoolArray,
    *,
    told_radius_px: float | None = None,
    dead: bool = True,
) -> BoolArray:
    """Hot and dead pixels (Qy, Qx) of the mean (Qy, Qx) of some frames, beside those that are ``known``.

    ``told_radius_px``: of the disc, by semi-angle and pixel; the disc that is seen may be several that touch.
    """
    nothing, total = np.zeros(known.shape, dtype=bool), np.where(known, np.nan, mean_pattern) * frames
    filled = np.nan_to_num(total)
    stands_out = (filled > HOT * _neighbour(filled, -2)) & (filled >= np.percentile(filled, BRIGHTEST_PERCENT))
    disc = find_disc(filled, known | stands_out)
    if disc is None:
        return nothing
    radius = disc.radius_px if told_radius_px is None else min(told_radius_px, disc.radius_px)
    if radius < LEAST_RADIUS_PX:
        return nothing
    away = np.hypot(*(np.indices(total.shape) - np.reshape(disc.center_px, (2, 1, 1)))) / radius
    noise = _noise(total, away)
    if noise.inside == 0:
        return nothing
    total, floor = np.maximum(total, 0), noise.floor
    hot = np.where(away > BESIDE, _hot(total / noise.beside, floor), _hot(total / noise.inside, floor))
    found = hot | (_dead(np.where(hot, np.nan, total / noise.inside), floor) & (away < INSIDE) if dead else nothing)
    found &= ~known
    few = found.sum() <= max(ALWAYS, min(MOST, MOST_SHARE * found.size))
    return found if few else nothing


class Noise(NamedTuple):
    """Of sums over all frames."""

    inside: float
    """Variance over mean in the disc; 0 where most of its pixels hold nothing."""
    beside: float
    """The same beside it, where enough is seen there to tell it, and never more."""
    floor: float
    """Variance beside the disc, in units of ``beside`` squared."""


def _noise(total: DoubleArray, away: DoubleArray) -> Noise:
    """Medians, robust against the pixels that are looked for; ``away``: from the disc's centre, in radii."""
    between = [(np.roll(total, 1, axis) + np.roll(total, -1, axis)) / 2 for axis in (0, 1)]
    squares = [(total - middle) ** 2 / DIFFERENCE for middle in between]
    with np.errstate(invalid="ignore", divide="ignore"):
        over_mean = np.minimum(*(square / middle for square, middle in zip(squares, between, strict=True)))
    inside = total[away < INSIDE]
    brightest = float(np.median(inside[np.isfinite(inside)])) if np.isfinite(inside).any() else 0.0
    least = brightest / MOST_COUNTS
    unit = outside = max(_median(over_mean[away < INSIDE]), least)
    beside = away > BESIDE
    if np.isfinite(over_mean[beside]).sum() >= LEAST_WITNESSES:
        found = max(_median(over_mean[beside]), least)
        if np.nanmedian(total[beside]) >= LEAST_COUNTS * found:  # of fewer, squares of differences tell little
            outside = min(unit, found)
    return Noise(unit, outside, _median(np.minimum(*squares)[beside]) / outside**2 if outside else 0.0)


def _median(smaller: DoubleArray) -> float:
    """Of those that are known, over what it is of normal numbers."""
    usable = smaller[np.isfinite(smaller)]
    return float(np.median(usable)) / MEDIAN_OF_THE_SMALLER if len(usable) else 0.0


def _neighbour(values: DoubleArray, rank: int) -> DoubleArray:
    """Of the eight around each the one of this rank: 1 the second smallest, -2 the second largest."""
    return np.asarray(ndimage.rank_filter(values, rank, footprint=AROUND, mode="mirror"))


def _hot(counts: DoubleArray, floor: float) -> BoolArray:
    """``counts``: in all frames, nan where nothing is known; ``floor``: their variance where there are none."""
    filled = np.nan_to_num(counts)
    second = _neighbour(filled, -2)
    deviation = np.sqrt(filled + floor + HOT**2 * (second + floor))
    return (filled > LEAST_COUNTS) & (filled - HOT * second > STANDARD_DEVIATIONS * deviation)


def _dead(counts: DoubleArray, floor: float) -> BoolArray:
    """The same; pixels of which nothing is known are no witnesses."""
    here, second = np.nan_to_num(counts, nan=np.inf), _neighbour(np.nan_to_num(counts, nan=np.inf), 1)
    second = np.where(np.isinf(second), 0.0, second)
    return DEAD * second - here > STANDARD_DEVIATIONS * np.sqrt(here + floor + DEAD**2 * (second + floor))


def looked_at(header: ScanHeader) -> int:
    """How many of the first frames of a distorted scan are looked at for hot pixels, live and from a file alike."""
    of_memory = LOOKED_AT_BYTES // (header.detector_shape[0] * header.detector_shape[1] * 4)
    return max(1, min(LOOKED_AT, of_memory, header.frames))


def without_hot_pixels(flat: Undistorted, frames: Array, before: Undistorted | None = None) -> Undistorted:
    """What puts patterns in place, without the hot pixels that some frames (n, Qy, Qx) show as they were recorded.

    ``before``: what fewer of them had shown, given back where these show the same.
    """
    counts, recorded = flat.readout.counts(frames)[0], flat.recorded
    mean, known = np.mean(counts, axis=0, dtype=float), bad_pixels(recorded.of_counts)
    hot = find_bad_pixels(mean, len(frames), known, told_radius_px=_told_radius_px(recorded), dead=False)
    clean = flat.leaving_out(hot) if hot.any() else flat
    if before is not None and np.array_equal(clean.weights, before.weights):
        return before
    if hot.any():
        log.warning("scan %s: pixels as recorded that are unlike all around them: %s", recorded.series, _places(hot))
    return clean


def _places(found: BoolArray) -> str:
    """Some of them, in words."""
    new = np.argwhere(found).tolist()
    more = f" and {len(new) - SAID} more" if len(new) > SAID else ""
    return ", ".join(f"({row}, {col})" for row, col in new[:SAID]) + more


class BadPixels:
    """What has been found on a scan so far."""

    def __init__(self) -> None:
        self.found: BoolArray | None = None

    def look(self, header: ScanHeader, mean_frame: DoubleArray, frames: int, *, dead: bool = True) -> ScanHeader:
        """The scan with what is found on the mean (Qy, Qx) of some of its frames, in place of what was before.

        A few frames of one place may hold dark speckles: ``dead`` pixels are looked for on the whole scan.
        """
        if not header.basis.is_raw:
            return header
        before = np.zeros(header.detector_shape, dtype=bool) if self.found is None else self.found
        known = bad_pixels(header) & ~before
        self.found = find_bad_pixels(mean_frame, frames, known, told_radius_px=_told_radius_px(header), dead=dead)
        new = self.found & ~before
        if new.any():
            log.warning("scan %s: pixels unlike all around them are left out: %s", header.series, _places(new))
        if not before.any() and not self.found.any():
            return header
        return replace(header, arrays={**header.arrays, "bad_pixel_mask": known | self.found})

    def told(self, header: ScanHeader) -> ScanHeader:
        """The scan with the pixels that have been found in its mask."""
        if self.found is None or not self.found.any():
            return header
        return replace(header, arrays={**header.arrays, "bad_pixel_mask": bad_pixels(header) | self.found})

    def noted(self, calibration: Calibration) -> Calibration:
        """The calibration with their places: row, column, row, column, …"""
        if self.found is None or not self.found.any():
            return calibration
        places = tuple(float(number) for number in np.argwhere(self.found).ravel())
        return calibration.having(bad_pixels_px=Quantity(places, Origin.ESTIMATED))


def _told_radius_px(header: ScanHeader) -> float | None:
    """Of the disc, where semi-angle and pixel are told."""
    angle, pixel_mrad = header.optics.convergence_semiangle_mrad, header.detector.pixel_mrad
    if pixel_mrad is None and header.detector.pixel_invA is not None and header.optics.wavelength_A is not None:
        pixel_mrad = invA_to_mrad(header.detector.pixel_invA, header.optics.wavelength_A)
    return None if angle is None or not pixel_mrad else angle / pixel_mrad
