"""Jumps of the pattern from one line of the scan to the next, measured in both halves of each line.

What a line's two halves have in common is due to the line, or to a specimen that lies along the lines: a film's edge,
layers, rows of atoms. A specimen shows in few lines, or equally in neighbouring ones, or at a period; jumps are those
that most lines make independently (docs/theory/calibration.md, Descan).

A coil that warms up or charges moves the pattern slowly instead, along a course that is no parabola. Its deviation from
one must exceed that of any specimen on the edge of the disc (:mod:`line_steps`); it is smoothed as a random walk, as
much as lets either half of the lines predict the other best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from ptylive.schema.model import BoolArray, DoubleArray, IndexArray

LEAST_LINES, LEAST_COLUMNS = 16, 8
"""Fewest lines, whose halves are correlated, and fewest points of a line: four in each half."""
MOST_LINES = 2048
"""Two numbers per line are sent to all clients and stored as an attribute, which HDF5 limits to 64 kB."""
LEAST_JUMP_PX, LEAST_JUMP_SHARE = 0.15, 0.01
"""Smallest root-mean-square jump that counts, in pixels and as a share of the disc's radius: less disturbs no map, and
rows of atoms along the lines look like jumps of 0.1 px (10 nm of SrTiO3)."""
BELIEVED = 4.0
"""Standard errors by which the agreement of the halves must be significant."""
USUAL_SHARE = 0.25
"""Least median of squared steps over their mean: it is 0.35 for normally distributed steps."""
WHITE = 1.15
"""Largest distance of the cumulative spectrum of white noise from a straight line (Bartlett's test), times the root of
the number of frequencies, in 98 of 100 draws of 16 to 1000 lines, of both axes together."""
MOST_MISSING = 0.5
"""Largest ratio of what the centre of mass lacked of a slow drift to the drift."""
SMOOTHINGS = np.geomspace(0.01, 1000.0, 26)
"""Variance of a line's measured place over that of the step to the next line in a slow drift, as tried."""


@dataclass(frozen=True)
class LineJumps:
    """Offset (rows, 2), pixels, of each line from a smooth course, 0 if it was not measured.

    slow: the course (3, 2), terms 1, u, u^2; uncertainty_px: standard error of a line's place.
    """

    offset_px: DoubleArray
    slow: DoubleArray
    uncertainty_px: float

    @property
    def place_px(self) -> DoubleArray:
        """Course plus offsets of all lines (rows, 2), without their mean."""
        return np.asarray(self.offset_px + _course(len(self.offset_px))[:, 1:] @ self.slow[1:])

    def after(self, first: LineJumps | None) -> LineJumps:
        """Return both together, where these were found once the offsets of ``first`` had been removed."""
        if first is None:
            return self
        uncertainty_px = math.hypot(self.uncertainty_px, first.uncertainty_px)
        return LineJumps(self.offset_px + first.offset_px, self.slow, uncertainty_px)


def halves_of(point: IndexArray, scan_shape: tuple[int, int]) -> IndexArray:
    """Return the half-line (n,) of scan points (n,), flat: twice the line, plus one on its right side."""
    row, col = np.divmod(np.asarray(point), scan_shape[1])
    return np.asarray(2 * row + (2 * col >= scan_shape[1]))


def may_jump(scan_shape: tuple[int, int]) -> bool:
    """Return whether a scan has enough lines, with enough points, to detect jumps."""
    return LEAST_LINES <= scan_shape[0] <= MOST_LINES and scan_shape[1] >= LEAST_COLUMNS


def line_jumps(
    place_px: DoubleArray, points: IndexArray, scan_shape: tuple[int, int], disc_radius_px: float
) -> LineJumps | None:
    """Find offsets of lines from the places (2 rows, 2) of the pattern in their halves; None if no jumps are seen.

    points (2 rows,): number of scan points in each half's measurement; halves visited by half or less are ignored.
    """
    left, right = place_px[::2], place_px[1::2]
    visited = lines_seen(points, scan_shape)
    adjacent = visited[1:] & visited[:-1]
    if adjacent.sum() < LEAST_LINES - 1:
        return None
    place = (left + right) / 2
    terms = _course(len(place))
    slow = slow_course(place, visited)
    step = [np.diff(half - terms @ slow, axis=0)[adjacent] for half in (left, right)]
    product = (step[0] * step[1]).sum(axis=1)
    shared = float(product.mean()) / 2
    # for noise s along each axis, a half errs by 2 s^2 in total, the difference of two steps by 8 s^2, a line by s^2
    unshared = float(((step[0] - step[1]) ** 2).sum(axis=1).mean()) / 8
    correlation = shared / max(
        shared + 2 * unshared, 1e-12
    )  # correlation of the halves' steps; two neighbours share a line
    certainty = math.atanh(min(correlation, 1 - 1e-9)) / math.sqrt(0.75 / len(step[0]))
    if shared < least_jump_px(disc_radius_px) ** 2 or shared < unshared or certainty < BELIEVED:
        return None
    offset = np.where(visited[:, None], place - terms @ slow, 0.0)
    if float(np.median(product)) < USUAL_SHARE * 2 * shared or not _white(offset[visited]):
        return None
    return LineJumps(offset, slow, math.sqrt(unshared))


def line_drift(
    place_px: DoubleArray,
    points: IndexArray,
    scan_shape: tuple[int, int],
    least_px: float,
    missing_px: DoubleArray | None = None,
) -> LineJumps | None:
    """Find a slow drift in the places (2 rows, 2) of the pattern in the halves of lines; None if there is none.

    points (2 rows,): number of scan points in each half's measurement; least_px: the smallest deviation from a parabola
    that counts, root mean square; missing_px (2 rows, 2): what an earlier measurement of the places lacked. Most of a
    drift is seen at first, whereas a lattice moves the centre of mass far more than the edge of the disc.
    """
    visited = lines_seen(points, scan_shape)
    if visited.sum() < LEAST_LINES:
        return None
    slow = slow_course((place_px[::2] + place_px[1::2]) / 2, visited)
    shared, unshared = _power(place_px, visited)
    missing = 0.0 if missing_px is None else _power(missing_px, visited)[0]
    if shared < max(least_px**2, missing / MOST_MISSING**2):
        return None
    free = 2 * (int(visited.sum()) - slow.shape[0])  # along both axes, less those of the parabola
    if math.atanh(min(shared / (shared + 2 * unshared), 1 - 1e-9)) * math.sqrt(free) < BELIEVED:
        return None
    left, right = _deviations(place_px, visited)
    errors = [_prediction_error(left, right, visited, smoothing) for smoothing in SMOOTHINGS]
    offset = _smoothed((left + right) / 2, visited, SMOOTHINGS[int(np.argmin(errors))])
    return LineJumps(offset, slow, math.sqrt(max(min(errors) / 2 - unshared, 0.0)))


def least_jump_px(disc_radius_px: float) -> float:
    """Return the smallest root-mean-square displacement of lines that counts."""
    return max(LEAST_JUMP_PX, LEAST_JUMP_SHARE * disc_radius_px)


def _deviations(place_px: DoubleArray, visited: BoolArray) -> tuple[DoubleArray, DoubleArray]:
    """Return the deviations (rows, 2) of left and right halves (2 rows, 2) from the parabola of both."""
    course = _course(len(visited)) @ slow_course((place_px[::2] + place_px[1::2]) / 2, visited)
    return place_px[::2] - course, place_px[1::2] - course


def _power(place_px: DoubleArray, visited: BoolArray) -> tuple[float, float]:
    """Return the mean square, sum of both axes, of the deviation that halves (2 rows, 2) share, and a line's error."""
    left, right = (half[visited] for half in _deviations(place_px, visited))
    return float((left * right).sum(axis=1).mean()), float(((left - right) ** 2).sum(axis=1).mean()) / 4


def _smoothed(place: DoubleArray, visited: BoolArray, smoothing: float) -> DoubleArray:
    """Return the likeliest random walk (rows, 2) through places (rows, 2); lines that were not visited are bridged."""
    bands = np.zeros((2, len(place)))
    bands[0, 1:] = -smoothing
    bands[1] = visited + 2 * smoothing
    bands[1, [0, -1]] -= smoothing
    return np.asarray(linalg.solveh_banded(bands, np.where(visited[:, None], place, 0.0)))


def _prediction_error(left: DoubleArray, right: DoubleArray, visited: BoolArray, smoothing: float) -> float:
    """Return the mean squared error, px², at which either half, smoothed, predicts the other."""
    errors = [
        ((_smoothed(one, visited, smoothing) - other)[visited] ** 2).sum(axis=1).mean()
        for one, other in ((left, right), (right, left))
    ]
    return float(np.mean(errors))


def lines_seen(points: IndexArray, scan_shape: tuple[int, int]) -> BoolArray:
    """Return the lines (rows,) of which more than half was visited on either side; points (2 rows,): in the halves."""
    points_per_half = np.array([(scan_shape[1] + 1) // 2, scan_shape[1] // 2])
    return np.asarray((2 * points.reshape(-1, 2) > points_per_half).all(axis=1))


def slow_course(place_px: DoubleArray, visited: BoolArray) -> DoubleArray:
    """Return the parabola (3, 2) through the places (rows, 2) of lines that were seen (rows,)."""
    return np.asarray(np.linalg.lstsq(_course(len(place_px))[visited], place_px[visited], rcond=None)[0])


def _course(rows: int) -> DoubleArray:
    """Return the terms (rows, 3) of a smooth course over the lines."""
    u = np.linspace(-1.0, 1.0, rows)
    return np.stack([np.ones(rows), u, u * u], axis=1)


def _white(offset: DoubleArray) -> bool:
    """Return whether offsets (n, 2) have equal power at all periods: a specimen has long periods, or a few."""
    power = (np.abs(np.fft.rfft(offset, axis=0)[1:]) ** 2).sum(axis=1)
    share = np.cumsum(power) / max(float(power.sum()), 1e-30)
    uniform = np.arange(1, len(power) + 1) / len(power)
    return float(np.abs(share - uniform).max()) * math.sqrt(len(power)) < WHITE
