"""Jumps of the pattern from one line of the scan to the next, measured in both halves of each line.

What a line's two halves have in common is due to the line, or to a specimen that lies along the lines: a film's edge,
layers, rows of atoms. A specimen shows in few lines, or equally in neighbouring ones, or at a period; jumps are those
that most lines make independently (docs/theory/calibration.md, Descan).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import BoolArray, DoubleArray, IndexArray

LEAST_LINES, LEAST_COLUMNS = 24, 8
MOST_LINES = 2048
"""Two numbers per line are sent to all clients and stored as an attribute, which HDF5 limits to 64 kB."""
LEAST_JUMP_PX, LEAST_SHARE = 0.15, 0.01
"""Smallest root-mean-square jump that counts, in pixels and as a share of the disc's radius: less disturbs no map, and
rows of atoms along the lines look like jumps of 0.1 px (10 nm of SrTiO3)."""
BELIEVED = 4.0
"""Standard errors by which the agreement of the halves must be significant."""
USUAL_SHARE = 0.25
"""Least median of squared steps over their mean: it is 0.35 for normally distributed steps."""
WHITE = 1.15
"""Largest distance of the cumulative spectrum of white noise from a straight line (Bartlett's test), times the root of
the number of frequencies, in 99 of 100 draws of 24 to 1000 lines, of both axes together."""


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
    least = max(LEAST_JUMP_PX, LEAST_SHARE * disc_radius_px)
    if shared < least**2 or shared < unshared or certainty < BELIEVED:
        return None
    offset = np.where(visited[:, None], place - terms @ slow, 0.0)
    if float(np.median(product)) < USUAL_SHARE * 2 * shared or not _white(offset[visited]):
        return None
    return LineJumps(offset, slow, math.sqrt(unshared))


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
