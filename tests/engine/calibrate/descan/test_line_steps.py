"""Steps in mid-scan and the two directions of a snake scan: found where and as large as they are, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.descan.line_jumps import line_jumps
from ptylive.engine.calibrate.descan.line_steps import (
    LEAST_STEP_PX,
    StepLimits,
    line_displacements,
    line_offsets,
)
from ptylive.schema import ScanHeader
from ptylive.schema.optics import Optics
from ptylive.schema.scan import Scan

ROWS, SHAPE, RADIUS = 48, (48, 32), 12.0
EVERY = np.full(2 * ROWS, 16)
R = np.arange(ROWS)


def halves(rng, line, noise=0.05):
    """Places of the pattern in both halves of lines."""
    return np.repeat(line, 2, axis=0) + rng.normal(0, noise, (2 * len(line), 2))


def offsets(place, points=EVERY, *, both_ways=False, radius=RADIUS, semiangle_mrad=25.0):
    header = ScanHeader("", "", 0, Scan(pattern="snake" if both_ways else "raster"))
    header = replace(header, optics=Optics(convergence_semiangle_mrad=semiangle_mrad))
    return line_offsets(place, points, (len(place) // 2, 32), radius, StepLimits.of(header, radius))


def step_at(line, height):
    return np.outer(line <= R, height)


def worst(found, line):
    """Largest error of a line's place, ignoring the mean."""
    error = found.place_px - line
    return np.abs(error - error.mean(axis=0)).max()


@pytest.mark.parametrize("at", [6, 20, 42])
def test_a_step_is_found_on_a_slow_wander(at):
    u = np.linspace(-1, 1, ROWS)[:, None]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        height = rng.choice([-1, 1], 2) * rng.uniform(0.4, 3.0, 2)
        line = step_at(at, height) + 3 * u * [1.0, -0.5] + u * u
        found = offsets(halves(rng, line))
        assert found is not None
        assert worst(found, line) < 0.12  # four standard errors of a step between six lines on each side, with slope


def test_three_steps_and_a_snake_together():
    rng = np.random.default_rng(1)
    line = step_at(10, [2.0, 0.0]) + step_at(24, [-1.0, 1.5]) + step_at(40, [0.0, -2.0])
    line[1::2] += [0.8, -0.3]
    found = offsets(halves(rng, line), both_ways=True)
    assert worst(found, line) < 0.2


def test_single_lines_that_jump_do_so_beside_a_step():
    rng = np.random.default_rng(2)
    jumps = rng.normal(0, 0.4, (ROWS, 2))
    line = jumps + step_at(20, [6.0, 0.0])
    found = offsets(halves(rng, line, 0.02))
    assert worst(found, line) < 0.2
    assert line_jumps(halves(rng, line, 0.02), EVERY, SHAPE, RADIUS) is None


def test_ways_are_told_apart_in_snakes_only():
    rng = np.random.default_rng(3)
    line = np.where(R[:, None] % 2, 1.0, 0.0) * [0.5, 0.2]
    assert worst(offsets(halves(rng, line), both_ways=True), line) < 0.05
    assert offsets(halves(rng, line)) is None


@pytest.mark.parametrize("noise", quick_first([0.1, 10.0, 0.02, 1.0], 2))
def test_noise_alone_is_none(noise):
    rng = np.random.default_rng(4)
    nothing = np.zeros((ROWS, 2))
    assert not any(offsets(halves(rng, nothing, noise), both_ways=True) for _ in range(300))


