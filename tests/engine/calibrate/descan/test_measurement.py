"""Descan measured on the centre of mass, and on the edge of the disc.

The remainder must be well below what counts as a descan (``LEAST_EXTENT_PX``, a quarter of a pixel). The tests
therefore require a tenth, or three twentieths under noise: specimens move the centre of mass of a block by some
hundredths.
"""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from synthetic import WeakPhaseScan, batches

from ptylive.engine.calibrate.descan.block_fits import LEAST_EXTENT_PX, blocks_of, slopes
from ptylive.engine.calibrate.descan.line_steps import StepLimits
from ptylive.engine.calibrate.descan.measurement import (
    LineEdges,
    MeansAtRest,
    PointSums,
    find_descan,
    first_look,
    sharpened,
)
from ptylive.engine.calibrate.disc import Disc, edge_of
from ptylive.engine.descan import moved
from ptylive.engine.live.plan import ReductionPlan
from ptylive.engine.live.reading import reduced
from ptylive.schema import Scan
from ptylive.schema.detector import Descan, scan_places

BOW = Descan.of([1.5, 0.4, 0.3, 0.0, -0.4, 0.2, -1.2, 0.0, 0.5, 0.0])
PLANE = Descan.of([2.0, -0.6, 0.3, 1.0])
POINTS = np.arange(1024)
RADIUS = 7.2
"""Radius of the disc in pixels: 0.45 / Å over pixels of 1 / (16 Å)."""


@pytest.fixture(scope="module")
def scan():
    return WeakPhaseScan.make({"C10": -80.0}, strength=0.05)


def store_of(scan, patterns, shape=(32, 32), frames=1024):
    header = replace(scan.header(), frames=frames, scan=Scan(shape=shape, step_A=0.5))
    plan = ReductionPlan.of(header, patterns.mean(axis=0))
    return reduced(header, plan.reduction, lambda: batches(patterns))


def error_px(found, wanted, shape=(32, 32)):
    return np.abs(Descan.of(found.value).minus(wanted).at_points(np.arange(np.prod(shape)), shape)).max()


@pytest.mark.parametrize("descan", quick_first([BOW, PLANE]), ids=["bow", "plane"])
def test_the_centre_of_mass_tells_it(scan, descan):
    found = find_descan(store_of(scan, moved(scan.patterns, -descan.at_points(POINTS, (32, 32)))), RADIUS)
    assert error_px(found, descan) < 0.1
    assert 0 < found.uncertainty < 0.1
    assert (np.asarray(Descan.of(found.value).coefficients)[:, 2:] != 0).any() == (descan is BOW)


JUMPS = np.random.default_rng(9).normal(0.0, 1.0, (32, 2))


def test_jumps_between_lines_are_taken_out_and_what_is_smooth_stays_smooth(scan):
    descan = PLANE.plus(Descan.of([0.0] * 10 + (JUMPS - JUMPS.mean(axis=0)).ravel().tolist()))
    found = first_look(store_of(scan, moved(scan.patterns, -descan.at_points(POINTS, (32, 32)))), RADIUS, lines=True)
    away = found.minus(descan).at_points(POINTS, (32, 32))
    assert np.abs(away - away.mean(axis=0)).max() < 0.1
    u = np.linspace(-1, 1, 32)
    assert np.abs(np.stack([u, u * u - 1 / 3]) @ np.asarray(found.lines)).max() < 32 * 1e-4  # rounded to 1e-4
    v = np.abs(found.smooth.minus(PLANE).at(np.zeros(2), np.array([-1.0, 1.0])))
    assert v.max() < 0.3  # along the lines the plane is found; jumps of 1 px have a mean and a bow of their own
    assert 0 < found.uncertainty_px < 0.1


def test_the_centre_of_mass_is_not_believed_what_it_says_of_lines(scan):
    """Rows of atoms along the lines move it as well, and only the edge of the disc can distinguish the two."""
    descan = PLANE.plus(Descan.of([0.0] * 10 + (JUMPS - JUMPS.mean(axis=0)).ravel().tolist()))
    found = find_descan(store_of(scan, moved(scan.patterns, -descan.at_points(POINTS, (32, 32)))), RADIUS)
    assert found is None or not Descan.of(found.value).lines


def test_a_plane_is_enough_where_a_bow_foretells_nothing(scan):
    rng = np.random.default_rng(5)
    counts = rng.poisson(200 * np.maximum(moved(scan.patterns, -PLANE.at_points(POINTS, (32, 32))), 0)).astype(float)
    found = find_descan(store_of(scan, counts), RADIUS)
    assert error_px(found, PLANE) < 0.15
    assert not np.asarray(Descan.of(found.value).coefficients)[:, 2:].any()


