"""Smooth courses fitted to pattern positions in blocks of a scan, judged on parts of the field that were left out.

A specimen moves the positions, too: its deflection is the gradient of its phase. Its dark field grows with the same
thickness, and no descan changes it, so the dark field's gradient may be fitted with the course
(docs/theory/calibration.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ptylive.engine.calibrate.robust import BELIEVED, huber_weights, is_significant
from ptylive.schema.detector import Descan, descan_terms, scan_places
from ptylive.schema.model import Array, BoolArray, DoubleArray, IndexArray

BLOCKS_ALONG = 12
"""Number of blocks along the scan's longer side; each is at least LEAST_SIDE points wide."""
LEAST_SIDE = 4
"""Fewest points along a block's side: the mean over 16 points hides what a specimen does from one atom to the next."""
LEAST_BLOCKS = 12
"""Fewest blocks of a scan that is fitted: twice the terms of a parabola."""
LEAST_LEFT = 9
"""Fewest blocks outside a tile: one and a half times the terms of a parabola, which are fitted to them."""
TILES_ALONG = 4
"""Number of tiles along each side of the field; a fit is judged on each tile in turn, fitted to the others."""
MODELS: tuple[IndexArray, ...] = (np.array([0, 1]), np.arange(5))
"""Terms of a plane, and of a parabola."""
LEAST_EXTENT_PX, LEAST_EXTENT_SHARE = 0.25, 0.02
"""Smallest extent over the field that counts, in pixels and as a share of the disc's radius: less disturbs no map, and
slow fields of a specimen may look like it."""
CLEAR_SHARE, CLEAR = 0.5, 20.0
"""Share of that extent which counts too if it exceeds this many standard errors of a pattern's place: at 10^6
electrons a pattern it bends a refined phase, and of 94 scans that lie still none shows it."""
SUSPECTED = 1.0
"""Standard errors of improvement at which a slow course of the dark field is suspected."""
HUBER_ROUNDS = 8
"""Rounds of reweighting. With a sixth of the blocks off by twenty deviations, further rounds change a coefficient by
less than a hundredth of its standard error."""
RESOLVED = 1e-12
"""Relative size of eigenvalues of normal equations below which they are rounding errors (1e-16 times their sum)."""


@dataclass(frozen=True)
class Blocks:
    """Mean positions (n, 2), pixels, of blocks at scan coordinates u, v (n,), in tiles (n,) of the field.

    gradient (n, 2 or 0): of the dark field along the axes of the scan, fitted together with the course. noise_px2:
    variance of a block's position due to counting alone, sum of both axes.
    """

    place: DoubleArray
    u: DoubleArray
    v: DoubleArray
    tile: IndexArray
    gradient: DoubleArray
    noise_px2: float = 0.0

    def kept(self, chosen: BoolArray) -> Blocks:
        """Return the chosen blocks (n,) only."""
        place, gradient, tile = self.place[chosen], self.gradient[chosen], self.tile[chosen]
        return Blocks(place, self.u[chosen], self.v[chosen], tile, gradient, self.noise_px2)

    @property
    def plain(self) -> Blocks:
        """The same blocks without the gradient of the dark field."""
        return replace(self, gradient=self.gradient[:, :0])


