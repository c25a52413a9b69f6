"""Jumps between lines are found where both halves of lines show them, with correct uncertainties, and only there."""

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.descan.line_jumps import (
    LEAST_JUMP_PX,
    halves_of,
    line_drift,
    line_jumps,
    may_jump,
)

ROWS, SHAPE = 40, (40, 32)
EVERY = np.full(2 * ROWS, 16)
RADIUS = 12.0


def halves(rng, line, noise):
    """Places of the pattern in both halves of lines."""
    return np.repeat(line, 2, axis=0) + rng.normal(0, noise, (2 * len(line), 2))


def test_what_both_halves_show_is_found_as_well_as_it_says():
    ratios = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        line = rng.normal(0, 0.5, (ROWS, 2))
        found = line_jumps(halves(rng, line, 0.1), EVERY, SHAPE, RADIUS)
        error = found.place_px - line
        error -= error.mean(axis=0)
        ratios.append(np.sqrt((error**2).sum(axis=1).mean()) / found.uncertainty_px)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.1)  # 40 lines, 20 scans: 0.02; the lost mean: 0.01


def test_jumps_are_believed_in_98_of_100_scans_of_any_size():
    for rows in (16, 24, 40, 200):
        rng = np.random.default_rng(rows)
        scans = [halves(rng, rng.uniform(-0.8, 0.8, (rows, 2)), 0.05) for _ in range(200)]
        every = np.full(2 * rows, 16)
        found = sum(line_jumps(scan, every, (rows, 32), RADIUS) is not None for scan in scans)
        assert found > 190  # 98 of 100: 196 +- 2


def specimens(rng, rows):
    """Specimens along the lines: a wire, layers, steps seen in a few lines, and a film's edge."""
    r = np.arange(rows)
    direction = rng.normal(0, 1, 2)
    wide, first, second = rng.uniform(0.7, 4.0), *rng.uniform(3, rows - 3, 2)
    yield np.outer(np.exp(-(((r - first) / wide) ** 2)) - np.exp(-(((r - second) / wide) ** 2)), 2 * direction)
    yield np.outer(np.sin(2 * np.pi * r / rng.uniform(2, 10) + rng.uniform(0, 6)), direction)
    yield np.outer(np.isin(r, rng.integers(0, rows, 3)), 3 * direction)
    yield np.outer(r > first, 2 * direction)


def test_specimens_along_the_lines_do_not_jump():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        for line in specimens(rng, ROWS):
            assert line_jumps(halves(rng, line, 0.05), EVERY, SHAPE, RADIUS) is None


@pytest.mark.parametrize("noise", quick_first([0.1, 10.0, 0.02, 1.0], 2))
def test_noise_alone_is_none(noise):
    rng = np.random.default_rng(7)
    assert not any(line_jumps(halves(rng, np.zeros((ROWS, 2)), noise), EVERY, SHAPE, RADIUS) for _ in range(200))


def test_what_varies_slowly_is_none():
    """Eight pixels over the field, 0.2 px from line to line."""
    u = np.linspace(-1, 1, ROWS)[:, None]
    for slow in (4 * u * [1.0, -0.5], 3 * np.sin(1.5 * u) * [1.0, 1.0] + u * u * [2.0, -3.0]):
        assert line_jumps(halves(np.random.default_rng(2), slow, 0.01), EVERY, SHAPE, RADIUS) is None


def test_what_one_half_shows_is_specimen():
    place = halves(np.random.default_rng(3), np.zeros((ROWS, 2)), 0.01)
    place[::2] += np.random.default_rng(4).normal(0, 1.0, (ROWS, 2))
    assert line_jumps(place, EVERY, SHAPE, RADIUS) is None


def test_little_is_left_alone_and_more_of_it_for_a_large_disc():
    rng = np.random.default_rng(5)
    line = rng.normal(0, 1, (ROWS, 2))
    line /= np.sqrt(((np.diff(line, axis=0)) ** 2).sum(axis=1).mean() / 2)  # jumps of one pixel, root mean square
    assert line_jumps(halves(rng, 0.9 * LEAST_JUMP_PX * line, 0.001), EVERY, SHAPE, RADIUS) is None
    assert line_jumps(halves(rng, 1.1 * LEAST_JUMP_PX * line, 0.001), EVERY, SHAPE, RADIUS) is not None
    assert line_jumps(halves(rng, 1.1 * LEAST_JUMP_PX * line, 0.001), EVERY, SHAPE, 60.0) is None


