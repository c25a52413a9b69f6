"""The descan of a scan, measured on the centre of mass of its patterns.

A specimen deflects the beam from one atom to the next, descan moves the pattern slowly over the whole field. The mean
centre of mass of each block of the scan is fitted with a plane and with a parabola, robustly; which of them, if any,
is taken is decided on parts of the field that the fit did not see (docs/theory/calibration.md, Descan). Jumps between
lines, steps in mid-scan and the two ways of a snake are taken out before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ptylive.engine.backend.imaging.wandering_mean import WanderingMean
from ptylive.engine.calibrate.disc import Disc, DiscEdge, edge_of
from ptylive.engine.calibrate.line_jumps import LineJumps, halves_of, may_jump
from ptylive.engine.calibrate.line_steps import StepLimits, line_offsets
from ptylive.engine.descan import moved
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.schema import Origin, Quantity
from ptylive.schema.detector import Descan, descan_terms, scan_places
from ptylive.schema.model import Array, BoolArray, DoubleArray, IndexArray

BLOCKS_ALONG = 12
"""Blocks of the scan along its longer side; each is at least LEAST_SIDE points wide."""
LEAST_SIDE = 4
LEAST_BLOCKS = 12
LEAST_LEFT = 9
"""Blocks beside those of a tile, to fit six numbers to along each axis of the detector."""
TILES_ALONG = 4
"""Tiles along each side of the field; a fit is judged on each tile in turn, fitted to the others."""
MODELS: tuple[IndexArray, ...] = (np.array([0, 1]), np.arange(5))
"""Terms of a plane, and of a parabola."""
BELIEVED = 2.0
"""Standard errors by which a fit must do better on the parts it did not see."""
LEAST_EXTENT_PX, LEAST_SHARE = 0.25, 0.02
"""Less over the whole field, or less than this share of the disc's radius, disturbs no map, and slow fields of a
specimen may look like it."""
MOST_TOLD = 0.5
"""Share of a wander that fractions of a pixel tell, beyond which they are not told from it: what is missing of a wander
within a pixel would be taken for a bias of interpolation."""
BIAS_NODES = 9
"""Places along each axis, from half a pixel to half a pixel, at which the bias of interpolation is measured."""
HUBER = 1.5
ROUNDS = 8


@dataclass(frozen=True)
class _Blocks:
    """Mean centre of mass (n, 2), pixels, of blocks of the scan at places u, v (n,), in tiles (n,) of the field."""

    com: DoubleArray
    u: DoubleArray
    v: DoubleArray
    tile: IndexArray

    def kept(self, chosen: BoolArray) -> _Blocks:
        return _Blocks(self.com[chosen], self.u[chosen], self.v[chosen], self.tile[chosen])


def find_descan(store: Store, disc_radius_px: float) -> Quantity | None:
    """The smooth descan of a scan as ``descan_px``; None for none. What its patterns were moved back by stays.

    Uncertainty in pixels: standard error of the fitted place of a pattern, root mean square over the field.
    """
    if store.descan is not None:  # given, or measured on the edge of the disc: the centre of mass knows it less well
        return Quantity(store.descan.numbers, Origin.ESTIMATED, store.descan.uncertainty_px)
    found = first_look(store, disc_radius_px, lines=False)
    return None if found is None else Quantity(found.numbers, Origin.ESTIMATED, found.uncertainty_px)


def first_look(store: Store, disc_radius_px: float, *, lines: bool) -> Descan | None:
    """The descan as the centre of mass shows it, with jumps between lines where they are asked for; None for none.

    A specimen may make jumps of its own: they are to be measured on the edge of the disc before they are believed.
    """
    jumps = _jumps(store, disc_radius_px) if lines else None
    blocks = _blocks(store, jumps)
    return None if blocks is None else _joined(_fitted(blocks, disc_radius_px), jumps)


def remaining(store: Store, disc_radius_px: float) -> Descan | None:
    """The smooth descan that patterns still show beside what they were moved back by; None where it cannot be told."""
    blocks = _blocks(store, None)
    if blocks is None:
        return None
    fitted = _fitted(blocks, disc_radius_px)
    return Descan.of([0]) if fitted is None else replace(fitted[0], uncertainty_px=fitted[1])


def _jumps(store: Store, disc_radius_px: float) -> LineJumps | None:
    """Jumps between lines as the centre of mass shows them."""
    if not may_jump(store.shape):
        return None
    seen = _seen(store)
    half, count = halves_of(seen, store.shape), 2 * store.shape[0]
    weight = np.maximum(np.bincount(half, store.moments[seen, 0], count), 1e-12)
    place = np.stack([np.bincount(half, store.moments[seen, k], count) / weight for k in (1, 2)], axis=1)
    points, limits = np.bincount(half, minlength=count), StepLimits.of(store.header, disc_radius_px)
    return line_offsets(place, points, store.shape, disc_radius_px, limits)


def _seen(store: Store) -> IndexArray:
    """Scan points, flat, that have frames with counts in them."""
    return np.flatnonzero((store.frames > 0) & (store.moments[:, 0] > 0))


def _joined(smooth: tuple[Descan, float] | None, jumps: LineJumps | None) -> Descan | None:
    """Both in one, the smooth course of the lines' places counted as such; None where there is neither."""
    if jumps is None:
        return None if smooth is None else replace(smooth[0], uncertainty_px=smooth[1])
    coefficients = np.zeros((2, 5))
    coefficients[:, [0, 3]] = jumps.slow[1:].T  # of u and of u^2
    offsets = np.round(jumps.offset_px, 4)
    found, doubt = Descan.of([*coefficients.ravel().tolist(), *offsets.ravel().tolist()]), jumps.uncertainty_px
    if smooth is not None:
        found, doubt = found.plus(smooth[0]), math.hypot(doubt, smooth[1])
    return replace(found, uncertainty_px=doubt)


