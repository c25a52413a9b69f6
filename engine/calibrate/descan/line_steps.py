"""Lines of a scan whose pattern is displaced from some line on, or on every return line of a snake scan.

Somebody may move the projector in mid-scan, or a coil may charge; and the descan coils may lag behind a beam that scans
in both directions. Neither is an independent jump of most lines (:mod:`line_jumps`). A specimen makes steps, too, at
the edge of a film, so steps found in the centre of mass must also be seen on the edge of the disc (:mod:`measurement`).
Even that is moved by magnetic domains and wedges, whose fields act on the whole probe, but by less than LEAST_MRAD.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.engine.calibrate.descan.line_jumps import (
    LineJumps,
    least_jump_px,
    line_drift,
    line_jumps,
    lines_seen,
    slow_course,
)
from ptylive.schema import ScanHeader
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray

LEAST_LINES = 24
"""Number of lines below which neither steps nor the two directions of a snake are looked for."""
AROUND = 6
"""Number of lines on each side of a step on which it is measured, together with a slope."""
LEAST_STEP_PX, LEAST_STEP_SHARE = 0.3, 0.03
"""Smallest step in pixels, and as a share of the disc's radius, that counts: strong specimens show smaller ones."""
LEAST_MRAD = 0.2
"""Smaller steps may be due to the specimen: domains deflect by some 0.01 mrad, a 45° wedge by 0.1 mrad at 200 kV."""
BELIEVED, APART = 6.0, 0.3
"""Required standard errors of a step, given some hundred possible places; largest relative difference of half-lines."""
STANDS_OUT = 4.0
"""Required ratio to the usual change between lines elsewhere, so that layers and rows of atoms are not steps."""
MOST_STEPS, LEFT = 3, 0.5
"""Largest number of steps, and the share of the smallest step that nothing else may reach."""
_LINES = np.arange(2 * AROUND) - AROUND + 0.5
DESIGN = np.stack([np.ones(2 * AROUND), _LINES, _LINES > 0], axis=1)
"""Design matrix of a mean, a slope and a step in the middle of 2 AROUND lines."""
SOLVED = np.linalg.pinv(DESIGN)


_Step = tuple[int, DoubleArray, float]
"""First displaced line, its displacement (2,) and the standard error, pixels."""


@dataclass(frozen=True)
class StepLimits:
    """Limits for the steps looked for in a scan."""

    both_ways: bool = False
    """Whether the beam scans in both directions."""
    least_px: float = LEAST_STEP_PX
    """Smallest step that displaces the pattern from some line on."""
    deflected_px: float = math.inf
    """Displacement that may be due to the specimen."""

    @classmethod
    def of(cls, header: ScanHeader, disc_radius_px: float) -> StepLimits:
        """Return the limits for a scan; without a semi-angle neither steps nor a drift are found."""
        semiangle_mrad = header.optics.convergence_semiangle_mrad
        deflected_px = LEAST_MRAD / semiangle_mrad * disc_radius_px if semiangle_mrad else math.inf
        least_px = max(LEAST_STEP_PX, LEAST_STEP_SHARE * disc_radius_px, deflected_px)
        return cls(header.scan.pattern == "snake", least_px, deflected_px)


def line_displacements(
    place_px: DoubleArray,
    points: IndexArray,
    scan_shape: tuple[int, int],
    disc_radius_px: float,
    limits: StepLimits,
    missing_px: DoubleArray | None = None,
) -> LineJumps | None:
    """Return all displacements of lines: steps, snake offsets and jumps, and a slow drift of what they leave.

    place_px (2 rows, 2), points (2 rows,): see :func:`line_jumps`; missing_px (2 rows, 2): see :func:`line_drift`.
    """
    offsets = line_offsets(place_px, points, scan_shape, disc_radius_px, limits)
    removed = 0.0 if offsets is None else np.repeat(offsets.offset_px, 2, axis=0)
    least_px = max(limits.deflected_px, least_jump_px(disc_radius_px))
    drift = line_drift(place_px - removed, points, scan_shape, least_px, missing_px)
    return offsets if drift is None else drift.after(offsets)


def line_offsets(
    place_px: DoubleArray,
    points: IndexArray,
    scan_shape: tuple[int, int],
    disc_radius_px: float,
    limits: StepLimits,
) -> LineJumps | None:
    """Return steps, snake offsets and jumps of single lines combined; see :func:`line_jumps`."""
    visited = lines_seen(points, scan_shape)
    if visited.sum() < LEAST_LINES:
        return line_jumps(place_px, points, scan_shape, disc_radius_px)
    halves = _Halves(place_px[::2], place_px[1::2], visited)
    steps = _step_offsets(halves, limits, max(LEAST_STEP_PX, LEAST_STEP_SHARE * disc_radius_px))
    if steps is None:
        return line_jumps(place_px, points, scan_shape, disc_radius_px)
    offset, uncertainty_px = steps
    found = LineJumps(offset, slow_course(halves.without(offset).place, visited), uncertainty_px)
    jumps = line_jumps(place_px - np.repeat(offset, 2, axis=0), points, scan_shape, disc_radius_px)
    return found if jumps is None else jumps.after(found)


