"""PyPty's optimiser: histories, block factors, steps extended and cut."""

from dataclasses import replace
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.backtracking import BacktrackingSearch, FactorOfEachQuantity, block_scaled
from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.engine.refine.solvers.line_search import Point, WolfeSearch
from ptylive.engine.refine.solvers.objective import Evaluation, Objective
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

SEARCH = BacktrackingSearch(0.1, 0.9, 20)
PYPTY = Descent(SEARCH, FactorOfEachQuantity())
WOLFE = Descent(WolfeSearch(1e-4, 0.9, 8))
EVERYTHING = 100_000
MORE = [*product([PYPTY], [1, EVERYTHING]), *product([WOLFE], [0, 5])]


@pytest.fixture
def setup(small):
    preset = Preset(window_px=24, probe_modes=1, phase_only_obj=False, update_beam_current=True)
    return prepare(small.dataset, preset, None)


@pytest.fixture
def objective(setup):
    backend = GeneralMultislice(setup.multislice, np, "complex64", "arrays")
    return Objective(backend, setup.layout, setup.multislice.count)


def losses(objective, start, history, rule):
    solver = Lbfgs(objective, 8, history, rule, 0.2, 0.0)
    state = solver.init(start)
    found = [state.loss / objective.patterns]
    while not solver.finished(state):
        state = solver.step(state)
    return found + list(state.losses), state


@pytest.mark.parametrize(
    ("rule", "history"),
    quick_first([*product([PYPTY], [0, 5]), *product([WOLFE], [1, EVERYTHING]), *MORE], 4),
)
def test_every_history_lowers_the_loss_at_every_epoch(setup, objective, history, rule):
    found, state = losses(objective, setup.start, history, rule)
    assert len(found) == 9
    assert all(np.diff(found) < 0)
    assert len(state.pairs) <= max(history, 1)
    assert len(state.pairs) == min(8, max(history, 1))


def test_pairs_lower_the_loss_faster_than_steepest_descent(setup, objective):
    steepest, _ = losses(objective, setup.start, 0, PYPTY)
    lbfgs, _ = losses(objective, setup.start, 10, PYPTY)
    assert lbfgs[-1] < steepest[-1]


def test_first_step_gives_every_quantity_the_derivative_of_the_object(setup, objective):
    layout = setup.layout
    gradient = objective.evaluate(setup.start).gradient
    step = block_scaled(layout, np.ones(layout.size), (), gradient, np)
    ends = np.cumsum([0, layout.object_size, layout.probe_size, layout.blocks[0].start.size])
    parts = [slice(a, b) for a, b in pairwise(ends)]
    derivatives = [float(step[part] @ gradient[part]) for part in parts]
    assert derivatives == pytest.approx([derivatives[0]] * 3, rel=1e-3)  # sums of some 3000 terms in single precision
    np.testing.assert_allclose(step[parts[0]], 0.5 * gradient[parts[0]], rtol=1e-6)  # dL/dO* for a complex object


def test_a_gradient_that_is_rounding_is_not_scaled_up(setup, objective):
    layout = setup.layout
    probe = slice(layout.object_size, layout.object_size + layout.probe_size)
    gradient = objective.evaluate(setup.start).gradient
    for size, moves in ((1e-7, False), (1e-4, True)):
        weak = gradient.copy()
        weak[probe] *= size * np.linalg.norm(gradient[: layout.object_size]) / np.linalg.norm(gradient[probe])
        assert block_scaled(layout, np.ones(layout.size), (), weak, np)[probe].any() == moves


def test_later_steps_have_a_factor_for_each_quantity(setup):
    layout = setup.layout
    rng = np.random.default_rng(0)
    s, y, gradient = (rng.normal(size=layout.size) for _ in range(3))
    s[: layout.object_size] = 0.3 * y[: layout.object_size]
    s[layout.object_size + layout.probe_size :] = 0.7 * y[layout.object_size + layout.probe_size :]
    step = block_scaled(layout, np.ones(layout.size), ((s, y),), gradient, np)
    assert step[0] == pytest.approx(0.6 * gradient[0])  # complex: doubled
    assert step[-1] == pytest.approx(0.7 * gradient[-1])  # real


def test_accepted_steps_fulfil_the_first_condition(setup, objective):
    result = objective.evaluate(setup.start)
    start = Point(setup.start, result.loss, result.gradient)
    direction = -block_scaled(setup.layout, np.ones(setup.layout.size), (), result.gradient, np)
    for first in (1e-6, 1.0, 1e4):
        found = replace(SEARCH, first_step=first, max_count=40).along(objective, start, direction)
        assert found.point is not None
        expected = float(result.gradient @ (found.point.vector - start.vector))
        assert found.point.loss <= start.loss + SEARCH.c1 * expected


def test_no_step_is_found_uphill_or_below_the_shortest(setup, objective):
    result = objective.evaluate(setup.start)
    start = Point(setup.start, result.loss, result.gradient)
    short = replace(SEARCH, min_step=0.5).along(objective, start, result.gradient)
    assert short.point is None
    assert short.evaluations == 1


def test_a_run_as_pypty_makes_it(small):
    preset = Preset.from_mapping(
        {"optimizer": "pypty", "sweeps": 0, "epoch_max": 12, "algorithm": "lsq_sqrt", "loss_offset": 0.0}
        | {"wolfe_c1_constant": 0.1, "max_count": 20, "probe_modes": 1, "phase_only_obj": False, "hist_length": 1000}
    )
    result = refine(small.dataset, preset, backend="cpu")
    assert result.phases == ("lbfgs",) * 12
    assert all(np.diff(result.loss) < 0)
    with pytest.raises(MetadataError, match="reduce_factor"):
        Preset.from_mapping({"reduce_factor": 2})


BOWL = SimpleNamespace(
    xp=np,
    dot=np.dot,
    layout=SimpleNamespace(lower_bounds=tuple),
    project=lambda vector: vector,
    evaluate=lambda vector: Evaluation(float(vector @ vector), 2 * vector),
)
"""x^2 in double precision."""


@pytest.mark.parametrize(
    ("search", "first_step", "expected"),
    [
        # from 1 along -1: (1 - t)^2 <= 1 - 1.8 t up to t = 0.2, so a step of 1, to the minimum, is cut to a tenth
        (replace(SEARCH, c1=0.9), 1.0, 0.1),
        # 2 (1 - t) <= 0.2 from t = 0.9 on: 0.01 is trebled up to 0.81; 2.43 lies uphill
        (replace(SEARCH, c1=1e-4, c2=0.1), 0.01, 0.81),
    ],
)
def test_steps_are_cut_and_extended_as_the_conditions_say(search, first_step, expected):
    start = Point(np.ones(1), 1.0, 2 * np.ones(1))
    found = replace(search, first_step=first_step).along(BOWL, start, -np.ones(1))
    assert found.point is not None
    # steps are rounded to single precision
    np.testing.assert_allclose(start.vector - found.point.vector, expected, rtol=1e-6)


def test_the_factors_are_those_of_the_newest_pair(setup):
    rng = np.random.default_rng(1)
    older, newer = ((rng.normal(size=setup.layout.size),) * 2, (rng.normal(size=setup.layout.size),) * 2)
    newer = (0.4 * newer[0], newer[1])
    gradient = rng.normal(size=setup.layout.size)
    assert block_scaled(setup.layout, np.ones(setup.layout.size), (older, newer), gradient, np)[-1] == pytest.approx(
        0.4 * gradient[-1]
    )