def _blocks(store: Store, jumps: LineJumps | None) -> _Blocks | None:
    """Blocks of which more than half was visited, without the jumps between lines; None where they are too few."""
    seen = _seen(store)
    block, count = blocks_of(seen, store.shape)
    weight = store.moments[seen, 0]
    every = np.maximum(np.bincount(block, weight, count), 1e-12)[:, None]
    offset = np.zeros((len(seen), 2)) if jumps is None else jumps.place_px[seen // store.shape[1]]
    moments = store.moments[seen, 1:] - weight[:, None] * offset
    sums = np.stack([np.bincount(block, moments[:, k], count) for k in (0, 1)], axis=1)
    return _placed(sums / every, seen, store.shape)


def blocks_of(point: IndexArray, scan_shape: tuple[int, int]) -> tuple[IndexArray, int]:
    """Block (n,) of each scan point (n,), flat, and how many blocks there are."""
    side = max(LEAST_SIDE, math.ceil(max(scan_shape) / BLOCKS_ALONG))
    row, col = np.divmod(np.asarray(point), scan_shape[1])
    down, across = (math.ceil(n / side) for n in scan_shape)
    return (row // side) * across + col // side, down * across


def _placed(value: DoubleArray, seen: IndexArray, scan_shape: tuple[int, int]) -> _Blocks | None:
    """Values (blocks, 2) of blocks of which the points ``seen`` are more than half; None where those are too few."""
    block, count = blocks_of(seen, scan_shape)
    every = np.bincount(blocks_of(np.arange(scan_shape[0] * scan_shape[1]), scan_shape)[0], minlength=count)
    points = np.bincount(block, minlength=count)
    full = points > every / 2
    if full.sum() < LEAST_BLOCKS:
        return None
    u, v = (np.bincount(block, axis, count)[full] / points[full] for axis in scan_places(seen, scan_shape))
    return _Blocks(value[full], u, v, TILES_ALONG * _quarter(u) + _quarter(v))


@dataclass(frozen=True)
class LineEdges:
    """Mean counts (2 rows, n) around the edge of a disc in the halves of lines, and of how many points (2 rows,)."""

    counts: DoubleArray
    points: IndexArray
    disc: Disc
    limits: StepLimits


def sharpened(
    descan: Descan,
    patterns: DoubleArray,
    seen: IndexArray,
    scan_shape: tuple[int, int],
    disc: Disc,
    lines: LineEdges | None = None,
    wandering: WanderingMean | None = None,
) -> Descan:
    """A descan measured once more, on the edge of the disc: mean patterns (blocks, Qy, Qx) of blocks of the scan.

    The patterns have been moved back by ``descan``; seen (n,): scan points in them; lines: of the same patterns, where
    jumps between lines were seen; wandering: what all of them have in common, if that is known, for what interpolation
    does to the edge. A specimen changes the brightness inside the disc, and with it the centre of mass; its edge stays
    where the beam puts it. A descan of nothing where the edge shows none, and no lines where it does not show that they
    jump.
    """
    mean, where = patterns.mean(axis=0), descan.at_points(seen, scan_shape)
    rest, field = where - np.rint(where), np.stack(scan_places(seen, scan_shape), axis=1)
    apart = wandering is not None and (wandering.tells(rest, np.hstack([where, field])) < MOST_TOLD).all()

    def places(counts: DoubleArray, of: Disc, group: IndexArray, number: int) -> DoubleArray:
        edge, ring = DiscEdge.of(mean, of), edge_of(of, mean.shape)
        found = edge.shifts(counts)
        if wandering is None or not apart:
            return found
        return found - _means(interpolation_bias(wandering, edge, ring, rest), group, number)

    block, count = blocks_of(seen, scan_shape)
    shifts = places(patterns[:, edge_of(disc, mean.shape)], disc, block, count)
    taken = np.zeros((len(seen), 2))
    jumps = None
    if lines is not None:
        half, halves = halves_of(seen, scan_shape), 2 * scan_shape[0]
        place = _means(where, half, halves) + places(lines.counts, lines.disc, half, halves)
        jumps = line_offsets(place, lines.points, scan_shape, disc.radius_px, lines.limits)
        taken = where - descan.smooth.at_points(seen, scan_shape)
        if jumps is not None:
            taken = taken - jumps.place_px[seen // scan_shape[1]]
    left = _placed(shifts + _means(taken, block, count), seen, scan_shape)
    if left is None:
        return descan.smooth
    smooth = _fitted(replace(left, com=left.com + descan.at(left.u, left.v)), disc.radius_px)
    return _joined(smooth, jumps) or Descan.of([0])


def _means(value: DoubleArray, group: IndexArray, count: int) -> DoubleArray:
    """Mean (count, 2) of values (n, 2) of each group (n,), 0 where there are none."""
    members = np.maximum(np.bincount(group, minlength=count), 1)
    return np.stack([np.bincount(group, axis, count) / members for axis in value.T], axis=1)


def interpolation_bias(mean: WanderingMean, edge: DiscEdge, ring: BoolArray, rest_px: DoubleArray) -> DoubleArray:
    """By how much (n, 2), pixels, the edge seems to lie off for being moved by ``rest_px`` (n, 2) pixels alone.

    What is finer than two pixels is moved the wrong way, so that a pattern seems to lie nearer to whole pixels, or
    farther from them. The mean pattern is known between pixels without being moved (``wandering_mean``): moved,
    it shows by how much. ring (Qy, Qx): the pixels that ``edge`` reads.
    """
    axis = np.linspace(-0.5, 0.5, BIAS_NODES)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    moved_back = moved(mean.at(nodes), nodes, round_the_edge=True)
    bias = edge.shifts(moved_back[:, ring]) - edge.shifts(mean.still[None, ring])
    at = (rest_px + 0.5).T * (BIAS_NODES - 1)
    between = [ndimage.map_coordinates(of.reshape(BIAS_NODES, -1), at, mode="nearest") for of in bias.T]
    return np.stack(between, axis=1)


def _quarter(place: DoubleArray) -> IndexArray:
    """Which of TILES_ALONG equal parts of what was visited a place (n,) lies in."""
    share = (place - place.min()) / max(float(np.ptp(place)), 1e-9)
    return np.asarray(np.minimum(share * TILES_ALONG, TILES_ALONG - 1), dtype=np.int64)


def _fitted(blocks: _Blocks, disc_radius_px: float) -> tuple[Descan, float] | None:
    """The simplest model that the unseen parts of the field ask for, and the standard error of its places."""
    best: tuple[IndexArray, DoubleArray] = (np.zeros(0, dtype=np.int64), _unseen(blocks, np.zeros(0, dtype=np.int64)))
    for terms in MODELS:
        errors = _unseen(blocks, terms)
        gain = best[1] - errors
        if len(gain) > 2 and gain.mean() > BELIEVED * gain.std(ddof=1) / math.sqrt(len(gain)):
            best = (terms, errors)
    terms = best[0]
    if not len(terms):
        return None
    fit, doubt = _fit(blocks, terms), math.sqrt(float(best[1].mean()) * (1 + len(terms)) / len(blocks.u))
    coefficients = np.zeros((2, 5))
    coefficients[:, terms] = fit[1:].T
    found = Descan.of(coefficients.ravel().tolist())
    seen = found.at(blocks.u, blocks.v)
    least = max(LEAST_EXTENT_PX, LEAST_SHARE * disc_radius_px)
    return (found, doubt) if np.linalg.norm(np.ptp(seen, axis=0)) > least else None


def _unseen(blocks: _Blocks, terms: IndexArray) -> DoubleArray:
    """Median squared error (tiles,), px², in each tile of the field of a fit to all others."""
    out = []
    for tile in np.unique(blocks.tile):
        here = blocks.tile == tile
        rest = blocks.kept(~here)
        if len(rest.u) < LEAST_LEFT:
            continue
        error = blocks.com[here] - _design(blocks.kept(here), terms) @ _fit(rest, terms)
        out.append(float(np.median((error**2).sum(axis=1))))
    return np.asarray(out)


def _fit(blocks: _Blocks, terms: IndexArray) -> DoubleArray:
    """Coefficients (1 + terms, 2) by least squares with Huber's weights."""
    design = _design(blocks, terms)
    weight = np.ones(len(design))
    fit = np.zeros((design.shape[1], 2))
    for _ in range(ROUNDS):
        root = np.sqrt(weight)[:, None]
        fit = np.linalg.lstsq(design * root, blocks.com * root, rcond=None)[0]
        error = np.linalg.norm(blocks.com - design @ fit, axis=1)
        scale = max(1.4826 * float(np.median(error)), 1e-9)
        weight = np.minimum(1.0, HUBER * scale / np.maximum(error, 1e-12))
    return np.asarray(fit)


def _design(blocks: _Blocks, terms: IndexArray) -> Array:
    """(n, 1 + terms)"""
    return np.concatenate([np.ones((len(blocks.u), 1)), descan_terms(blocks.u, blocks.v)[:, terms]], axis=1)
