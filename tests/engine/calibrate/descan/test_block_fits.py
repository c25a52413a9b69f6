"""Fits of the pattern's wander in the presence of deflections by the specimen, which its dark field reveals.

The specimen is the edge of a film: it deflects where its dark field changes, which plain least squares mistake for a
bow. A fit that includes the dark field may be off by three standard errors of a term: the noise of a block over the
root of 144 blocks, times the inverse of the part of a term that is independent of the others (0.3 for u^2 fitted with a
constant, more with the gradient: 4).
"""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.descan import block_fits
from ptylive.engine.calibrate.descan.block_fits import (
    MODELS,
    better_measurement,
    blocks_of,
    changes_slowly,
    fitted,
    hides_wander,
    placed,
    slopes,
)
from ptylive.engine.calibrate.robust import HUBER, OF_MEDIAN
from ptylive.schema.detector import Descan, scan_places

SHAPE, RADIUS = (48, 48), 12.0
POINTS = np.arange(48 * 48)
BOW = Descan.of([1.5, 0.4, 0.3, 0.0, -0.4, 0.2, -1.2, 0.0, 0.5, 0.0])
NOISE_PX = 0.01
"""Noise of the mean place of a block, along each axis."""
ALLOWED_PX = 3 * 4 * NOISE_PX / 12


def film(u, v):
    """Share of the film at places (n,) of the field: 1 in one corner, 0 in the opposite one."""
    return 1 / (1 + np.exp((u + 0.6 * v - 0.2) / 0.06))


def block_means(values):
    block, count = blocks_of(POINTS, SHAPE)
    return np.stack([np.bincount(block, of, count) for of in values.T], axis=1) / np.bincount(block)[:, None]


def measured(deflected_px, seed=0):
    """Blocks along BOW, deflected by ``deflected_px`` per unit of the film's gradient, together with the gradient."""
    gradient = block_means(slopes(film(*scan_places(POINTS, SHAPE)), POINTS, SHAPE))
    noise = np.random.default_rng(seed).normal(0.0, NOISE_PX, gradient.shape)
    blocks = placed(block_means(BOW.at_points(POINTS, SHAPE)) + deflected_px * gradient + noise, POINTS, SHAPE)
    return replace(blocks, gradient=gradient, noise_px2=2 * NOISE_PX**2)


def bow_off(blocks):
    """Largest error, px, of the bow fitted to blocks."""
    found, _ = fitted(blocks, RADIUS)
    return np.abs(np.asarray(found.minus(BOW).coefficients)[:, 2:]).max()


@pytest.mark.parametrize("seed", quick_first(range(5), 2))
def test_what_the_dark_field_tells_is_no_bow(seed):
    blocks = measured(2.0, seed)
    assert bow_off(blocks.plain) > 2 * ALLOWED_PX
    assert bow_off(blocks) < ALLOWED_PX


@pytest.mark.parametrize("seed", quick_first(range(5), 2))
def test_the_centre_of_mass_is_taken_where_the_dark_field_explains_it(seed):
    edge = measured(0.5, seed + 100).plain
    edge = replace(edge, place=edge.place + 0.04 * np.sin(7 * edge.u + 5 * edge.v)[:, None])  # left unexplained
    mass = measured(1.0, seed)
    assert better_measurement(edge, mass) is mass


@pytest.mark.parametrize("seed", quick_first(range(5), 2))
def test_the_edge_is_taken_where_the_dark_field_explains_little(seed):
    """As for a thick crystal: the patterns vary from place to place in a way that the dark field does not."""
    edge, mass = measured(0.0, seed + 100).plain, measured(1.0, seed)
    mass = replace(mass, place=mass.place + 0.2 * np.sin(7 * mass.u + 5 * mass.v)[:, None])
    assert better_measurement(edge, mass) is edge


def test_the_edge_is_taken_of_a_specimen_that_deflects_nothing():
    """A gradient that explains nothing is noise, and is not fitted."""
    edge, mass = measured(0.0, 1).plain, measured(0.0, 2)
    assert better_measurement(edge, mass) is edge


def test_the_dark_field_is_fitted_beside_the_edge_where_that_foretells_more():
    edge, mass = measured(1.0, 1).plain, measured(1.0, 2)
    mass = replace(mass, place=mass.place + 0.2 * np.sin(7 * mass.u + 5 * mass.v)[:, None])
    taken = better_measurement(edge, mass)
    assert taken.place is edge.place
    assert taken.gradient is mass.gradient


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_counting_noise_of_the_centre_of_mass_is_no_error_of_it(seed):
    """The variance of a block is five times as large, all of it noise; the edge has a smaller, systematic error.

    With sixteen tiles, chance leaves a third of a squared error, so that another seed may decide otherwise.
    """
    rng, mass = np.random.default_rng([seed, 3]), measured(1.0, seed)
    mass = replace(mass, place=mass.place + rng.normal(0.0, 2 * NOISE_PX, mass.place.shape))
    edge = measured(1.0, seed + 100).plain
    edge = replace(edge, place=edge.place + 0.016 * np.sin(7 * edge.u + 5 * edge.v)[:, None])
    assert better_measurement(edge, replace(mass, noise_px2=0.0)).place is edge.place
    assert better_measurement(edge, replace(mass, noise_px2=2 * 5 * NOISE_PX**2)).place is mass.place


def test_a_gradient_ends_where_points_were_not_visited():
    row, col = np.divmod(POINTS, 48)
    seen = POINTS[col < 30]
    found = slopes(np.where(col < 30, 2.0 * row - 3.0 * col, 1e9), seen, SHAPE)
    inside = col[seen] < 29
    assert np.allclose(found[inside], (2.0, -3.0))
    assert np.allclose(found[~inside], (2.0, -1.5))  # half the difference: the next point has the same value
    assert not slopes(np.arange(48.0), np.arange(48), (1, 48))[:, 0].any()