def blocks_of(point: IndexArray, scan_shape: tuple[int, int]) -> tuple[IndexArray, int]:
    """Return the block (n,) of each scan point (n,), flat, and the number of blocks."""
    side = max(LEAST_SIDE, math.ceil(max(scan_shape) / BLOCKS_ALONG))
    row, col = np.divmod(np.asarray(point), scan_shape[1])
    down, across = (math.ceil(n / side) for n in scan_shape)
    return (row // side) * across + col // side, down * across


def placed(value: DoubleArray, visited: IndexArray, scan_shape: tuple[int, int]) -> Blocks | None:
    """Return values (blocks, 2) of blocks more than half ``visited``, with their coordinates; None if too few."""
    block, count = blocks_of(visited, scan_shape)
    sizes = np.bincount(blocks_of(np.arange(scan_shape[0] * scan_shape[1]), scan_shape)[0], minlength=count)
    points = np.bincount(block, minlength=count)
    full = points > sizes / 2
    if full.sum() < LEAST_BLOCKS:
        return None
    u, v = (np.bincount(block, axis, count)[full] / points[full] for axis in scan_places(visited, scan_shape))
    return Blocks(value[full], u, v, TILES_ALONG * _quarter(u) + _quarter(v), np.zeros((int(full.sum()), 0)))


def slopes(value: DoubleArray, visited: IndexArray, scan_shape: tuple[int, int]) -> DoubleArray:
    """Return the gradient (n, 2) of values (points,) along the axes of the scan, at the points ``visited`` (n,), flat.

    Unvisited points take the value of the nearest visited one; along an axis of one point the gradient is 0.
    """
    missing = np.ones(scan_shape, dtype=bool)
    missing.flat[visited] = False
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    image = value.reshape(scan_shape)[tuple(nearest)]
    along = [np.gradient(image, axis=axis) if n > 1 else np.zeros(scan_shape) for axis, n in enumerate(scan_shape)]
    return np.stack(along, axis=-1).reshape(-1, 2)[visited]


def better_measurement(edge: Blocks, mass: Blocks) -> Blocks:
    """Return the better of two measurements of the same positions: on the edge of the disc, or by the centre of mass.

    ``mass`` includes the gradient of the dark field, which is fitted with either if that predicts the tiles better. The
    centre of mass is used only if it does, and has smaller errors of the mean positions of tiles. Its counting noise is
    not counted as an error, since a map of the same centre of mass contains it, too; that of the edge is.
    """
    with_gradient = replace(edge, gradient=mass.gradient)
    edge = with_gradient if _predicts(with_gradient, edge) else edge
    if not _predicts(mass, mass.plain):
        return edge
    gradients = mass.gradient.shape[1]
    errors, noise = _held_out_means(mass, gradients)
    return mass if errors - noise < _held_out_means(edge, gradients)[0] else edge


def hides_wander(blocks: Blocks, disc_radius_px: float) -> bool:
    """Return whether a significant plane could hide in the scatter of blocks.

    It could if two standard errors of a plane's extent exceed the least extent that counts. For a squared error e² of a
    block, a coefficient has 3 e² / 2n, and the extent is twice their root sum of squares.
    """
    errors = _held_out_errors(blocks, MODELS[0])
    if not len(errors):
        return False
    extent = 2 * math.sqrt(4 * 1.5 * float(errors.mean()) / len(blocks.u))
    return BELIEVED * extent > least_extent_px(disc_radius_px)


def changes_slowly(blocks: Blocks) -> bool:
    """Return whether a parabola seems to predict tiles that it was not fitted to, if only by one standard error."""
    no_terms = np.zeros(0, dtype=np.int64)
    return is_significant(_held_out_errors(blocks, no_terms) - _held_out_errors(blocks, MODELS[-1]), SUSPECTED)


def _predicts(candidate: Blocks, reference: Blocks) -> bool:
    """Return whether one has significantly smaller errors than the other on tiles that it was not fitted to.

    Only tiles outside which enough blocks are left to fit either of them are compared.
    """
    terms, gradients = MODELS[-1], max(candidate.gradient.shape[1], reference.gradient.shape[1])
    before, after = (_held_out_errors(blocks, terms, gradients) for blocks in (reference, candidate))
    return is_significant(before - after)


def _held_out_means(blocks: Blocks, gradients: int) -> tuple[float, float]:
    """Return the squared error of a tile's mean position, px², in parabolas fitted to all others; and its noise part.

    The noise is that of the tile's own blocks, and that of the others propagated through the fit. ``gradients``: as in
    :func:`_held_out`.
    """
    errors, noise = [], []
    for is_held_out, error in _held_out(blocks, MODELS[-1], gradients):
        design = _design(blocks, MODELS[-1])
        mean, rest = design[is_held_out].mean(axis=0), design[~is_held_out]
        errors.append(float((error.mean(axis=0) ** 2).sum()))
        noise.append(blocks.noise_px2 * (1 / len(error) + float(((mean @ np.linalg.pinv(rest)) ** 2).sum())))
    return (float(np.mean(errors)), float(np.mean(noise))) if errors else (math.inf, 0.0)


def _quarter(place: DoubleArray) -> IndexArray:
    """Return which of TILES_ALONG equal parts of the visited range each coordinate (n,) lies in."""
    share = (place - place.min()) / max(float(np.ptp(place)), 1e-9)
    return np.asarray(np.minimum(share * TILES_ALONG, TILES_ALONG - 1), dtype=np.int64)


def fitted(blocks: Blocks, disc_radius_px: float) -> tuple[Descan, float] | None:
    """Return the simplest model that the left-out parts of the field require, and the standard error of places."""
    best: tuple[IndexArray, DoubleArray] = (
        np.zeros(0, dtype=np.int64),
        _held_out_errors(blocks, np.zeros(0, dtype=np.int64)),
    )
    for terms in MODELS:
        errors = _held_out_errors(blocks, terms)
        if is_significant(best[1] - errors):
            best = (terms, errors)
    terms = best[0]
    if not len(terms):
        return None
    fit = _fits(_design(blocks, terms), blocks.place, np.ones((1, len(blocks.u)), bool))[0]
    uncertainty = math.sqrt(float(best[1].mean()) * _unknowns(blocks, terms) / len(blocks.u))
    coefficients = np.zeros((2, 5))
    coefficients[:, terms] = fit[1 : 1 + len(terms)].T
    descan = Descan.of(np.round(coefficients, 4).ravel().tolist())
    extent_px = float(np.linalg.norm(np.ptp(descan.at(blocks.u, blocks.v), axis=0)))
    least_px = least_extent_px(disc_radius_px)
    is_clear = extent_px > CLEAR_SHARE * least_px and extent_px > CLEAR * uncertainty
    return (descan, uncertainty) if extent_px > least_px or is_clear else None


def least_extent_px(disc_radius_px: float) -> float:
    """Return the extent over the whole field that a wander must have to count."""
    return max(LEAST_EXTENT_PX, LEAST_EXTENT_SHARE * disc_radius_px)


def _held_out_errors(blocks: Blocks, terms: IndexArray, gradients: int = 0) -> DoubleArray:
    """Return the median squared error (tiles,), px², in each tile of the field of a fit to all others."""
    return np.asarray([float(np.median((error**2).sum(axis=1))) for _, error in _held_out(blocks, terms, gradients)])


def _held_out(blocks: Blocks, terms: IndexArray, gradients: int = 0) -> Iterator[tuple[BoolArray, DoubleArray]]:
    """Yield for each tile its blocks (blocks,), and their errors (n, 2), px, in a fit to all others.

    A tile outside which too few blocks are left for a fit is passed over. ``gradients``: components of a gradient for
    which there must be enough even if these blocks have none, because another fit of the same tiles includes it.
    """
    tiles = np.unique(blocks.tile)[:, None] == blocks.tile
    tiles = tiles[(~tiles).sum(axis=1) >= LEAST_LEFT + max(gradients, blocks.gradient.shape[1])]
    design = _design(blocks, terms)
    for is_held_out, fit in zip(tiles, _fits(design, blocks.place, ~tiles), strict=True):
        yield is_held_out, blocks.place[is_held_out] - design[is_held_out] @ fit


def _unknowns(blocks: Blocks, terms: IndexArray) -> int:
    """Return the number of unknowns along each axis of the detector."""
    return 1 + len(terms) + int(blocks.gradient.shape[1])


def _fits(design: DoubleArray, place: DoubleArray, used: BoolArray) -> DoubleArray:
    """Return coefficients (m, unknowns, 2) of least squares with Huber weights; each fit uses blocks ``used`` (m, n).

    All fits are solved together by their normal equations; the minimum-norm solution is used if blocks determine some
    coefficients only jointly, as in a scan of one line.
    """
    weight, count, number = used.astype(np.float64), used.sum(axis=1), np.arange(len(used))
    fits = np.zeros((len(used), design.shape[1], 2))
    for _ in range(HUBER_ROUNDS):
        weighted = np.swapaxes(weight[:, :, None] * design, 1, 2)
        fits = np.linalg.pinv(weighted @ design, rcond=RESOLVED, hermitian=True) @ (weighted @ place)
        error = np.linalg.norm(place - design @ fits, axis=2)
        ordered = np.sort(np.where(used, error, np.inf), axis=1)
        median = (ordered[number, (count - 1) // 2] + ordered[number, count // 2]) / 2
        weight = np.where(used, huber_weights(error, median[:, None]), 0.0)
    return fits


def _design(blocks: Blocks, terms: IndexArray) -> Array:
    """Return the design matrix (n, 1 + terms + slopes)."""
    course = descan_terms(blocks.u, blocks.v)[:, terms]
    return np.concatenate([np.ones((len(blocks.u), 1)), course, blocks.gradient], axis=1)
