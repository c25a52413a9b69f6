"""The Cramér-Rao bound of a position: the limit set by counting, for any object."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.validation import position_bound as module
from ptylive.engine.refine.validation.position_bound import position_bound_A

PIXEL_A = 0.5


@pytest.fixture
def informed(monkeypatch):
    """A bound from the information matrices (n, 2, 2) of the patterns used, and the numbers of these patterns."""

    def bound(information, count=None, model=None):
        asked = []

        class Arrays:
            def __init__(self, *_):
                pass

            def position_information(self, _object, _probe, chosen):
                asked.append(chosen)
                return np.broadcast_to(information, (len(chosen), 2, 2))[: len(chosen)]

        monkeypatch.setattr(module, "GeneralMultislice", Arrays)
        problem = SimpleNamespace(model=model, count=len(information) if count is None else count)
        return position_bound_A(problem, None, None, PIXEL_A), asked

    return bound


def test_it_is_the_root_of_the_summed_variances(informed):
    """Information of 4 and 16 per squared pixel gives variances of 1/4 and 1/16."""
    found, _ = informed(np.array([np.diag([4.0, 16.0])]))
    assert found == pytest.approx(PIXEL_A * math.sqrt(1 / 4 + 1 / 16))


def test_directions_that_tell_the_same_tell_less(informed):
    apart, _ = informed(np.array([[[4.0, 0.0], [0.0, 4.0]]]))
    together, _ = informed(np.array([[[4.0, 3.9], [3.9, 4.0]]]))
    assert together > 3 * apart  # 4.5 by the inverse below
    variances = np.trace(np.linalg.inv([[4.0, 3.9], [3.9, 4.0]]))
    assert together == pytest.approx(PIXEL_A * math.sqrt(variances))


def test_patterns_that_say_nothing_are_left_out_and_all_of_them_leave_nothing(informed):
    nothing, one_way = np.zeros((2, 2)), np.diag([4.0, 0.0])
    assert informed(np.array([nothing, one_way]))[0] == math.inf
    found, _ = informed(np.array([nothing, np.diag([4.0, 4.0]), one_way]))
    assert found == pytest.approx(PIXEL_A * math.sqrt(0.5))


def test_it_is_the_median_of_a_few_patterns_of_all_of_the_scan(informed):
    _, (chosen,) = informed(np.eye(2)[None], count=10_000)
    assert (len(chosen), chosen[0], chosen[-1]) == (module.SAMPLED_PATTERNS, 0, 9999)
    _, (chosen,) = informed(np.eye(2)[None], count=3)
    assert chosen.tolist() == [0, 1, 2]


def test_other_models_have_none(informed):
    found, asked = informed(np.eye(2)[None], model=object())
    assert math.isnan(found)
    assert asked == []