def test_tiles_are_foretold_with_as_many_terms_as_are_fitted():
    """Six coefficients and two slopes need at least ten blocks outside a tile."""
    few = placed(np.zeros((16, 2)), np.arange(256), (16, 16))
    assert fitted(replace(few, gradient=np.ones((16, 2))), RADIUS) is None
    assert len(MODELS[-1]) == 5


@pytest.mark.parametrize("rows", quick_first([7, 8, 13, 23, *(n for n in range(9, 23) if n != 13)], 4))
def test_a_fit_with_the_gradient_is_judged_on_the_tiles_of_the_fit_without(rows):
    """A scan of 24 lines that was broken off after some of them: outside large tiles too few blocks are left to fit a
    gradient, and enough to fit none.
    """
    shape, seen, rng = (24, 24), np.arange(24 * rows), np.random.default_rng(rows)
    values = rng.normal(0.0, NOISE_PX, (2, 36, 2))
    edge, mass = (placed(value, seen, shape) for value in values)
    if edge is not None:
        mass = replace(mass, gradient=rng.normal(size=mass.place.shape))
        assert better_measurement(edge, mass) is edge


def scattered(sd_px, seed):
    """Sixteen tiles of nine blocks, each block displaced independently by ``sd_px`` along each axis."""
    place = np.random.default_rng(seed).normal(0.0, sd_px, (144, 2))
    return placed(place, POINTS, SHAPE)


@pytest.mark.parametrize("seed", quick_first(range(5), 2))
def test_what_blocks_scatter_by_may_hide_a_wander(seed):
    """The extent of a plane fitted to 144 blocks with scatter s is uncertain by 2 s √(12 / 144); 0.25 px count as a
    wander.

    Two errors are allowed. Medians of nine squared errors lie below their mean, 2 s²: by a seventh for a chi squared of
    two degrees of freedom, by up to a third.
    """
    at_least = 0.25 / (2 * 2 * np.sqrt(12 / 144))
    assert hides_wander(scattered(1.6 * at_least, seed), RADIUS)
    assert not hides_wander(scattered(0.7 * at_least, seed), RADIUS)
    assert not hides_wander(scattered(1.6 * at_least, seed), 3 * RADIUS), "of a large disc more is borne"


def test_a_swelling_changes_slowly_and_a_lattice_does_not():
    u, v = scan_places(POINTS, SHAPE)
    swelling, lattice = np.exp(-2 * (u * u + v * v)), np.sin(3.5 * np.pi * u + 0.7) + np.sin(3.5 * np.pi * v + 0.4)
    assert changes_slowly(placed(block_means(np.stack([swelling] * 2, axis=1)), POINTS, SHAPE))
    assert not changes_slowly(placed(block_means(np.stack([lattice] * 2, axis=1)), POINTS, SHAPE))


@pytest.mark.parametrize("shape", [(48, 48), (1, 300)])
@pytest.mark.parametrize("terms", MODELS, ids=["plane", "parabola"])
def test_fits_of_all_tiles_together_are_those_of_one_after_the_other(shape, terms):
    """The reference is lstsq; it also gives the shortest solution where a single line leaves the fit across it open."""
    points = np.arange(shape[0] * shape[1])
    rng = np.random.default_rng(5)
    places = rng.normal(size=(blocks_of(points, shape)[1], 2))
    places[3] += 20  # an outlier
    blocks = placed(places, points, shape)
    found = list(block_fits._held_out(blocks, terms))
    assert len(found) == len(np.unique(blocks.tile))
    design = block_fits._design(blocks, terms)
    for here, errors in found:
        rest, weight = design[~here], np.ones((~here).sum())
        for _ in range(block_fits.HUBER_ROUNDS):
            root = np.sqrt(weight)[:, None]
            fit = np.linalg.lstsq(rest * root, blocks.place[~here] * root, rcond=1e-6)[0]
            away = np.linalg.norm(blocks.place[~here] - rest @ fit, axis=1)
            weight = np.minimum(1.0, HUBER * OF_MEDIAN * np.median(away) / away)
        # normal equations lose the square of the design's condition, and eight rounds of weights magnify the loss
        np.testing.assert_allclose(errors, blocks.place[here] - design[here] @ fit, atol=1e-6)


@pytest.mark.parametrize(
    ("extent_px", "noise_px", "counts"),
    [(1.1, 0.05, True), (0.6, 0.01, True), (0.6, 0.3, False), (0.4, 0.001, False)],
)
def test_a_wander_of_half_the_extent_that_counts_has_to_be_clear(extent_px, noise_px, counts):
    """In units of that extent: half of it counts if it is twenty standard errors of a place, less never."""
    limit = block_fits.least_extent_px(RADIUS)
    plane = Descan.of([extent_px * limit, 0.0, 0.0, 0.0])
    noise = np.random.default_rng(3).normal(0.0, noise_px, (len(POINTS), 2))
    found = fitted(placed(block_means(plane.at_points(POINTS, SHAPE) + noise), POINTS, SHAPE), RADIUS)
    assert (found is not None) is counts


def test_rounding_of_the_places_does_not_change_the_descan():
    """Live, they are summed in another order than offline, and an optimiser magnifies what differs."""
    places = BOW.at_points(POINTS, SHAPE)
    first, second = (fitted(placed(block_means(places + off), POINTS, SHAPE), RADIUS) for off in (0.0, 1e-9))
    assert first[0] == second[0]
