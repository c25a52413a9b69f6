"""Bad pixels that nobody has named: found on the mean pattern, by comparison with the pixels around them.

A detector blurs and a disc is wider than a pixel, so a feature of a single pixel is not diffraction. *Hot*: three times
as bright as the second brightest of its eight neighbours. *Dead*: inside the disc, a tenth of the second darkest. Two
may touch; both differ by more than six standard deviations. Lines, gaps between discs or modules and the shadow of a
beam stop are not detected: they have to be given in a mask. Discs of less than three pixels are as narrow as a hot
pixel, so their patterns are not examined.

Values need not be electrons. The ratio of their variance to their mean, by which sums are divided to obtain counts, is
estimated inside the disc and next to it, from the difference between a pixel and the mean of its neighbours on either
side. Structure, of the specimen or of a detector without flat field, makes it larger, never smaller.
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
"""Ratio of a pixel to its second brightest neighbour from which it is hot, and to its second darkest below which it is
dead. A detector's point spread and a disc's edge leave less contrast between neighbours."""
STANDARD_DEVIATIONS = 6.0
"""Standard deviations by which these limits must be passed: chance does so in one of 10^9 pixels."""
LEAST_COUNTS = 30.0
"""Counts that a hot pixel must have in all frames: fewer occur alone by chance."""
LEAST_RADIUS_PX = 3.0
"""Radius of the disc below which patterns are not examined: the discs of a crystal would be hot pixels."""
MOST, MOST_SHARE, ALWAYS = 2000, 0.005, 8
"""Number and share of pixels above which these are not isolated defects: then none is left out."""
BRIGHTEST_PERCENT = 99.5
"""Percentile of brightness above which pixels may disguise the disc."""
LEAST_WITNESSES = 30
"""Number of pixels next to the disc required to estimate noise there."""
LOOKED_AT, LOOKED_AT_BYTES = 512, 2**26
"""Number and size of frames in which hot pixels are looked for before a distortion is removed."""
MOST_LISTED = 8
"""Number of places named in a warning."""
INSIDE, BESIDE = 0.8, 1.2
"""Shares of the radius within which the disc is flat, and beyond which it has ended."""
DIFFERENCE = 1.5
"""Variance of a value less the mean of two others, over that of one value."""
MEDIAN_OF_THE_SMALLER = 0.163
"""Median of the smaller of two squared normal differences, along rows and columns, that share a pixel."""
MOST_COUNTS = 1e9
"""Largest counts in a pixel of the disc: patterns without noise would define no unit."""
AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)


def find_bad_pixels(
    mean_pattern: DoubleArray,
    frames: int,
    known: BoolArray,
    *,
    given_radius_px: float | None = None,
    dead: bool = True,
) -> BoolArray:
    """Return hot and dead pixels (Qy, Qx) of the mean (Qy, Qx) of some frames, not counting those already ``known``.

    ``given_radius_px``: radius from semi-angle and pixel size; the disc seen may be several touching ones.
    """
    none_found, total = np.zeros(known.shape, dtype=bool), np.where(known, np.nan, mean_pattern) * frames
    filled = np.nan_to_num(total)
    stands_out = (filled > HOT * _neighbour(filled, -2)) & (filled >= np.percentile(filled, BRIGHTEST_PERCENT))
    disc = find_disc(filled, known | stands_out)
    if disc is None:
        return none_found
    radius = disc.radius_px if given_radius_px is None else min(given_radius_px, disc.radius_px)
    if radius < LEAST_RADIUS_PX:
        return none_found
    total = np.ldexp(total, -int(np.frexp(filled.max())[1]))  # squares of tiny counts would be 0; nothing is rounded
    distance = np.hypot(*(np.indices(total.shape) - np.reshape(disc.center_px, (2, 1, 1)))) / radius
    noise = _noise(total, distance)
    if noise.inside == 0:
        return none_found
    total, floor = np.maximum(total, 0), noise.floor
    hot = np.where(distance > BESIDE, _hot(total / noise.beside, floor), _hot(total / noise.inside, floor))
    found = hot | (
        _dead(np.where(hot, np.nan, total / noise.inside), floor) & (distance < INSIDE) if dead else none_found
    )
    found &= ~known
    plausible = found.sum() <= max(ALWAYS, min(MOST, MOST_SHARE * found.size))
    return found if plausible else none_found


class Noise(NamedTuple):
    """Noise of sums over all frames."""

    inside: float
    """Variance over mean in the disc; 0 if most of its pixels hold nothing."""
    beside: float
    """Variance over mean next to the disc, if there is enough signal to estimate it; never more than ``inside``."""
    floor: float
    """Variance next to the disc, in units of ``beside`` squared."""


def _noise(total: DoubleArray, distance: DoubleArray) -> Noise:
    """Estimate noise by medians, robust against bad pixels; ``distance``: distance from the disc's centre, in radii."""
    neighbour_mean = [(np.roll(total, 1, axis) + np.roll(total, -1, axis)) / 2 for axis in (0, 1)]
    squares = [(total - middle) ** 2 / DIFFERENCE for middle in neighbour_mean]
    with np.errstate(invalid="ignore", divide="ignore"):
        over_mean = np.minimum(*(square / middle for square, middle in zip(squares, neighbour_mean, strict=True)))
    inside = total[distance < INSIDE]
    brightest = float(np.median(inside[np.isfinite(inside)])) if np.isfinite(inside).any() else 0.0
    least = brightest / MOST_COUNTS
    unit = outside = max(_median(over_mean[distance < INSIDE]), least)
    off_disc = distance > BESIDE
    if np.isfinite(over_mean[off_disc]).sum() >= LEAST_WITNESSES:
        outer = max(_median(over_mean[off_disc]), least)
        if np.nanmedian(total[off_disc]) >= LEAST_COUNTS * outer:  # with fewer, squared differences are unreliable
            outside = min(unit, outer)
    return Noise(unit, outside, _median(np.minimum(*squares)[off_disc]) / outside**2 if outside else 0.0)


