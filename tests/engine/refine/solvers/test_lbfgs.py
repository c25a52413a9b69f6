"""L-BFGS as an optimiser: against the dense BFGS matrix, on quadratics, and against scipy's on textbook functions."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize

from ptylive.engine.refine.solvers.descent import Descent
from ptylive.engine.refine.solvers.lbfgs import Lbfgs, LbfgsState
from ptylive.engine.refine.solvers.line_search import EDGE, GROWTH, Point, WolfeSearch, _parabola, _secant, tangent_of
from ptylive.engine.refine.solvers.objective import Evaluation

EXACT = WolfeSearch(0.5 - 1e-9, 1e-6, 60)
"""On a parabola c1 = 1/2 permits no step beyond the minimum, and a small c2 none short of it."""
ORDINARY = WolfeSearch(1e-4, 0.9, 40)


class AllObject:
    """The part of a layout that the solver uses, with every parameter belonging to the object."""

    @staticmethod
    def object_block(vector):
        return vector

    @staticmethod
    def lower_bounds():
        return []


@dataclass(frozen=True)
class Landscape:
    """A function of a few variables with the interface that the solver expects of an objective, in double precision."""

    function: object
    """Maps x to (value, gradient)."""
    scaling: object = None
    """Known inverse curvature (n,); None means 1."""
    xp = np
    dot = staticmethod(np.dot)
    layout = AllObject()
    count = 1
    terms = ()

    def evaluate(self, vector):
        return Evaluation(*self.function(vector))

    def project(self, vector):
        return vector

    def at_bound(self, vector, gradient):
        return np.zeros(vector.shape, bool)

    def inverse_curvature(self, vector, probe_step):
        return np.ones_like(vector) if self.scaling is None else self.scaling


def solver(landscape, epochs, history, rule):
    return Lbfgs(landscape, epochs, history, Descent(rule), probe_step=1.0, anchor=0.0)


def quadratic(hessian, minimum):
    return lambda x: (0.5 * (x - minimum) @ hessian @ (x - minimum), hessian @ (x - minimum))


def positive_definite(rng, n, condition):
    """A random symmetric matrix with eigenvalues from 1 to ``condition``."""
    axes, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return axes @ np.diag(np.geomspace(1.0, condition, n)) @ axes.T


def dense_inverse(pairs, scaling):
    """The BFGS update of the inverse matrix, written out (Nocedal and Wright, equation 6.17)."""
    s, y = pairs[-1]
    matrix = np.diag(scaling) * (s @ y) / (y @ (scaling * y))
    for s, y in pairs:
        rho = 1 / (y @ s)
        left = np.eye(len(s)) - rho * np.outer(s, y)
        matrix = left @ matrix @ left.T + rho * np.outer(s, s)
    return matrix


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pairs", [1, 2, 7])
def test_direction_is_the_dense_inverse_times_the_gradient(seed, pairs):
    rng = np.random.default_rng(seed)
    n = 9
    hessian, scaling = positive_definite(rng, n, 30.0), rng.uniform(0.3, 3.0, n)
    steps = rng.normal(size=(pairs, n))
    kept = tuple((s, hessian @ s) for s in steps)
    gradient = rng.normal(size=n)
    state = LbfgsState(np.zeros(n), 0.0, gradient, scaling, np.zeros(n), kept)
    landscape = Landscape(quadratic(hessian, np.zeros(n)), scaling)
    direction = solver(landscape, 1, pairs, ORDINARY)._direction(state)
    expected = -dense_inverse(kept, scaling) @ gradient
    # each of ~50 products rounds to 1e-16; the matrices' condition of 30 x 100 magnifies this to some 1e-12
    np.testing.assert_allclose(direction, expected, rtol=0, atol=1e-10 * np.linalg.norm(expected))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [2, 5, 12])
def test_a_convex_quadratic_takes_at_most_one_step_more_than_it_has_unknowns(seed, n):
    """With all pairs kept and exact line searches, directions are conjugate: n steps, plus one for rounding."""
    rng = np.random.default_rng(seed)
    minimum = rng.normal(size=n)
    landscape = Landscape(quadratic(positive_definite(rng, n, 50.0), minimum), rng.uniform(0.5, 2.0, n))
    lbfgs = solver(landscape, n + 1, n + 1, EXACT)
    state = start = lbfgs.init(minimum + rng.normal(size=n))
    while not lbfgs.finished(state) and state.loss > 1e-14 * start.loss:
        state = lbfgs.step(state)
    # step lengths are rounded to single precision (6e-8), so a line's minimum is met to ~1e-7 and the last to ~1e-5
    assert np.linalg.norm(state.gradient) < 1e-5 * np.linalg.norm(start.gradient)


def rosenbrock(x):
    return scipy.optimize.rosen(x), scipy.optimize.rosen_der(x)


def beale(x):
    a, b = x
    terms = np.array([1.5 - a + a * b, 2.25 - a + a * b**2, 2.625 - a + a * b**3])
    by = np.array([[b - 1, a], [b**2 - 1, 2 * a * b], [b**3 - 1, 3 * a * b**2]])
    return terms @ terms, 2 * terms @ by


def wood(x):
    a, b, c, d = x
    value = 100 * (b - a * a) ** 2 + (1 - a) ** 2 + 90 * (d - c * c) ** 2 + (1 - c) ** 2
    value += 10.1 * ((b - 1) ** 2 + (d - 1) ** 2) + 19.8 * (b - 1) * (d - 1)
    gradient = [
        -400 * a * (b - a * a) - 2 * (1 - a),
        200 * (b - a * a) + 20.2 * (b - 1) + 19.8 * (d - 1),
        -360 * c * (d - c * c) - 2 * (1 - c),
        180 * (d - c * c) + 20.2 * (d - 1) + 19.8 * (b - 1),
    ]
    return value, np.array(gradient)


TEXTBOOK = [
    (rosenbrock, [-1.2, 1.0], [1.0, 1.0]),
    (rosenbrock, [-1.2, 1.0, -1.2, 1.0, 0.5], [1.0] * 5),
    (beale, [1.0, 1.0], [3.0, 0.5]),
    (wood, [-3.0, -1.0, -3.0, -1.0], [1.0] * 4),
]


@pytest.mark.parametrize(("function", "start", "minimum"), TEXTBOOK)
def test_textbook_functions_are_minimised_as_by_scipy(function, start, minimum):
    settings = {"maxcor": 10, "ftol": 0.0, "gtol": 1e-9, "maxiter": 400, "maxfun": 4000}
    theirs = scipy.optimize.minimize(function, start, jac=True, method="L-BFGS-B", options=settings)
    lbfgs = solver(Landscape(function), 400, 10, ORDINARY)
    state = lbfgs.init(np.array(start))
    while not lbfgs.finished(state) and np.abs(state.gradient).max() > 1e-7:
        state = lbfgs.step(state)
    # curvatures are at least 0.1 at these minima: a gradient of 1e-7 displaces the minimum by at most 1e-6
    np.testing.assert_allclose(state.vector, minimum, atol=2e-6)
    np.testing.assert_allclose(state.vector, theirs.x, atol=1e-5)
    assert state.evaluations <= 3 * theirs.nfev  # both count evaluations of value and gradient


def bumpy(rng):
    """A random function of two variables with ripples, bounded below."""
    waves, phases = rng.normal(size=(6, 2)) * 3, rng.uniform(0, 2 * np.pi, 6)

    def function(x):
        angle = waves @ x + phases
        return 0.5 * x @ x + 0.3 * np.sin(angle).sum(), x + 0.3 * np.cos(angle) @ waves

    return function


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rule", [replace(ORDINARY, c1=0.4, c2=0.5), ORDINARY, EXACT], ids=["strict", "usual", "exact"])
def test_accepted_steps_descend_enough_and_far_enough(seed, rule):
    """The Wolfe conditions hold on functions that a search can overshoot, as verified by evaluating them here."""
    rng = np.random.default_rng(seed)
    judged = 0
    for _ in range(20):
        function, here = bumpy(rng), rng.normal(size=2) * 2
        loss, gradient = function(here)
        direction = -gradient * rng.uniform(0.02, 5.0)
        found = rule.along(Landscape(function), Point(here, loss, gradient), direction)
        assert found.point is not None
        there, derivative_there = function(found.point.vector)
        assert there == found.point.loss
        assert there <= loss + rule.c1 * gradient @ (found.point.vector - here)
        if found.evaluations < rule.max_count:
            assert derivative_there @ direction >= rule.c2 * (gradient @ direction)
            judged += 1
    assert judged >= 10  # of 20: an exact search may stop at its maximum count; on which slopes depends on rounding


def test_only_pairs_that_tell_a_curvature_are_kept():
    lbfgs = solver(Landscape(rosenbrock), 1, 2, ORDINARY)
    state = LbfgsState(np.zeros(2), 1.0, np.zeros(2), np.ones(2), np.zeros(2))

    def kept(y, pairs=()):
        return lbfgs._remember(replace(state, pairs=pairs), Point(np.array([1.0, 0.0]), 0.5, np.array(y)))

    assert kept([-1.0, 0.0]) == kept([0.0, 1.0]) == ()
    (once,) = kept([0.5, 1.0])
    np.testing.assert_array_equal(once, [[1.0, 0.0], [0.5, 1.0]])
    assert len(kept([0.5, 1.0], (once, once))) == 2


def test_interpolation_finds_the_minimum_of_a_parabola_and_keeps_off_the_ends():
    # 3 t^2 - 2 t: derivative -2 at 0, 4 at 1, minimum at 1/3
    assert _parabola(1.0, -2.0, 1.0) == pytest.approx(1 / 3)
    assert _parabola(8.0, -2.0, 2.0) == pytest.approx(1 / 3)
    assert _parabola(-1.9, -2.0, 1.0) == pytest.approx(1 - EDGE)
    assert _parabola(np.inf, -2.0, 1.0) == pytest.approx(EDGE)
    assert _secant(-2.0, -1.0, 1.0) == pytest.approx(1.0)
    assert _secant(-2.0, -1e-9, 1.0) == pytest.approx(GROWTH[0] - 1)
    assert _secant(-2.0, -3.0, 1.0) == pytest.approx(GROWTH[1] - 1)


def test_what_rests_on_its_bound_no_longer_moves():
    bounded = SimpleNamespace(layout=SimpleNamespace(lower_bounds=lambda: [(slice(0, 3), 0.0)]))
    direction = np.array([-1.0, 1.0, -1.0, -1.0])
    tangent = tangent_of(bounded, np.array([0.0, 0.0, 1.0, 0.0]), direction)
    np.testing.assert_array_equal(tangent, [0.0, 1.0, -1.0, -1.0])
    np.testing.assert_array_equal(direction, [-1.0, 1.0, -1.0, -1.0])


def test_where_the_objective_has_become_another_its_loss_and_derivative_are_taken_anew():
    """A weight that changes with the epoch keeps the history."""
    first, second = (Landscape(quadratic(np.eye(3), np.full(3, float(at)))) for at in (1, 2))
    state = solver(first, 5, 3, ORDINARY).step(solver(first, 5, 3, ORDINARY).init(np.zeros(3)))
    anew = solver(second, 5, 3, ORDINARY).reevaluated(state)
    loss, derivative = second.function(state.vector)
    assert (anew.loss, anew.evaluations, anew.pairs) == (loss, state.evaluations + 1, state.pairs)
    np.testing.assert_array_equal(anew.gradient, derivative)


def test_epochs_go_on_while_the_loss_falls_and_no_longer():
    solver = Lbfgs(None, 4, 10, None, 0.1, 0.1, more_epochs=6)

    def state(*losses):
        return LbfgsState(None, losses[-1], None, None, None, losses=losses)

    rest = (10.0, 9.0, 8.99, 8.98, 8.98 - 0.99 * 8.98 * 3e-3 + 0.02)
    falling = (10.0, 9.0, 8.9, 8.8, 8.7)
    assert not solver.finished(state(*falling[:3]))
    assert solver.finished(state(*rest))
    assert not solver.finished(state(*falling))
    assert solver.finished(state(*falling, 8.6, 8.5, 8.4, 8.3, 8.2)), "ten in all"
    assert solver.finished(replace(state(*falling), converged=True))
    assert replace(solver, more_epochs=0).finished(state(*falling))
    assert solver.is_falling(state(*falling))
    assert not solver.is_falling(state(*falling[:3])), "too few to tell"
