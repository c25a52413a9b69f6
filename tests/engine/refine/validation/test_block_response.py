"""Noise response of the phase where it is solved for: against sums by hand, and for a uniform specimen."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.validation import block_response as module
from ptylive.engine.refine.validation import noise_response
from ptylive.engine.refine.validation.block_response import (
    RingVariance,
    between_positions,
    compared,
    middle_patterns,
    solved,
    unevenness,
)
from ptylive.engine.refine.validation.noise_response import measured_response
from ptylive.schema.preset import Preset

CPU = TrialContext("cpu")
PLAIN = {"num_slices": 1, "probe_modes": 1, "phase_only_obj": True, "algorithm": "ml", "loss_floor": 1e-9}


def flat(side: int, variance: float = 1.0, light: float = 10.0) -> RingVariance:
    ones = np.ones((side, side))
    return RingVariance(variance * ones, ones, ones < 0, light * ones)


def halves(side: int) -> np.ndarray:
    """Almost nothing on the left, atoms on the right; all phases differ."""
    rows, cols = np.indices((side, side))
    return np.where(cols < side // 2, 0.0, 0.5) + 1e-4 * rows / side


def test_conjugate_gradients_solve_as_many_unknowns_as_steps():
    rng = np.random.default_rng(2)
    n = module.STEPS
    root = rng.normal(size=(n, n))
    curvature, force = root @ root.T + np.eye(n), rng.normal(size=(1, n))
    found = solved(lambda x: (curvature @ x.ravel()).reshape(1, n), force, np.full((1, n), 0.3))
    np.testing.assert_allclose(found.ravel(), np.linalg.solve(curvature, force.ravel()), rtol=1e-6)


def test_what_bends_downwards_ends_them():
    assert not solved(lambda x: -x, np.ones((2, 3)), np.ones((2, 3))).any()
    assert not solved(lambda x: x, np.zeros((2, 3)), np.ones((2, 3))).any()


def test_atoms_that_scatter_more_get_a_factor_of_their_own():
    phase, rng = halves(200), np.random.default_rng(3)
    moved = np.where(phase > 0.2, np.sqrt(2.0), 1.0) * rng.normal(size=(2, 200, 200))
    rings = flat(200)
    found = compared(phase, moved, rings.light, rings, phase < 1)
    factor = found.at(phase)
    # each class has 16000 values: 1 % of a variance, and three of them
    assert factor[:, :80] == pytest.approx(np.ones((200, 80)), rel=0.04)
    assert factor[:, 120:] == pytest.approx(np.full((200, 80), 2.0), rel=0.04)


def test_patterns_that_shed_some_of_the_light_move_a_pixel_more():
    phase, moved = np.tile(np.linspace(0, 1, 200), (200, 1)), np.ones((1, 200, 200))
    rings = flat(200)
    some = compared(phase, moved, 0.8 * rings.light, rings, phase < 2)
    np.testing.assert_allclose(some.factor, 0.8)
    assert compared(phase, moved, 0.4 * rings.light, rings, phase < 2) is None


def test_what_lies_at_the_bound_and_beside_the_scan_does_not_count():
    phase, moved = np.tile(np.linspace(0, 1, 200), (200, 1)), np.ones((1, 200, 200))
    rings, left = flat(200), np.arange(200) < 100
    moved[..., 100:] = 100.0
    assert compared(phase, moved, rings.light, rings, phase < 0.5).factor == pytest.approx(1.0)
    held = replace(rings, held=np.broadcast_to(~left, phase.shape))
    assert compared(phase, moved, rings.light, held, phase < 2).factor == pytest.approx(1.0)
    unsure = replace(rings, free=np.where(left, 1.0, 0.0) * np.ones((200, 1)))
    assert compared(phase, moved, rings.light, unsure, phase < 0.6).factor[0] == pytest.approx(1.0)


def test_too_few_pixels_say_nothing():
    rings = flat(14)
    assert compared(halves(14), np.ones((1, 14, 14)), rings.light, rings, halves(14) < 1) is None


@pytest.fixture(scope="module")
def counted(simulated):
    """A problem, parameters, and patterns counted from exactly these: a random object, as uniform as possible."""
    problem = prepare(simulated.dataset, Preset.from_mapping({**PLAIN, "non_negative_phase": False}), None)
    vector = problem.start.copy()
    problem.layout.object_block(vector)[:] = 0.1 * np.random.default_rng(4).normal(size=problem.layout.object_size)
    physical = problem.layout.physical(vector, np)
    with closing(CompiledMultislice(replace(problem.multislice, model=None))) as backend:
        mean = backend.intensities(physical.object, physical.probe)
        light = 100 * backend.illumination(physical.probe)
    patterns = np.random.default_rng(5).poisson(100 * np.maximum(mean, 0)).astype(np.uint16)
    probe = problem.layout.probe_block(vector)
    probe *= 10.0
    return replace(problem, multislice=replace(problem.multislice, patterns=patterns)), vector, light


def test_an_even_specimen_scatters_as_rings_say(counted, monkeypatch):
    problem, vector, light = counted
    monkeypatch.setattr(module, "DRAWS", 8)
    monkeypatch.setattr(noise_response, "SHARE", 1.0)
    response = measured_response(problem, vector, CPU, 0, 1.0)
    power = (response.pixels * response.noise / np.maximum(response.curvature, 0.1) ** 2)[2:].sum()
    rings = RingVariance(power / np.maximum(light, 1e-3), np.ones(light.shape), np.zeros(light.shape, bool), light)
    factor = unevenness(problem, vector, CPU, 0, 1.0, rings)[between_positions(problem)]
    # few patterns overlap here, so curvatures vary within a ring: the mean inverse is a third larger
    assert 0.8 < np.median(factor) < 1.8


def test_several_slices_and_strengths_are_left_to_rings(simulated):
    for form in ({"num_slices": 2, "total_thickness_A": 20.0}, {"phase_only_obj": False}):
        problem = prepare(simulated.dataset, Preset.from_mapping({**PLAIN, **form}), None)
        shape = problem.layout.object_shape[1:]
        rings = RingVariance(np.ones(shape), np.ones(shape), np.zeros(shape, bool), np.ones(shape))
        assert unevenness(problem, problem.start, CPU, 0, 1.0, rings) is None


def test_a_square_of_patterns_in_the_middle(counted, monkeypatch):
    problem, _, _ = counted
    assert len(middle_patterns(problem)) == problem.multislice.count
    monkeypatch.setattr(module, "FEWEST", 16)
    chosen = middle_patterns(problem)
    assert len(np.unique(chosen)) == 16
    spread = np.ptp(problem.positions_A[chosen], axis=0)
    assert (spread < 0.5 * np.ptp(problem.positions_A, axis=0)).all()