def test_none_is_invented():
    """Specimens and noise of ten seeds without descan: the result is no descan, or less than the threshold."""
    for seed in range(10):
        made = WeakPhaseScan.make({"C10": -30.0 * seed}, n=16, step_A=0.6, strength=0.2, seed=seed)
        counts = np.random.default_rng(seed).poisson(300 * made.patterns).astype(float)
        header = made.header()
        store = reduced(
            header, ReductionPlan.of(header, counts.mean(axis=0)).reduction, lambda counts=counts: batches(counts)
        )
        assert find_descan(store, RADIUS) is None, seed


def test_little_is_left_alone(scan):
    slight = Descan.of([0.5 * LEAST_EXTENT_PX, 0.0, 0.0, 0.0])
    assert find_descan(store_of(scan, moved(scan.patterns, -slight.at_points(POINTS, (32, 32)))), RADIUS) is None


def test_a_scan_too_small_or_empty_tells_nothing(scan):
    assert find_descan(store_of(scan, scan.patterns[:36], (6, 6), 36), RADIUS) is None
    store = store_of(scan, scan.patterns)
    store.frames[:] = 0
    assert find_descan(store, RADIUS) is None


def test_half_a_scan_is_fitted_where_it_has_been(scan):
    wandering = moved(scan.patterns, -PLANE.at_points(POINTS, (32, 32)))[:512]
    found = find_descan(store_of(scan, wandering), RADIUS)
    places = Descan.of(found.value).at_points(POINTS[:512], (32, 32)) - PLANE.at_points(POINTS[:512], (32, 32))
    assert np.abs(places - places.mean(axis=0)).max() < 0.1


def disc_pattern(row, col, tilt=(0.0, 0.0)):
    rows, cols = np.indices((40, 44))
    edge = 1 / (1 + np.exp((np.hypot(rows - row, cols - col) - 11.0) / 0.6))
    return edge * (1 + tilt[0] * (rows - row) / 11 + tilt[1] * (cols - col) / 11)