@dataclass(frozen=True)
class _Halves:
    """Places (rows, 2) of the pattern in the left and the right halves of lines, and which lines were seen."""

    left: DoubleArray
    right: DoubleArray
    visited: BoolArray

    @property
    def place(self) -> DoubleArray:
        return (self.left + self.right) / 2

    def without(self, offset: DoubleArray) -> _Halves:
        return _Halves(self.left - offset, self.right - offset, self.visited)


def _step_offsets(halves: _Halves, limits: StepLimits, least_way_px: float) -> tuple[DoubleArray, float] | None:
    """Return offsets (rows, 2) of lines about their mean, and their standard error; None if there are none."""
    rows = len(halves.visited)
    offset, uncertainties_px = np.zeros((rows, 2)), list[float]()
    if limits.both_ways and (way := _way_back(halves, least_way_px)) is not None:
        offset[1::2] += way[0]
        uncertainties_px.append(way[1])
    steps = _steps(halves.without(offset), limits.least_px)
    for line, height, uncertainty_px in steps:
        offset[line:] += height
        uncertainties_px.append(uncertainty_px)
    if not uncertainties_px:
        return None
    return offset - offset[halves.visited].mean(axis=0), math.hypot(*uncertainties_px)


def _way_back(halves: _Halves, least_px: float) -> tuple[DoubleArray, float] | None:
    """Return the displacement (2,) of odd lines relative to their neighbours, and its standard error."""
    has_neighbours = halves.visited[1:-1] & halves.visited[:-2] & halves.visited[2:]
    sign = np.where(np.arange(1, len(has_neighbours) + 1) % 2, 1.0, -1.0)[has_neighbours, None]

    def deviation(place: DoubleArray) -> DoubleArray:
        return sign * (place[1:-1] - (place[:-2] + place[2:]) / 2)[has_neighbours]

    deviations = deviation(halves.place)
    error = math.sqrt(
        float(deviations.var(axis=0).sum()) / (len(deviations) / 3)
    )  # three lines in each, shared with neighbours
    way, left, right = (deviation(values).mean(axis=0) for values in (halves.place, halves.left, halves.right))
    return (way, error) if _is_significant(way, left, right, error, least_px) else None


def _steps(halves: _Halves, least_px: float) -> list[_Step]:
    """Return steps, the largest first; none if similar or too many steps remain, as for layers of a specimen."""
    found = list[_Step]()
    while len(found) < MOST_STEPS and (step := _step(halves, least_px)) is not None:
        found.append(step)
        halves = halves.without(np.outer(np.arange(len(halves.visited)) >= step[0], step[1]))
    if not found:
        return []
    remaining = np.linalg.norm(_heights(halves.place[halves.visited]), axis=1).max()
    return found if remaining < LEFT * min(np.linalg.norm(height) for _, height, _ in found) else []


def _step(halves: _Halves, least_px: float) -> _Step | None:
    """Return the largest step, or None if no step is believed."""
    lines = np.flatnonzero(halves.visited)
    place, left, right = (values[lines] for values in (halves.place, halves.left, halves.right))
    height = _heights(place)
    size = np.linalg.norm(height, axis=1)
    best = int(size.argmax())
    distant = np.abs(np.arange(len(size)) - best) >= AROUND
    if not distant.any():
        return None
    window = slice(best, best + 2 * AROUND)
    remainder = place[window] - DESIGN @ (SOLVED @ place[window])
    scatter = float((remainder**2).sum()) / (2 * AROUND - 3)
    error = math.sqrt(scatter * float(SOLVED[2] @ SOLVED[2]))
    on_left, on_right = SOLVED[2] @ left[window], SOLVED[2] @ right[window]
    if size[best] < STANDS_OUT * float(np.median(size[distant])):
        return None
    if not _is_significant(height[best], on_left, on_right, error, least_px):
        return None
    return int(lines[best + AROUND]), np.asarray(height[best]), error


def _heights(place: DoubleArray) -> DoubleArray:
    """Return steps (n - 2 AROUND + 1, 2) in the middle of every window of lines, from places (n, 2)."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(place, 2 * AROUND, axis=0) @ SOLVED[2])


def _is_significant(
    offset: DoubleArray, left: DoubleArray, right: DoubleArray, error_px: float, least_px: float
) -> bool:
    """Return whether an offset is large and significant, and both halves of lines have it."""
    size = float(np.linalg.norm(offset))
    return size > max(least_px, BELIEVED * error_px) and float(np.linalg.norm(left - right)) < APART * size
