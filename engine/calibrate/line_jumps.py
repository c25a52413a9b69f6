"""Jumps of the pattern from one line of the scan to the next, measured in both halves of each line.

What a line's two halves have in common is the line; what they don't is specimen and noise. Only changes from one line
to the next decide, and no parabola over the lines, so that what varies slowly has no say (docs/theory/calibration.md,
Descan).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import BoolArray, DoubleArray, IndexArray

LEAST_LINES, LEAST_COLUMNS = 12, 8
MOST_LINES = 2048
"""Two numbers each are told to everybody and stored as an attribute, of which HDF5 holds 64 kB."""
LEAST_JUMP_PX, LEAST_SHARE = 0.15, 0.01
"""Jumps of less, root mean square, or than this share of the disc's radius, disturb no map; rows of atoms along the
lines look like jumps of 0.1 px (10 nm of SrTiO3)."""
BELIEVED = 4.0
"""Standard errors by which the halves must agree: asked many times while a scan runs."""


@dataclass(frozen=True)
class LineJumps:
    """Offset (rows, 2), pixels, of each line, 0 where it was not measured, and its standard error."""

    offset_px: DoubleArray
    uncertainty_px: float


def halves_of(point: IndexArray, scan_shape: tuple[int, int]) -> IndexArray:
    """Which half (n,) of which line scan points (n,), flat, lie in: twice the line, plus one on its right side."""
    row, col = np.divmod(np.asarray(point), scan_shape[1])
    return np.asarray(2 * row + (2 * col >= scan_shape[1]))


def may_jump(scan_shape: tuple[int, int]) -> bool:
    """Whether a scan has lines enough, of points enough, to tell."""
    return LEAST_LINES <= scan_shape[0] <= MOST_LINES and scan_shape[1] >= LEAST_COLUMNS


def line_jumps(
    place_px: DoubleArray, points: IndexArray, scan_shape: tuple[int, int], disc_radius_px: float
) -> LineJumps | None:
    """Offsets of lines by the places (2 rows, 2) of the pattern in their halves; None where no jumps are seen.

    points (2 rows,): scan points that each half's place was measured on; halves of which less was visited than not
    do not count.
    """
    left, right = place_px[::2], place_px[1::2]
    every = np.array([(scan_shape[1] + 1) // 2, scan_shape[1] // 2])
    seen = np.asarray((2 * points.reshape(-1, 2) > every).all(axis=1))
    both = seen[1:] & seen[:-1]
    if both.sum() < LEAST_LINES - 1:
        return None
    slow = _slow((left + right) / 2, seen)
    step = [np.diff(half - slow, axis=0)[both] for half in (left, right)]
    shared = float((step[0] * step[1]).sum(axis=1).mean()) / 2
    # of noise s along each axis, a half errs by 2 s^2 in all, the difference of two steps by 8 s^2, a line by s^2
    apart = float(((step[0] - step[1]) ** 2).sum(axis=1).mean()) / 8
    alike = shared / max(shared + 2 * apart, 1e-12)  # correlation of the halves' steps; two neighbours share a line
    certainty = math.atanh(min(alike, 1 - 1e-9)) / math.sqrt(0.75 / len(step[0]))
    least = max(LEAST_JUMP_PX, LEAST_SHARE * disc_radius_px)
    if shared < least**2 or shared < apart or certainty < BELIEVED:
        return None
    place = np.where(seen[:, None], (left + right) / 2, 0.0)
    return LineJumps(np.where(seen[:, None], place - place[seen].mean(axis=0), 0.0), math.sqrt(apart))


def _slow(place: DoubleArray, seen: BoolArray) -> DoubleArray:
    """Parabola (rows, 2) over the lines through places (rows, 2) of those that were seen."""
    u = np.linspace(-1.0, 1.0, len(place))
    terms = np.stack([np.ones_like(u), u, u * u], axis=1)
    return np.asarray(terms @ np.linalg.lstsq(terms[seen], place[seen], rcond=None)[0])