def test_what_was_found_is_sharpened_on_the_edge():
    side, shape = 4, (16, 20)
    true, coarse = Descan.of([2.0, 1.0, -1.0, 0.5]), Descan.of([1.7, 1.0, -0.8, 0.4])
    point = np.arange(shape[0] * shape[1])
    block, count = blocks_of(point, shape)
    assert count == (shape[0] // side) * (shape[1] // side)
    left = true.minus(coarse).at_points(point, shape)
    patterns = np.zeros((count, 40, 44))
    for number in range(count):
        row, col = left[block == number].mean(axis=0)
        patterns[number] = disc_pattern(20 + row, 22 + col)
    found = sharpened(coarse, MeansAtRest(patterns, point), shape, Disc((20.0, 22.0), 11.0))
    assert np.abs(found.minus(true).at_points(point, shape)).max() < 0.05  # of the 0.25 that the coarse descan lacks


def test_a_film_that_deflects_the_whole_disc_is_told_by_its_dark_field():
    """The film's edge across one corner moves the disc by some hundredths of a pixel, which looks like a wander."""
    shape, disc, true = (36, 40), Disc((20.0, 22.0), 11.0), Descan.of([2.0, 1.0, -1.0, 0.5])
    point = np.arange(shape[0] * shape[1])
    (u, v), (block, count) = scan_places(point, shape), blocks_of(point, shape)
    dark = 1 / (1 + np.exp((u + 0.6 * v - 0.2) / 0.1))
    deflected = 2.0 * slopes(dark, point, shape)
    per_block = np.stack([deflected[block == n].mean(axis=0) for n in range(count)])
    patterns = np.stack([disc_pattern(20 + row, 22 + col) for row, col in per_block])
    moments = np.column_stack([np.ones(len(point)), deflected])
    away = [
        np.abs(
            sharpened(true, MeansAtRest(patterns, point, sums=sums), shape, disc).minus(true).at_points(point, shape)
        )
        for sums in (None, PointSums(moments, dark, 0.0), PointSums(2 * moments, 2 * dark, 0.0))
    ]
    assert away[0].max() > 0.02
    assert away[1].max() < 0.002  # differences of points against those of blocks
    assert np.allclose(away[2], away[1])  # a beam with twice the counts


def edges_of_lines(offset, shape, disc):
    """Edges of patterns whose lines are displaced by ``offset`` (rows, 2)."""
    ring = edge_of(disc, (40, 44))
    counts = np.stack([disc_pattern(20 + r, 22 + c)[ring] for r, c in np.repeat(offset, 2, axis=0)])
    return LineEdges(counts, np.full(2 * shape[0], shape[1] // 2), disc, StepLimits())


def test_jumps_are_sharpened_on_the_edge_too():
    shape, disc = (24, 20), Disc((20.0, 22.0), 11.0)
    point = np.arange(shape[0] * shape[1])
    block, count = blocks_of(point, shape)
    jumps = np.random.default_rng(4).normal(0.0, 1.0, (24, 2))
    jumps -= jumps.mean(axis=0)
    missing = np.random.default_rng(5).uniform(-0.3, 0.3, (24, 2))
    true = Descan.of([2.0, 1.0, -1.0, 0.5]).plus(Descan.of([0.0] * 10 + jumps.ravel().tolist()))
    coarse = true.plus(Descan.of([0.0] * 10 + missing.ravel().tolist()))
    left = true.minus(coarse).at_points(point, shape)
    patterns = np.stack(
        [
            np.mean([disc_pattern(20 + r, 22 + c) for r, c in np.unique(left[block == n], axis=0)], axis=0)
            for n in range(count)
        ]
    )
    lines = edges_of_lines(-missing, shape, disc)
    found = sharpened(coarse, MeansAtRest(patterns, point, lines), shape, disc).minus(true).at_points(point, shape)
    assert np.abs(found - found.mean(axis=0)).max() < 0.05  # of the 0.3 that the coarse descan lacks
    assert np.abs(found.mean(axis=0)).max() < 0.1  # the position of the mean is not tested here


def test_lines_that_move_the_centre_of_mass_alone_do_not_jump():
    shape, disc = (24, 20), Disc((20.0, 22.0), 11.0)
    point = np.arange(shape[0] * shape[1])
    block, count = blocks_of(point, shape)
    seen = np.random.default_rng(4).normal(0.0, 0.4, (24, 2))
    descan = Descan.of([0.0] * 10 + seen.ravel().tolist())
    back = [descan.at_points(point[block == number], shape).mean(axis=0) for number in range(count)]
    patterns = np.stack([disc_pattern(20 - r, 22 - c) for r, c in back])
    means = MeansAtRest(patterns, point, edges_of_lines(-seen, shape, disc))
    assert not sharpened(descan, means, shape, disc).lines


def test_a_drift_that_the_edge_shows_less_of_is_specimen():
    """Lattices along the lines move the centre of mass by far more than the edge of the disc."""
    shape, disc = (24, 20), Disc((20.0, 22.0), 11.0)
    point = np.arange(shape[0] * shape[1])
    block, count = blocks_of(point, shape)
    seen = np.sin(np.linspace(0.0, 9.0, 24))[:, None] * [0.8, 0.3]
    descan = Descan.of([0.0] * 10 + seen.ravel().tolist())
    for share, found in ((0.9, True), (0.5, False)):
        wrong = Descan.of([0.0] * 10 + ((share - 1) * seen).ravel().tolist())
        left = [wrong.at_points(point[block == number], shape).mean(axis=0) for number in range(count)]
        patterns = np.stack([disc_pattern(20 + r, 22 + c) for r, c in left])
        edges = edges_of_lines((share - 1) * seen, shape, disc)
        edges = replace(edges, limits=replace(edges.limits, deflected_px=0.1))
        assert bool(sharpened(descan, MeansAtRest(patterns, point, edges), shape, disc).lines) is found


def test_a_specimen_that_moves_the_centre_of_mass_alone_is_no_descan():
    shape = (16, 20)
    point = np.arange(shape[0] * shape[1])
    block, count = blocks_of(point, shape)
    slope = np.linspace(-0.3, 0.3, count)
    seen = Descan.of([0.6, 0.0, 0.0, 0.0])
    back = [seen.at_points(point[block == number], shape).mean(axis=0) for number in range(count)]
    patterns = np.stack([disc_pattern(20 - r, 22 - c, (t, 0.0)) for (r, c), t in zip(back, slope, strict=True)])
    assert not sharpened(seen, MeansAtRest(patterns, point), shape, Disc((20.0, 22.0), 11.0)).moves


def test_a_large_disc_minds_less(scan):
    store = store_of(scan, moved(scan.patterns, -PLANE.at_points(POINTS, (32, 32))))
    assert find_descan(store, 2 * PLANE.extent_px / 0.02) is None


def test_a_particle_in_the_corner_does_not_lean_the_field(scan):
    """A tenth of the blocks lie a pixel off: least squares alone would follow them by 0.38 px."""
    store = store_of(scan, moved(scan.patterns, -PLANE.at_points(POINTS, (32, 32))))
    row, col = np.divmod(POINTS, 32)
    corner = (row < 8) & (col < 12)
    store.moments[corner, 1] += store.moments[corner, 0]
    assert error_px(find_descan(store, RADIUS), PLANE) < 0.15