@pytest.mark.parametrize("seeds", quick_first([range(30), range(30, 100)]))
def test_what_lies_along_the_lines_makes_no_steps(seeds):
    """Wires, layers of any period and single lines; a film's edge makes a step, which only the disc's edge reveals."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        wide, first, second = rng.uniform(0.7, 4.0), *rng.uniform(3, ROWS - 3, 2)
        direction = rng.normal(0, 1, 2)
        wire = np.exp(-(((R - first) / wide) ** 2)) - np.exp(-(((R - second) / wide) ** 2))
        layers = np.sin(2 * np.pi * R / rng.uniform(2.3, 14) + rng.uniform(0, 6))
        films = np.sign(np.sin(2 * np.pi * R / rng.uniform(12, 16) + rng.uniform(0, 6)))
        alone = np.isin(R, rng.integers(0, ROWS, 3))
        for line in (wire, layers, films, alone):
            assert offsets(halves(rng, np.outer(line, 2 * direction)), both_ways=True) is None


def test_what_one_half_shows_is_specimen():
    place = halves(np.random.default_rng(5), np.zeros((ROWS, 2)), 0.01)
    place[::2] += step_at(20, [2.0, 0.0])
    assert offsets(place) is None
    place[1::2] += step_at(20, [1.4, 1.4])
    assert offsets(place) is None


def test_little_is_left_alone_and_more_of_it_for_a_large_disc():
    rng = np.random.default_rng(6)
    assert offsets(halves(rng, step_at(20, [0.8 * LEAST_STEP_PX, 0.0]), 0.005), radius=8.0) is None
    assert offsets(halves(rng, step_at(20, [1.2 * LEAST_STEP_PX, 0.0]), 0.005), radius=8.0) is not None
    assert offsets(halves(rng, step_at(20, [1.2 * LEAST_STEP_PX, 0.0]), 0.005), radius=60.0) is None


def test_lines_that_were_not_visited_count_for_nothing():
    rng = np.random.default_rng(7)
    line, points = step_at(20, [2.0, 1.0]), EVERY.copy()
    place = halves(rng, line)
    place[2 * 26 : 2 * 28], points[2 * 26 : 2 * 28] = 50.0, 0
    points[2 * 44 :] = 0
    found = offsets(place, points)
    assert worst(found, line) < 0.2
    points[2 * 20 :] = 0
    assert offsets(place, points) is None


def test_what_a_field_may_deflect_by_is_specimen():
    """Such as a magnetic domain along the lines; without a known semi-angle the deflection cannot be ruled out."""
    rng = np.random.default_rng(8)
    place = halves(rng, step_at(20, [3.0, 0.0]))
    assert offsets(place, semiangle_mrad=1.0) is not None  # 0.25 mrad
    assert offsets(place, semiangle_mrad=0.7) is None  # 0.18 mrad
    assert offsets(place, semiangle_mrad=None) is None
    assert offsets(halves(rng, np.outer(R % 2, [3.0, 0.0])), semiangle_mrad=0.7, both_ways=True) is not None


def test_what_lies_aslant_is_specimen():
    """A boundary that crosses eight lines on its way over the field, and one that is three lines wide."""
    rng = np.random.default_rng(9)
    left, right = (np.outer(np.clip((R - first) / 4, 0, 1), [3.0, 0.0]) for first in (18, 22))
    wide = np.outer(np.clip((R - 18) / 3, 0, 1), [3.0, 0.0])
    for place in (np.stack([left, right], axis=1).reshape(-1, 2), np.repeat(wide, 2, axis=0)):
        assert offsets(place + rng.normal(0, 0.02, place.shape)) is None


def test_a_drift_beside_a_step_is_found_but_not_one_that_a_field_may_cause():
    rng = np.random.default_rng(10)
    drift = 0.8 * np.sin(np.linspace(0, 9, ROWS))[:, None] * [1.0, -0.5]
    line = drift + step_at(20, [6.0, 0.0])
    limits = StepLimits(least_px=LEAST_STEP_PX, deflected_px=0.1)
    assert worst(line_offsets(halves(rng, line, 0.02), EVERY, SHAPE, RADIUS, limits), line) > 0.3
    assert worst(line_displacements(halves(rng, line, 0.02), EVERY, SHAPE, RADIUS, limits), line) < 0.2
    for at_most in (StepLimits(deflected_px=1.0), StepLimits()):
        assert line_displacements(halves(rng, drift, 0.02), EVERY, SHAPE, RADIUS, at_most) is None
