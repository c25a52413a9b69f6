"""Pixels that nobody said were bad: found on the mean pattern, by pixels around them.

A detector blurs and a disc is wider than a pixel, so what stands alone is no diffraction. *Hot*: three times as bright
as the second brightest of its eight neighbours; two may touch. *Dead*: a tenth of what is seen on both sides of it,
along a row, a column or a diagonal, at most three pixels away; pixels and narrow gaps between modules, and nothing at
the edge of a disc, beyond which one side is dark. Both by more than six standard deviations. Discs of less than three
pixels are as narrow as a hot pixel: of their patterns nothing is said.

Values need not be electrons. Their variance over their mean, by which sums are divided before they count as such, is
estimated inside the disc, from how much a pixel differs from the middle of its neighbours on both sides; structure of
the specimen makes it larger, never smaller. What a detector adds where nothing falls is estimated beside the disc.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ptylive.engine.bad_pixels import bad_pixels
from ptylive.engine.calibrate.disc import find_disc
from ptylive.schema import Calibration, Origin, Quantity, ScanHeader
from ptylive.schema.model import BoolArray, DoubleArray

log = logging.getLogger(__name__)

HOT, DEAD = 3.0, 0.1
STANDARD_DEVIATIONS = 6.0
LEAST_COUNTS = 30.0
"""Of a hot pixel, in all frames: fewer come alone by chance."""
WIDEST_GAP_PX = 3
LOOKS = 3
LEAST_RADIUS_PX = 3.0
MOST, MOST_SHARE = 2000, 0.05
"""More than this is no defect here and there: then none is left out."""
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
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def find_bad_pixels(mean_pattern: DoubleArray, frames: int, known: BoolArray, *, dead: bool = True) -> BoolArray:
    """Hot and dead pixels (Qy, Qx) of the mean (Qy, Qx) of some frames, beside those that are ``known``."""
    found = np.zeros(known.shape, dtype=bool)
    for _ in range(LOOKS):  # a gap across the disc hides how large it is
        new = _seen(np.where(known | found, np.nan, mean_pattern) * frames, dead=dead)
        found |= new
        if not new.any():
            break
    few = found.sum() <= min(MOST, MOST_SHARE * found.size)
    return found if few else np.zeros(known.shape, dtype=bool)


def _seen(total: DoubleArray, *, dead: bool) -> BoolArray:
    """What stands out of the sums over all frames, nan where nothing is known."""
    nothing, known = np.zeros(total.shape, dtype=bool), np.isnan(total)
    smooth = np.where(known, 0.0, ndimage.median_filter(np.nan_to_num(total), 3))
    disc = find_disc(smooth, known)
    if disc is None or disc.radius_px < LEAST_RADIUS_PX:
        return nothing
    away = np.hypot(*(np.indices(total.shape) - np.reshape(disc.center_px, (2, 1, 1)))) / disc.radius_px
    unit, floor = _noise(total, away)
    if unit == 0:
        return nothing
    counts = np.maximum(total, 0) / unit
    hot = _hot(counts, floor)
    found = hot | (_dead(np.where(hot, np.nan, counts), floor) & (away < 1)) if dead else hot
    return found & ~known


def _noise(total: DoubleArray, away: DoubleArray) -> tuple[float, float]:
    """Variance over mean inside the disc, of sums over all frames; beside it the variance, in units of that squared.

    ``away``: from the disc's centre, in radii. Medians, robust against the pixels that are looked for; 0 where most
    pixels hold nothing.
    """
    between = [(np.roll(total, 1, axis) + np.roll(total, -1, axis)) / 2 for axis in (0, 1)]
    squares = [(total - middle) ** 2 / DIFFERENCE for middle in between]
    with np.errstate(invalid="ignore", divide="ignore"):
        over_mean = np.minimum(*(square / middle for square, middle in zip(squares, between, strict=True)))
    inside = total[away < INSIDE]
    brightest = float(np.median(inside[np.isfinite(inside)])) if np.isfinite(inside).any() else 0.0
    unit = max(_median(over_mean[away < INSIDE]), brightest / MOST_COUNTS)
    return unit, _median(np.minimum(*squares)[away > BESIDE]) / unit**2 if unit else 0.0


def _median(smaller: DoubleArray) -> float:
    """Of those that are known, over what it is of normal numbers."""
    usable = smaller[np.isfinite(smaller)]
    return float(np.median(usable)) / MEDIAN_OF_THE_SMALLER if len(usable) else 0.0


def _hot(counts: DoubleArray, floor: float) -> BoolArray:
    """``counts``: in all frames, nan where nothing is known; ``floor``: their variance where there are none."""
    filled = np.nan_to_num(counts)
    second = ndimage.rank_filter(filled, -2, footprint=AROUND, mode="mirror")
    deviation = np.sqrt(filled + floor + HOT**2 * (second + floor))
    return (filled > LEAST_COUNTS) & (filled - HOT * second > STANDARD_DEVIATIONS * deviation)


def _dead(counts: DoubleArray, floor: float) -> BoolArray:
    """The same; pixels of which nothing is known are no witnesses."""
    rows, cols = counts.shape
    here = np.nan_to_num(counts, nan=np.inf)
    seen = np.pad(np.nan_to_num(counts), WIDEST_GAP_PX)
    dead = np.zeros(counts.shape, dtype=bool)
    for down, right in DIRECTIONS:
        sides = []
        for sign in (-1, 1):
            steps = [sign * step for step in range(1, WIDEST_GAP_PX + 1)]
            corners = [(WIDEST_GAP_PX + step * down, WIDEST_GAP_PX + step * right) for step in steps]
            sides.append(np.max([seen[y : y + rows, x : x + cols] for y, x in corners], axis=0))
        lit = np.minimum(*sides)
        deviation = np.sqrt(here + floor + DEAD**2 * (lit + floor))
        dead |= DEAD * lit - here > STANDARD_DEVIATIONS * deviation
    return dead


class BadPixels:
    """What has been found on a scan so far."""

    def __init__(self) -> None:
        self.found: BoolArray | None = None

    def look(self, header: ScanHeader, mean_frame: DoubleArray, frames: int, *, dead: bool = True) -> ScanHeader:
        """The scan with what is found on the mean (Qy, Qx) of some of its frames, beside what was before.

        A few frames of one place may hold dark speckles: ``dead`` pixels are looked for on the whole scan.
        """
        if not header.basis.is_raw:
            return header
        known = bad_pixels(header)
        new = find_bad_pixels(mean_frame, frames, known, dead=dead)
        if new.any():
            places = ", ".join(f"({row}, {col})" for row, col in np.argwhere(new)[:SAID].tolist())
            more = f" and {new.sum() - SAID} more" if new.sum() > SAID else ""
            log.warning("scan %s: pixels unlike all around them are left out: %s%s", header.series, places, more)
        self.found = new if self.found is None else self.found | new
        return self.told(header)

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