def test_lines_that_were_not_visited_stay_where_they_are():
    rng = np.random.default_rng(6)
    line = rng.normal(0, 1, (ROWS, 2))
    points = EVERY.copy()
    points[68:] = 0
    points[31] = 8  # of 16: not more than half
    jumps = line_jumps(halves(rng, line + np.linspace(0, 9, ROWS)[:, None], 0.01), points, SHAPE, RADIUS)
    found = jumps.offset_px
    assert jumps.slow[1] == pytest.approx(4.5, abs=2.5), "the wander is that of the lines that were seen"
    missing = np.flatnonzero(~found.any(axis=1))
    assert missing.tolist() == [15, *range(34, ROWS)]
    assert found[:15].std() > 0.5
    points[20:] = 0
    assert line_jumps(halves(rng, line, 0.01), points, SHAPE, RADIUS) is None


@pytest.mark.parametrize("columns", [8, 9])
def test_halves_of_lines_are_told_apart(columns):
    half = halves_of(np.arange(3 * columns), (3, columns))
    count = np.bincount(half)
    assert count.tolist() == [columns - columns // 2, columns // 2] * 3
    assert (half[:columns] == (np.arange(columns) >= columns / 2)).all()
    rng = np.random.default_rng(8)
    line = rng.normal(0, 1, (ROWS, 2))
    few = np.tile([count[0] // 2 + 1, count[1] // 2 + 1], ROWS)
    assert line_jumps(halves(rng, line, 0.01), few, (ROWS, columns), RADIUS) is not None


def test_small_scans_and_huge_ones_are_not_looked_at():
    assert may_jump((16, 8))
    assert not may_jump((15, 8))
    assert not may_jump((16, 7))
    assert not may_jump((5000, 64))


def walk(rng, span_px, rows=ROWS):
    """A random walk from line to line that extends over ``span_px``."""
    steps = np.cumsum(rng.normal(0, 1, (rows, 2)), axis=0)
    return span_px * steps / np.linalg.norm(np.ptp(steps, axis=0))


def error_px(found, line):
    error = found.place_px - line
    return np.sqrt(((error - error.mean(axis=0)) ** 2).sum(axis=1).mean())


def test_a_drift_is_found_better_than_its_lines_are_measured_and_as_well_as_it_says():
    errors, ratios = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        line = walk(rng, 3.0)
        place = halves(rng, line, 0.2)
        assert line_jumps(place, EVERY, SHAPE, RADIUS) is None
        found = line_drift(place, EVERY, SHAPE, LEAST_JUMP_PX)
        errors.append(error_px(found, line))
        ratios.append(errors[-1] / found.uncertainty_px)
    assert np.mean(errors) < 0.18  # a line is measured to 0.2, both axes together
    assert np.mean(ratios) == pytest.approx(1.1, abs=0.1)


def test_lines_of_a_drift_that_were_not_visited_are_bridged():
    rng = np.random.default_rng(1)
    line, points = 2 * np.sin(np.linspace(0, 7, ROWS))[:, None] * [1.0, -0.5], EVERY.copy()
    place = halves(rng, line, 0.02)
    place[40:44], points[40:44] = 50.0, 0
    found = line_drift(place, points, SHAPE, LEAST_JUMP_PX)
    assert np.abs(found.place_px - line - (found.place_px - line).mean(axis=0)).max() < 0.2
    points[2 * 17 :] = 0
    assert line_drift(place, points, SHAPE, LEAST_JUMP_PX) is None


@pytest.mark.parametrize("noise", quick_first([0.1, 10.0, 0.02, 1.0], 2))
def test_noise_alone_does_not_drift(noise):
    rng = np.random.default_rng(7)
    parabola = np.outer(np.linspace(-1, 1, ROWS) ** 2, [3.0, 1.0])
    scans = [halves(rng, parabola, noise) for _ in range(300)]
    assert not any(line_drift(scan, EVERY, SHAPE, LEAST_JUMP_PX) for scan in scans)


def test_little_drift_is_left_alone():
    rng = np.random.default_rng(2)
    line = np.outer(np.sin(np.linspace(0, 12, ROWS)), [1.0, 0.0])
    place = halves(rng, line, 0.01)
    assert line_drift(place, EVERY, SHAPE, 0.6) is not None  # 0.7 px, root mean square
    assert line_drift(place, EVERY, SHAPE, 0.8) is None


def test_a_drift_that_the_centre_of_mass_saw_otherwise_is_specimen():
    rng = np.random.default_rng(3)
    line = walk(rng, 4.0)
    place = halves(rng, line, 0.02)
    assert line_drift(place, EVERY, SHAPE, LEAST_JUMP_PX, 0.4 * halves(rng, line, 0.02)) is not None
    assert line_drift(place, EVERY, SHAPE, LEAST_JUMP_PX, 0.6 * halves(rng, line, 0.02)) is None
