"""Drift and tilts of a refinement, as reported to listeners."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ptylive.server.refinement.found_values import found_values


def result(applied: bool = True, tilts: Any = None, *, looked: bool = True) -> Any:
    drift = SimpleNamespace(drift_A=(1.5, -0.5), uncertainty_A=(0.2, 0.1), applied=applied) if looked else None
    return SimpleNamespace(drift=drift, refined=None if tilts is None else SimpleNamespace(tilts_mrad=tilts))


@pytest.mark.parametrize(("applied", "origin"), [(True, "estimated"), (False, "undecided")])
def test_a_drift_says_whether_it_is_more_than_chance(applied: bool, origin: str) -> None:
    assert found_values(result(applied)) == {
        "drift_A": {"value": [1.5, -0.5], "origin": origin, "uncertainty": [0.2, 0.1]}
    }


def test_tilts_are_the_mean_of_all_patterns_and_those_that_are_none_are_left_out() -> None:
    tilts = np.array([[0.0, 0.0, 2.0, 1.0, 0.0, -3.0], [0.0, 0.0, 4.0, 1.0, 0.0, -5.0]])
    assert found_values(result(tilts=tilts, looked=False)) == {
        "tilt_inside_mrad": {"value": [3.0, 1.0], "origin": "estimated", "uncertainty": None},
        "tilt_behind_mrad": {"value": [0.0, -4.0], "origin": "estimated", "uncertainty": None},
    }


def test_a_refinement_that_looked_for_neither_tells_nothing() -> None:
    assert found_values(result(looked=False)) == {}
