"""The descan of a scan, measured on the centre of mass of its patterns.

A specimen deflects the beam from one atom to the next, whereas descan moves the pattern slowly over the whole field.
The mean centre of mass of each block of the scan is fitted robustly with a plane and with a parabola. Which of them is
used, if any, is decided on parts of the field that the fit did not see (docs/theory/calibration.md, Descan). Jumps
between lines, steps in mid-scan and the two directions of a snake scan are removed first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ptylive.engine.backend.imaging.wandering_mean import WanderingMean
from ptylive.engine.calibrate.descan.block_fits import (
    Blocks,
    better_measurement,
    blocks_of,
    changes_slowly,
    fitted,
    hides_wander,
    placed,
    slopes,
)
from ptylive.engine.calibrate.descan.line_jumps import LineJumps, halves_of, may_jump
from ptylive.engine.calibrate.descan.line_steps import StepLimits, line_displacements
from ptylive.engine.calibrate.disc import Disc, DiscEdge, edge_of
from ptylive.engine.descan import moved
from ptylive.engine.imaging.accumulation.reduced_numbers import REGIONS
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.schema import Origin, Quantity
from ptylive.schema.detector import Descan, scan_places
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray

MOST_EXPLAINED = 0.5
"""Share of a wander predictable from fractions of a pixel above which the two cannot be separated: the rest of a wander
within a pixel would be mistaken for a bias of interpolation."""
BIAS_NODES = 9
"""Number of places along each axis, from half a pixel to half a pixel, at which the interpolation bias is measured."""


def find_descan(store: Store, disc_radius_px: float) -> Quantity | None:
    """Return the smooth descan as ``descan_px``, or None. If patterns were moved back already, that descan is returned.

    Uncertainty in pixels: standard error of the fitted place of a pattern, root mean square over the field.
    """
    if store.descan is not None:  # given, or measured more precisely on the edge of the disc
        return Quantity(store.descan.numbers, Origin.ESTIMATED, store.descan.uncertainty_px)
    found = first_look(store, disc_radius_px, lines=False)
    return None if found is None else Quantity(found.numbers, Origin.ESTIMATED, found.uncertainty_px)


def first_look(store: Store, disc_radius_px: float, *, lines: bool) -> Descan | None:
    """Return the descan as shown by the centre of mass, with jumps between lines if requested; None if there is none.

    A specimen may cause jumps as well, so they must be measured on the edge of the disc before they are believed.
    """
    jumps = _jumps(store, disc_radius_px) if lines else None
    blocks = _blocks(store, jumps)
    return None if blocks is None else _joined(fitted(blocks, disc_radius_px), jumps)


def remaining(store: Store, disc_radius_px: float) -> Descan | None:
    """Return the smooth descan remaining after patterns were moved back; None if it cannot be determined."""
    blocks = _blocks(store, None)
    if blocks is None:
        return None
    found = fitted(blocks, disc_radius_px)
    return Descan.of([0]) if found is None else replace(found[0], uncertainty_px=found[1])


def may_be_hidden(store: Store, disc_radius_px: float) -> bool:
    """Return whether a wander may hide in the specimen's effect on the centre of mass while the disc's edge shows it.

    Lattices of thick crystals move the centre of mass by more than a wander does, even on average over a small field,
    and the edge much less. But a specimen as thick as a lens deflects the whole probe like a wander: its dark field
    shows that.
    """
    blocks = _blocks(store, None)
    if blocks is None or not hides_wander(blocks, disc_radius_px):
        return False
    visited = _visited(store)
    block, count = blocks_of(visited, store.shape)
    dark = np.bincount(block, store.regions[visited, REGIONS.index("dark")], count)
    share = dark / np.maximum(np.bincount(block, store.moments[visited, 0], count), 1e-12)
    thickness = placed(np.stack([share, share], axis=1), visited, store.shape)
    return thickness is not None and not changes_slowly(thickness)


def _jumps(store: Store, disc_radius_px: float) -> LineJumps | None:
    """Return the jumps between lines shown by the centre of mass."""
    if not may_jump(store.shape):
        return None
    visited = _visited(store)
    half, count = halves_of(visited, store.shape), 2 * store.shape[0]
    weight = np.maximum(np.bincount(half, store.moments[visited, 0], count), 1e-12)
    place = np.stack([np.bincount(half, store.moments[visited, k], count) / weight for k in (1, 2)], axis=1)
    points, limits = np.bincount(half, minlength=count), StepLimits.of(store.header, disc_radius_px)
    return line_displacements(place, points, store.shape, disc_radius_px, limits)


def _visited(store: Store) -> IndexArray:
    """Return the scan points, flat, that have frames with counts."""
    return np.flatnonzero((store.frames > 0) & (store.moments[:, 0] > 0))


def _joined(smooth: tuple[Descan, float] | None, jumps: LineJumps | None) -> Descan | None:
    """Join both, with the smooth course of the lines' places counted as descan; None if there is neither."""
    if jumps is None:
        return None if smooth is None else replace(smooth[0], uncertainty_px=smooth[1])
    coefficients = np.zeros((2, 5))
    coefficients[:, [0, 3]] = np.round(jumps.slow[1:].T, 4)  # of u and of u^2
    offsets = np.round(jumps.offset_px, 4)
    descan, uncertainty = Descan.of([*coefficients.ravel().tolist(), *offsets.ravel().tolist()]), jumps.uncertainty_px
    if smooth is not None:
        descan, uncertainty = descan.plus(smooth[0]), math.hypot(uncertainty, smooth[1])
    return replace(descan, uncertainty_px=uncertainty)


