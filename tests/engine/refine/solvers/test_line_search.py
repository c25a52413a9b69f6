"""Step lengths of L-BFGS, on functions of a few numbers."""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.solvers.line_search import EDGE, GROWTH, Point, WolfeSearch, stepped, tangent_of

SEARCH = WolfeSearch(1e-4, 0.9, 20)


@dataclass
class Function:
    """A loss of numbers of which the first may be bounded below."""

    loss: object
    lowest: float | None = None
    asked: list = field(default_factory=list)

    @property
    def layout(self):
        bounds = [] if self.lowest is None else [(slice(0, 1), self.lowest)]
        return SimpleNamespace(lower_bounds=lambda: bounds)

    def dot(self, a, b):
        return float(np.dot(a, b))

    def project(self, vector):
        if self.lowest is not None:
            np.maximum(vector[:1], self.lowest, out=vector[:1])
        return vector

    def evaluate(self, vector):
        self.asked.append(np.array(vector))
        loss, gradient = self.loss(np.asarray(vector, dtype=np.float64))
        return SimpleNamespace(loss=loss, gradient=np.asarray(gradient, dtype=np.float32))


def parabola(curvature, minimum=1.0):
    return lambda x: (0.5 * curvature * float((x - minimum) @ (x - minimum)), curvature * (x - minimum))


def searched(function, at=(0.0,), direction=(1.0,), search=SEARCH):
    at = np.array(at, dtype=np.float32)
    start = function.evaluate(at)
    function.asked.clear()
    return search.along(function, Point(at, start.loss, start.gradient), np.array(direction, dtype=np.float32))


def test_a_step_of_one_is_tried_first_and_taken_if_it_will_do():
    found = searched(Function(parabola(1.0)))
    assert found.evaluations == 1
    np.testing.assert_allclose(found.point.vector, [1.0])


def test_a_step_that_is_too_long_is_followed_by_the_minimum_of_a_parabola():
    found = searched(Function(parabola(1.0)), direction=(4.0,))
    assert found.evaluations == 2
    np.testing.assert_allclose(found.point.vector, [1.0], rtol=1e-5)


def test_a_step_that_is_too_short_is_followed_by_a_secant():
    narrow = WolfeSearch(1e-4, 0.1, 20)
    found = searched(Function(parabola(1.0)), direction=(0.2,), search=narrow)
    assert found.evaluations == 2
    np.testing.assert_allclose(found.point.vector, [1.0], rtol=1e-5)
    far = Function(parabola(1.0, 1000.0))
    searched(far, search=narrow)
    steps = np.diff([0.0, *np.ravel(far.asked)])
    assert (steps[1:3] <= GROWTH[1] * steps[:2]).all(), "no further than ten times"


def test_steps_stay_away_from_the_ends_of_the_bracket():
    """The loss beyond is infinite: no parabola."""

    def walled(x):
        return (math.inf, x) if x[0] > 0.5 else parabola(1.0)(x)

    function = Function(walled)
    found = searched(function, search=WolfeSearch(1e-4, 0.99, 20))
    assert found.point is not None and found.point.vector[0] <= 0.5
    np.testing.assert_allclose(function.asked[1], [EDGE])


def test_without_a_lower_loss_there_is_no_point():
    found = searched(Function(lambda x: (float(abs(x[0])), [-1.0])), search=WolfeSearch(1e-4, 0.9, 5))
    assert (found.point, found.evaluations) == (None, 5)


def test_what_lowers_the_loss_is_kept_though_the_search_ends():
    found = searched(Function(parabola(1.0, 1e6)), search=WolfeSearch(1e-4, 0.1, 3))
    assert found.evaluations == 3 and found.point.loss < 0.5e12


def test_numbers_at_their_bound_stay_there():
    function = Function(parabola(1.0), lowest=-0.5)
    direction = np.array([-2.0, 1.0], dtype=np.float32)
    moved = stepped(function, np.zeros(2, np.float32), 1.0, direction)
    np.testing.assert_array_equal(moved, [-0.5, 1.0])
    np.testing.assert_array_equal(tangent_of(function, moved, direction), [0.0, 1.0])
    np.testing.assert_array_equal(tangent_of(function, moved, -direction), [2.0, -1.0])
    np.testing.assert_array_equal(tangent_of(function, np.zeros(2), direction), direction)
    assert direction[0] == -2.0, "the direction itself is not changed"


@pytest.mark.parametrize("lowest", [None, -3.0])
def test_without_a_bound_in_reach_the_tangent_is_the_direction(lowest):
    direction = np.array([-2.0, 1.0], dtype=np.float32)
    np.testing.assert_array_equal(tangent_of(Function(parabola(1.0), lowest), np.zeros(2), direction), direction)