def _median(smaller: DoubleArray) -> float:
    """Return the median of the finite values, relative to that of normal numbers."""
    usable = smaller[np.isfinite(smaller)]
    return float(np.median(usable)) / MEDIAN_OF_THE_SMALLER if len(usable) else 0.0


def _neighbour(values: DoubleArray, rank: int) -> DoubleArray:
    """Return the value of this rank among the eight neighbours of each pixel: 1 second smallest, -2 second largest."""
    return np.asarray(ndimage.rank_filter(values, rank, footprint=AROUND, mode="mirror"))


def _hot(counts: DoubleArray, floor: float) -> BoolArray:
    """Find hot pixels. ``counts``: in all frames, nan if unknown; ``floor``: their variance where there are none."""
    filled = np.nan_to_num(counts)
    second = _neighbour(filled, -2)
    deviation = np.sqrt(filled + floor + HOT**2 * (second + floor))
    return (filled > LEAST_COUNTS) & (filled - HOT * second > STANDARD_DEVIATIONS * deviation)


def _dead(counts: DoubleArray, floor: float) -> BoolArray:
    """Find dead pixels likewise; pixels without a known value are not used for comparison."""
    own_counts, second = np.nan_to_num(counts, nan=np.inf), _neighbour(np.nan_to_num(counts, nan=np.inf), 1)
    second = np.where(np.isinf(second), 0.0, second)
    return DEAD * second - own_counts > STANDARD_DEVIATIONS * np.sqrt(own_counts + floor + DEAD**2 * (second + floor))


def frames_examined(header: ScanHeader) -> int:
    """Return how many of the first frames of a distorted scan are searched for hot pixels, live and offline alike."""
    of_memory = LOOKED_AT_BYTES // (header.detector_shape[0] * header.detector_shape[1] * 4)
    return max(1, min(LOOKED_AT, of_memory, header.frames))


def without_hot_pixels(flat: Undistorted, frames: Array, previous: Undistorted | None = None) -> Undistorted:
    """Return the distortion correction without hot pixels that frames (n, Qy, Qx) as recorded show.

    ``previous``: an earlier result from fewer frames, returned if nothing has changed.
    """
    counts, recorded = flat.readout.counts(frames)[0], flat.recorded
    mean, known = np.mean(counts, axis=0, dtype=float), bad_pixels(recorded.of_counts)
    hot = find_bad_pixels(mean, len(frames), known, given_radius_px=_given_radius_px(recorded), dead=False)
    clean = flat.leaving_out(hot) if hot.any() else flat
    if previous is not None and np.array_equal(clean.weights, previous.weights):
        return previous
    if hot.any():
        log.warning("scan %s: recorded pixels that differ from all their neighbours: %s", recorded.series, _listed(hot))
    return clean


def _listed(found: BoolArray) -> str:
    """Return some of the places in words."""
    new = np.argwhere(found).tolist()
    more = f" and {len(new) - MOST_LISTED} more" if len(new) > MOST_LISTED else ""
    return ", ".join(f"({row}, {col})" for row, col in new[:MOST_LISTED]) + more


class BadPixels:
    """Bad pixels found on a scan so far."""

    def __init__(self) -> None:
        self.found: BoolArray | None = None

    def look(self, header: ScanHeader, mean_frame: DoubleArray, frames: int, *, dead: bool = True) -> ScanHeader:
        """Return the header with bad pixels found on the mean (Qy, Qx) of its frames, replacing earlier findings.

        A few frames from one place may hold dark speckles, so ``dead`` pixels are looked for on the whole scan.
        """
        if not header.basis.is_raw:
            return header
        previous = np.zeros(header.detector_shape, dtype=bool) if self.found is None else self.found
        known = bad_pixels(header) & ~previous
        self.found = find_bad_pixels(mean_frame, frames, known, given_radius_px=_given_radius_px(header), dead=dead)
        new = self.found & ~previous
        if new.any():
            log.warning(
                "scan %s: pixels that differ from all their neighbours are left out: %s", header.series, _listed(new)
            )
        if not previous.any() and not self.found.any():
            return header
        return replace(header, arrays={**header.arrays, "bad_pixel_mask": known | self.found})

    def masked(self, header: ScanHeader) -> ScanHeader:
        """Return the header with the pixels found so far added to its mask."""
        if self.found is None or not self.found.any():
            return header
        return replace(header, arrays={**header.arrays, "bad_pixel_mask": bad_pixels(header) | self.found})

    def noted(self, calibration: Calibration) -> Calibration:
        """Return the calibration with their places: row, column, row, column, …"""
        if self.found is None or not self.found.any():
            return calibration
        places = tuple(float(number) for number in np.argwhere(self.found).ravel())
        return calibration.having(bad_pixels_px=Quantity(places, Origin.ESTIMATED))


def _given_radius_px(header: ScanHeader) -> float | None:
    """Return the radius of the disc, if semi-angle and pixel size are given."""
    angle, pixel_mrad = header.optics.convergence_semiangle_mrad, header.detector.pixel_mrad
    if pixel_mrad is None and header.detector.pixel_invA is not None and header.optics.wavelength_A is not None:
        pixel_mrad = invA_to_mrad(header.detector.pixel_invA, header.optics.wavelength_A)
    return None if angle is None or not pixel_mrad else angle / pixel_mrad
