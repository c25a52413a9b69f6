"""Search and scaling of L-BFGS: each chosen separately by the preset, and any combination works."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.solvers.backtracking import BacktrackingSearch, FactorOfEachQuantity
from ptylive.engine.refine.solvers.descent import Descent, KnownCurvature
from ptylive.engine.refine.solvers.lbfgs import Lbfgs
from ptylive.engine.refine.solvers.line_search import WolfeSearch
from ptylive.engine.refine.solvers.objective import Evaluation
from ptylive.schema.preset.solver import SolverSettings

CURVATURE = np.array([1.0, 4.0, 25.0, 100.0])


class Quadratic:
    """A parabola in four variables that all belong to the object; the curvatures are known to within a factor of 2."""

    xp, count, terms = np, 1, ()
    layout = SimpleNamespace(
        object_block=lambda vector: vector,
        lower_bounds=lambda: [],
        quantities=lambda: [(slice(0, 4), False), (slice(4, 4), False)],
    )

    def dot(self, a, b):
        return np.dot(a, b)

    def evaluate(self, vector):
        away = vector - 1
        return Evaluation(0.5 * float(away @ (CURVATURE * away)), CURVATURE * away)

    def project(self, vector):
        return vector

    def at_bound(self, vector, gradient):
        return np.zeros(vector.shape, bool)

    def inverse_curvature(self, vector, probe_step):
        return np.array([2.0, 1.0, 1.0, 0.5]) / CURVATURE


@pytest.mark.parametrize(
    ("optimizer", "search", "scaling"),
    [("scaled", WolfeSearch, KnownCurvature), ("pypty", BacktrackingSearch, FactorOfEachQuantity)],
)
def test_a_preset_chooses_both(optimizer, search, scaling):
    chosen = Descent.of(SolverSettings(optimizer=optimizer, wolfe_c1_constant=0.3, max_count=7))
    assert type(chosen.search) is search
    assert type(chosen.scaling) is scaling
    assert (chosen.search.c1, chosen.search.max_count) == (0.3, 7)


def test_another_optimiser_is_none_of_these():
    with pytest.raises(KeyError, match="newton"):
        Descent.of(SolverSettings().model_copy(update={"optimizer": "newton"}))


@pytest.mark.parametrize("search", [WolfeSearch(1e-4, 0.9, 30), BacktrackingSearch(1e-4, 0.9, 30)])
@pytest.mark.parametrize("scaling", [KnownCurvature(), FactorOfEachQuantity()])
def test_any_search_goes_with_any_scaling(search, scaling):
    solver = Lbfgs(Quadratic(), 40, 5, Descent(search, scaling), 1.0, 0.0)
    state = solver.init(np.zeros(4))
    losses = [state.loss]
    while not solver.finished(state):
        state = solver.step(state)
        losses.append(state.loss)
    assert (np.diff(losses) <= 0).all()
    # steps are in single precision: a gradient is known to 6e-8 of its initial size
    np.testing.assert_allclose(state.vector, 1.0, atol=1e-4)


def test_the_known_curvature_takes_its_size_from_the_newest_pair():
    objective, known = Quadratic(), 1 / CURVATURE
    s = np.array([1.0, -2.0, 0.5, 1.0])
    pairs = ((s, s), (s, 3 * CURVATURE * s))
    gradient = np.arange(4.0)
    np.testing.assert_allclose(KnownCurvature().scaled(objective, known, (), gradient), gradient / CURVATURE)
    np.testing.assert_allclose(KnownCurvature().scaled(objective, known, pairs, gradient), gradient / (3 * CURVATURE))
