"""Remarks on sizes that contradict each other, and on patterns whose disc is cut into four."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptylive.schema import ScanHeader
from ptylive.schema.model import DoubleArray
from ptylive.schema.units import mrad_to_invA, wavelength_A

SAME_SIZE = 0.02
"""Relative difference of two sizes that are taken for the same."""
CORNERS, MIDDLE, BRIGHT = 0.5, 0.1, 99.0
"""Least ratio of each corner, and largest of the middle, to this percentile of a pattern with a quartered disc."""
CORNER_SHARE, LEAST_SIDE = 16, 8
"""A corner is the side divided by this number; patterns with shorter sides are not judged."""

NEAR, OF_A_RING, BINNED_SIDE = (-0.12, -0.06, 0.0, 0.06, 0.12), 0.9, 128
"""Centres that are tried around the middle and the corner, in parts of the shorter side; largest ratio of what they
leave unexplained for a quartered disc; and side to which a pattern is binned. Of 800 drawn annuli and quartered discs
each, 3 and 2 were taken for the other.
"""


def size_remarks(given: ScanHeader, header: ScanHeader) -> list[str]:
    """Remarks on a pixel or a step that is given twice and differently. ``given``: as stated by sender or file;
    ``header``: with a user's values, which are intended.
    """
    return _pixel_remarks(header) + _view_remarks(given, header)


def _pixel_remarks(header: ScanHeader) -> list[str]:
    """A remark if the size of a detector pixel is given as an angle and as a frequency that contradict each other."""
    angle, frequency, energy = header.detector.pixel_mrad, header.detector.pixel_invA, header.optics.energy_eV
    if angle is None or frequency is None or energy is None:
        return []
    meant = mrad_to_invA(angle, wavelength_A(energy))
    if abs(meant / frequency - 1) < SAME_SIZE:
        return []
    return [
        f"detector_pixel_mrad {angle:.4g} is {meant:.4g} 1/Å at {energy / 1e3:.4g} keV, but detector_pixel_invA is "
        f"{frequency:.4g}, which is used: phases are wrong if it is; give the right one"
    ]


def _view_remarks(given: ScanHeader, header: ScanHeader) -> list[str]:
    """A remark if a sender or file states a field of view that contradicts the step, and no user gave either.

    Some programs count the columns, some the steps between them.
    """
    view, steps, shape = given.scan.field_of_view_A, given.scan.step_A, header.scan.shape
    if view is None or steps is None or shape is None:
        return []
    if (header.scan.field_of_view_A, header.scan.step_A) != (view, steps):
        return []
    meant = view / shape[1]
    if any(abs(view / (count * steps[1]) - 1) < SAME_SIZE for count in (shape[1], shape[1] - 1) if count):
        return []
    return [
        f"field_of_view_A {view:.4g} over {shape[1]} columns is a step of {meant:.4g} Å, but scan_step_A is "
        f"{steps[1]:.4g}, which is used: phases are wrong if it is; give scan_step_A"
    ]


def quartered_remarks(mean_pattern: DoubleArray) -> list[str]:
    """A remark if the corners of the mean pattern are bright and its middle is dark, as numpy's Fourier transforms
    order frequencies, and as it is not for an annulus. ``mean_pattern``: as recorded, (rows, columns).
    """
    counts = np.nan_to_num(mean_pattern)
    if min(counts.shape) < LEAST_SIDE:
        return []
    bright = float(np.percentile(counts, BRIGHT))
    rows, columns = (max(1, side // CORNER_SHARE) for side in counts.shape)
    corners = [counts[top, left].mean() for top in _ends(rows) for left in _ends(columns)]
    row, column = counts.shape[0] // 2, counts.shape[1] // 2
    middle = counts[row - rows : row + rows, column - columns : column + columns].mean()
    if bright <= 0 or min(corners) < CORNERS * bright or middle > MIDDLE * bright:
        return []
    if not _lies_around_the_corner(counts):
        return []
    return [
        "the corners of the mean pattern are bright and its middle is dark: is the zero frequency in the corner, as "
        "numpy.fft orders them? a quarter of the disc is then taken for all of it, and maps and phases are wrong: give "
        "numpy.fft.fftshift(data, (-2, -1))"
    ]


def _lies_around_the_corner(counts: DoubleArray) -> bool:
    """Whether circles around the corner explain a pattern, continued periodically, better than circles around a point
    near its middle explain it as it is.
    """
    bins = max(1, max(counts.shape) // BINNED_SIDE)
    rows, columns = (length // bins for length in counts.shape)
    binned = counts[: rows * bins, : columns * bins].reshape(rows, bins, columns, bins).mean((1, 3))
    shifts = [(y * min(binned.shape), x * min(binned.shape)) for y in NEAR for x in NEAR]
    middle = [(length - 1) / 2 for length in binned.shape]
    corner = min(_off_circles(_periodic(binned.shape, shift), binned) for shift in shifts)
    around = min(_off_circles(_distances(binned.shape, (middle[0] + y, middle[1] + x)), binned) for y, x in shifts)
    return corner < OF_A_RING * around


def _distances(shape: tuple[int, ...], centre: Sequence[float]) -> list[DoubleArray]:
    """Distances of rows and of columns from a point."""
    return [np.abs(np.arange(length) - place) for length, place in zip(shape, centre, strict=True)]


def _periodic(shape: tuple[int, ...], centre: Sequence[float]) -> list[DoubleArray]:
    """The same, to the nearest of the point's periodic repeats."""
    apart = [np.arange(length) - place for length, place in zip(shape, centre, strict=True)]
    return [np.minimum(distance % length, -distance % length) for distance, length in zip(apart, shape, strict=True)]


def _off_circles(distances: list[DoubleArray], counts: DoubleArray) -> float:
    """Sum of squared differences from the mean over the pixels at the same distance, to the nearest pixel."""
    rows, columns = distances
    ring = np.rint(np.hypot(rows[:, None], columns)).astype(int).ravel()
    means = np.bincount(ring, counts.ravel()) / np.maximum(np.bincount(ring), 1)
    return float(np.sum((counts.ravel() - means[ring]) ** 2))


def _ends(length: int) -> tuple[slice, slice]:
    return slice(length), slice(-length, None)
