"""Sweeps and L-BFGS as pure functions of their state, on a small problem in double precision."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from combinations import every_two

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm, ParameterLayout
from ptylive.engine.refine.parameters.probe_model import ProbeForm, ProbeModel
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers import pairs
from ptylive.engine.refine.solvers.backtracking import BacktrackingSearch, FactorOfEachQuantity
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.engine.refine.solvers.line_search import Point, WolfeSearch
from ptylive.engine.refine.solvers.objective import Evaluation, Objective
from ptylive.engine.refine.solvers.sweeps import MEAN_RISE, MOST_HALVINGS, Sweeps
from ptylive.schema.preset import Preset

SEARCH = WolfeSearch(1e-4, 0.9, 8)
RULE = Descent(SEARCH)


@pytest.fixture
def setup(small):
    return prepare(small.dataset, Preset(window_px=24, probe_modes=2), None)


@pytest.fixture
def objective(setup):
    backend = GeneralMultislice(setup.multislice, np, "complex64", "arrays")
    return Objective(backend, setup.layout, setup.multislice.count)


SWEEPS, BATCHES = 3, 48


def sweeps_for(objective, **changes):
    settings = Sweeps(objective, SWEEPS, 0, BATCHES, 0.5, 0.1, seed=0)
    return replace(settings, **changes)


def run(solver, state):
    """Step to the end. Each sweep is kept or undone with half the steps, which is given up after MOST_HALVINGS."""
    for _ in range(BATCHES * (SWEEPS + MOST_HALVINGS + 1)):
        if solver.finished(state):
            break
        state = solver.step(state)
    assert solver.finished(state)
    return state


def test_phase_only_gradient_equals_central_differences(setup):
    problem = setup.multislice
    layout = setup.layout
    backend = GeneralMultislice(problem, np, "complex128", "reference")
    objective = Objective(backend, layout, problem.count)
    rng = np.random.default_rng(0)
    vector = setup.start.astype(np.float64)
    vector[: layout.object_size] = 0.3 * rng.random(layout.object_size)
    direction = rng.normal(size=vector.size)
    direction[layout.object_size :] *= np.abs(vector[layout.object_size :])
    h = 1e-4
    at = [objective.evaluate(vector + k * h * direction).loss for k in (-2, -1, 1, 2)]
    expected = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)
    # double precision: truncation and rounding leave 1e-8
    assert float(objective.evaluate(vector).gradient @ direction) == pytest.approx(expected, rel=1e-6)


def test_sweeps_lower_the_loss_and_leave_their_input_alone(setup, objective):
    solver = sweeps_for(objective)
    first = solver.init(setup.start)
    copy = setup.start.copy()
    last = run(solver, first)
    np.testing.assert_array_equal(setup.start, copy)
    assert len(last.losses) == 3
    assert last.losses[2] < last.losses[0]
    assert (last.vector[: setup.layout.object_size] >= 0).all()


def test_a_state_always_leads_to_the_same_next_state(setup, objective):
    solver = sweeps_for(objective)
    state = solver.step(solver.init(setup.start))
    np.testing.assert_array_equal(solver.step(state).vector, solver.step(state).vector)


def test_probe_sweeps_leave_the_object_alone(setup, objective):
    state = run(sweeps_for(objective, sweeps=1, probe_sweeps=1), sweeps_for(objective).init(setup.start))
    size = setup.layout.object_size
    np.testing.assert_array_equal(state.vector[:size], setup.start[:size])
    assert not np.array_equal(state.vector[size:], setup.start[size:])


def test_a_diverging_sweep_is_undone_with_half_the_step(setup, objective):
    state = run(sweeps_for(objective, object_step=60.0, probe_step=3.9), sweeps_for(objective).init(setup.start))
    assert 0 < state.halvings
    assert state.halvings > MOST_HALVINGS or all(np.diff(state.losses) < MEAN_RISE * state.losses[0])
    assert np.isfinite(state.vector).all()


@pytest.mark.parametrize("object_step", [30.0, 60.0])
def test_the_first_sweep_is_judged_too(setup, objective, object_step):
    solver = sweeps_for(objective, sweeps=1, object_step=object_step, probe_step=object_step / 15)
    state = run(solver, solver.init(setup.start))
    assert state.halvings > 0
    assert objective.evaluate(state.vector).loss < objective.evaluate(setup.start).loss


def test_a_last_sweep_that_ends_above_its_start_is_undone(setup, objective):
    """Its mean may still lie below that of the previous sweep."""
    calm = sweeps_for(objective, sweeps=1)
    before = run(calm, calm.init(setup.start))
    wild = sweeps_for(objective, sweeps=2, object_step=60.0, probe_step=3.9)
    state = run(wild, replace(before, losses=(1e9,)))
    assert state.halvings > 0
    assert objective.evaluate(state.vector).loss < objective.evaluate(before.vector).loss


def test_a_loss_that_is_not_finite_restores_the_start(setup, objective):
    @dataclass(frozen=True)
    class Broken(Objective):
        def evaluate(self, vector, indices=None):
            return Evaluation(float("nan"), np.full_like(vector, np.nan))

    broken = Broken(objective.backend, objective.layout, objective.patterns)
    state = run(sweeps_for(broken), sweeps_for(broken).init(setup.start))
    np.testing.assert_array_equal(state.vector, setup.start)
    lbfgs = Lbfgs(broken, 3, 10, RULE, 0.2, 0.1)
    assert lbfgs.finished(lbfgs.init(setup.start))


@pytest.mark.parametrize(("anchor", "history", "phase_only"), every_two([0.0, 0.1], [0, 5], [True, False]))
def test_lbfgs_lowers_the_loss_at_every_epoch(small, anchor, history, phase_only):
    preset = Preset(window_px=24, probe_modes=1, phase_only_obj=phase_only)
    setup = prepare(small.dataset, preset, None)
    objective = Objective(
        GeneralMultislice(setup.multislice, np, "complex64", "cpu"), setup.layout, setup.multislice.count
    )
    solver = Lbfgs(objective, 8, history, RULE, 0.2, anchor)
    state = run(solver, solver.init(setup.start))
    assert len(state.losses) == 8
    assert (np.diff(state.losses) < 0).all()
    # eight epochs reach 0.59 to 0.67 of it; standing still is 1
    assert state.losses[-1] < 0.9 * objective.evaluate(setup.start).loss / setup.multislice.count
    assert len(state.pairs) <= max(history, 1)  # one pair gives the size of a step even without a history
    if setup.layout.non_negative:
        assert (setup.layout.object_block(state.vector) >= 0).all()


@pytest.mark.parametrize("rule", [RULE, Descent(BacktrackingSearch(1e-4, 0.9, 20), FactorOfEachQuantity())])
def test_lbfgs_with_packed_pairs_ends_where_it_does_with_whole_ones(small, rule, monkeypatch):
    setup = prepare(small.dataset, Preset(window_px=24, probe_modes=1, phase_only_obj=False), None)
    backend = GeneralMultislice(setup.multislice, np, "complex64", "cpu")
    objective = Objective(backend, setup.layout, setup.multislice.count)
    solver = Lbfgs(objective, 10, 5, rule, 0.2, 0.0)
    exact = run(solver, solver.init(setup.start.astype(np.float32)))
    monkeypatch.setattr(pairs, "LONG", 1)
    packed = run(solver, solver.init(setup.start.astype(np.float32)))
    assert all(isinstance(part, pairs.Packed) for pair in packed.pairs for part in pair)
    assert (np.diff(packed.losses) < 0).all()
    # a curvature off by 1e-5 changes steps by as much, and the gain of an epoch, and so the loss, by less
    assert packed.losses[-1] == pytest.approx(exact.losses[-1], rel=1e-3)


def test_held_parameters_are_those_pushed_through_their_bound(setup, objective):
    vector, gradient = setup.start.copy(), np.ones_like(setup.start)
    vector[1] = 0.5
    gradient[2] = -1
    at_bound = objective.at_bound(vector, gradient)
    assert at_bound[0]
    assert not at_bound[1]
    assert not at_bound[2]
    assert not at_bound[setup.layout.object_size :].any()


class Valley:
    """Rosenbrock's function, with the interface that a line search expects of an objective."""

    xp = np
    dot = staticmethod(np.dot)
    layout = ParameterLayout(
        ObjectForm.COMPLEX, False, (1, 1, 1), 1, ProbeModel(ProbeForm.COMPLEX, np.zeros((0, 1, 1), complex))
    )

    @staticmethod
    def project(vector):
        return vector

    @staticmethod
    def evaluate(vector):
        x, y = vector
        gradient = np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])
        return Evaluation((1 - x) ** 2 + 100 * (y - x * x) ** 2, gradient)


