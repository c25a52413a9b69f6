"""Adam in PtyRAD's coordinates and units: steps against their formula, and the coordinates against differences."""

from dataclasses import replace

import numpy as np
import pytest
from engine_references import engine, finished, laid_out

from ptylive.engine.refine.engines.adam import BETA_1, BETA_2, EPS, Adam
from ptylive.engine.refine.parameters.parameter_vector import BlockName

RATES = {"adam_object_rate": 3e-3, "adam_probe_rate": 2e-4, "adam_position_rate": 1e-2}


@pytest.fixture
def made(small):
    return laid_out(small.dataset, optimizer="adam", epoch_max=3, batch_size=16, **RATES)


def coordinates(problem, rule, vector):
    """Modulus and phase of the object, and the probe in real space in PtyRAD's unit, as one vector."""
    transmission, modes = problem.layout.to_complex(vector)
    probe = np.fft.ifft2(modes.astype(complex), norm="ortho") / rule.largest
    parts = [abs(transmission), np.angle(transmission), probe.real, probe.imag]
    return np.concatenate([part.ravel() for part in parts])


def test_the_first_step_is_the_rate_in_each_coordinate(made):
    problem, preset, start = made
    solver = engine(problem, preset)
    after = solver.step(solver.init(start))
    rule, count = solver.rule, problem.layout.object_size // 2
    moved = np.abs(coordinates(problem, rule, after.vector) - coordinates(problem, rule, start))
    modulus, phase, probe = moved[:count], moved[count : 2 * count], moved[2 * count :]
    seen = np.abs(problem.layout.object_block(after.memory[0]).reshape(2, -1)) > 1e3 * EPS * (1 - BETA_1)
    np.testing.assert_allclose(modulus[seen[0]], RATES["adam_object_rate"], rtol=2e-3)  # eps relative to the gradient
    np.testing.assert_allclose(phase[seen[1]], RATES["adam_object_rate"], rtol=2e-3)
    assert seen.mean() > 0.5
    assert np.median(probe) == pytest.approx(RATES["adam_probe_rate"], rel=1e-2)


def test_the_gradient_is_that_of_the_root_mean_square_in_its_coordinates(small):
    """Compared with central differences of PtyRAD's loss over Adam's steps: 1e-3, as units are in single precision."""
    problem, preset, start = laid_out(small.dataset, absorbing=True, optimizer="adam", batch_size=16, **RATES)
    solver = engine(problem, preset, "complex128")
    rule, layout, indices = solver.rule, problem.layout, np.arange(0, 64, 4)
    at = solver.objective.evaluate(start.astype(float), indices)
    gradient = rule._in_coordinates(layout, start.astype(float), at.gradient, np)
    objective = solver.objective
    scale = rule._scale(type("Batch", (), {"indices": indices, "at": at}), np)
    move = 1e-6 * np.random.default_rng(2).standard_normal(layout.size)

    def loss(sign):
        moved = rule._moved(layout, start.astype(float), sign * move, np)
        total = objective.evaluate(moved, indices).loss
        return np.sqrt(total / (len(indices) * rule.pixels)) / rule.amplitude

    assert float(scale * (gradient @ -move)) == pytest.approx((loss(1) - loss(-1)) / 2, rel=1e-3)


def test_units_are_those_of_the_counts(small, made):
    problem, _, _ = made
    patterns = np.asarray(problem.multislice.patterns, float) * problem.multislice.weights
    rule = engine(*made[:2]).rule
    assert rule.amplitude == pytest.approx(np.sqrt(patterns).mean(), rel=1e-6)
    assert rule.largest == pytest.approx(np.sqrt(patterns.mean(0).max()), rel=1e-6)
    assert (rule.pixels, rule.rooted) == (24 * 24, True)


def test_moments_follow_their_recursion():
    """One phase parameter of the object: three steps computed by hand."""
    rule = Adam(0.1, 0.0, 0.0, 1.0, 1.0, 1, rooted=False)
    first = second = at = 0.0
    gradients, wanted = [0.3, -0.2, 0.05], []
    for t, g in enumerate(gradients, 1):
        first, second = BETA_1 * first + (1 - BETA_1) * g, BETA_2 * second + (1 - BETA_2) * g * g
        at -= 0.1 * (first / (1 - BETA_1**t)) / (np.sqrt(second / (1 - BETA_2**t)) + EPS)
        wanted.append(at)
    found, memory, vector = [], None, np.zeros(2)
    for t, g in enumerate(gradients):
        batch = replace_batch(vector, np.array([g, 0.0]))
        vector, memory = rule.stepped(batch, memory, t)
        found.append(vector[0])
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def replace_batch(vector, gradient):
    """A batch of one pattern with one pixel, for an object and a probe that each consist of one phase."""
    from types import SimpleNamespace

    from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
    from ptylive.engine.refine.parameters.probe_model import ProbeForm

    layout = SimpleNamespace(
        object_form=ObjectForm.PHASE,
        probe=SimpleNamespace(form=ProbeForm.PHASE),
        object_block=lambda v: v[:1],
        probe_block=lambda v: v[1:],
        other_blocks=lambda _: {},
    )
    objective = SimpleNamespace(layout=layout, xp=np, move_object=True, move_probe=True)
    at = SimpleNamespace(loss=1.0, gradient=gradient)
    return SimpleNamespace(objective=objective, vector=vector, indices=np.zeros(1, int), at=at)


@pytest.mark.parametrize(
    "values",
    [
        {"algorithm": "ml"},
        {"phase_only_obj": True, "update_probe_pos": True},
        {"num_slices": 2, "total_thickness_A": 20.0, "probe_modes": 2, "obj_modes": 2},
        {"weakly_damped_obj": True, "probe_part": "phase"},
    ],
    ids=" ".join,
)
def test_it_descends_whatever_is_refined(small, values):
    problem, preset, start = laid_out(small.dataset, optimizer="adam", epoch_max=4, batch_size=16, **RATES, **values)
    solver = engine(problem, preset)
    state = finished(solver, solver.init(start))
    assert state.losses[-1] < state.losses[1] < state.losses[0]
    if "update_probe_pos" in values:
        shifts = [problem.layout.other_blocks(one)[BlockName.SHIFTS] for one in (start, state.vector)]
        assert 0 < np.abs(shifts[1] - shifts[0]).max() <= 16 * RATES["adam_position_rate"] * 1.5


def test_what_is_fixed_stays_though_it_has_momentum(made):
    problem, preset, start = made
    solver = engine(problem, preset)
    state = solver.step(solver.init(start))
    fixed = replace(solver, objective=replace(solver.objective, move_object=False))
    after = fixed.step(state)
    np.testing.assert_array_equal(problem.layout.object_block(after.vector), problem.layout.object_block(state.vector))