def _blocks(store: Store, jumps: LineJumps | None) -> Blocks | None:
    """Return blocks more than half visited, corrected for jumps between lines; None if they are too few."""
    visited = _visited(store)
    block, count = blocks_of(visited, store.shape)
    weight = store.moments[visited, 0]
    total = np.maximum(np.bincount(block, weight, count), 1e-12)[:, None]
    offset = np.zeros((len(visited), 2)) if jumps is None else jumps.place_px[visited // store.shape[1]]
    moments = store.moments[visited, 1:] - weight[:, None] * offset
    sums = np.stack([np.bincount(block, moments[:, k], count) for k in (0, 1)], axis=1)
    return placed(sums / total, visited, store.shape)


@dataclass(frozen=True)
class LineEdges:
    """Mean counts (2 rows, n) around a disc's edge in the halves of lines, and numbers of points (2 rows,)."""

    counts: DoubleArray
    points: IndexArray
    disc: Disc
    limits: StepLimits


@dataclass(frozen=True)
class PointSums:
    """Sums for each scan point, of patterns moved back: counts, and counts times rows and columns from the detector's
    middle (points, 3); dark-field counts (points,). noise_px2: variance of a point's centre of mass due to counting,
    sum of both axes.
    """

    moments: DoubleArray
    dark: DoubleArray
    noise_px2: float


@dataclass(frozen=True)
class MeansAtRest:
    """Mean patterns (blocks, Qy, Qx) of blocks of the scan, and the scan points (n,) in them; all were moved back.

    lines: edge of a disc in the halves of lines, if the patterns of lines had to be moved back; wandering: the part
    common to all patterns, which was not moved; sums: of each scan point.
    """

    patterns: DoubleArray
    seen: IndexArray
    lines: LineEdges | None = None
    wandering: WanderingMean | None = None
    sums: PointSums | None = None

    @property
    def mean(self) -> DoubleArray:
        """Mean (Qy, Qx) over blocks, weighted equally."""
        return np.asarray(self.patterns.mean(axis=0))


def sharpened(descan: Descan, means: MeansAtRest, scan_shape: tuple[int, int], disc: Disc) -> Descan:
    """Measure a descan once more, on the edge of the disc of patterns that were moved back by it.

    The common part of the patterns shows how interpolation affects the edge. A specimen changes the brightness inside
    the disc, and with it the centre of mass; the edge stays where the beam puts it, unless the whole probe is
    deflected. If the dark field accounts for that deflection, the centre of mass corrected for it may be better.
    Returns a zero descan if none is left, and no line offsets unless the edge shows them, too.
    """
    mean, seen, wandering, lines = means.mean, means.seen, means.wandering, means.lines
    displacement = descan.at_points(seen, scan_shape)
    remainder, field = displacement - np.rint(displacement), np.stack(scan_places(seen, scan_shape), axis=1)
    separable = (
        wandering is not None
        and (wandering.explained_share(remainder, np.hstack([displacement, field])) < MOST_EXPLAINED).all()
    )

    def places(counts: DoubleArray, reference: Disc, group: IndexArray, number: int) -> DoubleArray:
        edge, ring = DiscEdge.of(mean, reference), edge_of(reference, mean.shape)
        shifted = edge.shifts(counts)
        if wandering is None or not separable:
            return shifted
        return shifted - _means(interpolation_bias(wandering, edge, ring, remainder), group, number)

    block, count = blocks_of(seen, scan_shape)
    shifts = places(means.patterns[:, edge_of(disc, mean.shape)], disc, block, count)
    removed = np.zeros((len(seen), 2))
    jumps = None
    if lines is not None:
        half, halves = halves_of(seen, scan_shape), 2 * scan_shape[0]
        missing = places(lines.counts, lines.disc, half, halves)
        place = _means(displacement, half, halves) + missing
        jumps = line_displacements(place, lines.points, scan_shape, disc.radius_px, lines.limits, missing)
        removed = displacement - descan.smooth.at_points(seen, scan_shape)
        if jumps is not None:
            removed = removed - jumps.place_px[seen // scan_shape[1]]
    removed_by_block = _means(removed, block, count)
    blocks = placed(shifts + removed_by_block, seen, scan_shape)
    if blocks is None:
        return descan.smooth
    mass = None if means.sums is None else _by_mass(means.sums, removed_by_block, seen, scan_shape)
    if mass is not None:
        blocks = better_measurement(blocks, mass)
    smooth = fitted(replace(blocks, place=blocks.place + descan.at(blocks.u, blocks.v)), disc.radius_px)
    return _joined(smooth, jumps) or Descan.of([0])


def _by_mass(sums: PointSums, removed: DoubleArray, visited: IndexArray, scan_shape: tuple[int, int]) -> Blocks | None:
    """Return mean centres of mass of blocks, ``removed`` (blocks, 2) added, with their dark-field gradient."""
    block, count = blocks_of(visited, scan_shape)
    weight = np.maximum(sums.moments[:, 0], 1e-12)
    mass = placed(
        _means(sums.moments[visited, 1:] / weight[visited, None], block, count) + removed, visited, scan_shape
    )
    dark_blocks = placed(_means(slopes(sums.dark / weight, visited, scan_shape), block, count), visited, scan_shape)
    if mass is None or dark_blocks is None:
        return None
    return replace(mass, gradient=dark_blocks.place, noise_px2=sums.noise_px2 * len(mass.u) / len(visited))


def _means(value: DoubleArray, group: IndexArray, count: int) -> DoubleArray:
    """Return the mean (count, 2) of values (n, 2) of each group (n,), 0 for empty groups."""
    members = np.maximum(np.bincount(group, minlength=count), 1)
    return np.stack([np.bincount(group, axis, count) / members for axis in value.T], axis=1)


def interpolation_bias(mean: WanderingMean, edge: DiscEdge, ring: BoolArray, rest_px: DoubleArray) -> DoubleArray:
    """Return the apparent displacement (n, 2), pixels, of the edge caused by moving it ``rest_px`` (n, 2) pixels.

    Detail finer than two pixels is moved the wrong way, so that a pattern seems to lie nearer to whole pixels, or
    further from them. The mean pattern is known between pixels without being moved (``wandering_mean``); moving it
    shows by how much. ring (Qy, Qx): the pixels that ``edge`` reads.
    """
    axis = np.linspace(-0.5, 0.5, BIAS_NODES)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    moved_back = moved(mean.at(nodes), nodes, round_the_edge=True)
    bias = edge.shifts(moved_back[:, ring]) - edge.shifts(mean.still[None, ring])
    position = (rest_px + 0.5).T * (BIAS_NODES - 1)
    values = [
        ndimage.map_coordinates(component.reshape(BIAS_NODES, -1), position, mode="nearest") for component in bias.T
    ]
    return np.stack(values, axis=1)