@pytest.mark.parametrize("length", [1e-4, 1e-2, 1.0, 30.0])
@pytest.mark.parametrize("start", [(-1.2, 1.0), (0.0, 0.0), (2.0, -3.0)])
def test_line_search_meets_both_wolfe_conditions(start, length):
    here = np.array(start)
    at = Valley.evaluate(here)
    direction = -length * at.gradient / np.linalg.norm(at.gradient)
    rule = WolfeSearch(1e-4, 0.9, 40)
    found = rule.along(Valley(), Point(here, at.loss, at.gradient), direction)
    assert found.point is not None
    derivative = at.gradient @ direction
    step = (found.point.vector - here) @ direction / (direction @ direction)
    assert found.point.loss <= at.loss + rule.c1 * step * derivative
    assert found.point.gradient @ direction >= rule.c2 * derivative
    assert found.evaluations < 25  # of 40: trebling or halving from 1e-4 to 1 takes 9 to 14, and as many to close in


def test_line_search_gives_up_uphill():
    here = np.array([1.0, 1.0])
    at = Valley.evaluate(np.array([1.0, 1.1]))
    found = SEARCH.along(Valley(), Point(here, Valley.evaluate(here).loss, at.gradient), -at.gradient)
    assert found.point is None
    assert found.evaluations == SEARCH.max_count
