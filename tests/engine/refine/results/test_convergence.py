"""What a run says of its convergence."""

import pytest

from ptylive.engine.refine.results.convergence import Convergence
from ptylive.engine.refine.solvers.lbfgs import FALLING


@pytest.mark.parametrize(
    ("given", "converged", "sentence"),
    [
        ((False, 1e-4, 2e-4, 60), True, "converged: the loss of 60 held-out patterns falls by 0.01 ± 0.02 % an epoch"),
        ((False, -1e-4, 2e-4, 60), True, "converged: the loss of 60 held-out patterns falls by 0 ± 0.02 % an epoch"),
        (
            (False, -1e-2, 2e-4, 60),
            True,
            "the loss of 60 held-out patterns rises by 1 ± 0.02 % an epoch: more epochs would fit noise",
        ),
        ((True, 0.02, None, 0), False, "not converged: the loss is still falling by 2 % an epoch: continue with +"),
        ((True, 3.0, None, 0), False, "not converged: the loss is still falling by 300 % an epoch: continue with +"),
        (
            (False, -2 * FALLING, None, 0),
            False,
            "not converged: the loss rises by",
        ),
        ((False, -0.5 * FALLING, None, 0), True, "converged: the loss falls by 0 % an epoch"),
    ],
)
def test_it_is_said_in_a_sentence(given, converged, sentence):
    found = Convergence(*given)
    assert found.sentence.startswith(sentence)
    assert found.converged is converged


def test_a_run_at_rest_has_converged():
    found = Convergence(False, 0.0, None, 0, at_rest=True)
    assert found.sentence == "converged: no step lowers the loss any more" and found.converged


def test_held_out_patterns_that_rise_are_no_failure():
    assert not Convergence(False, -1.0, 0.1, 60).rising
    assert Convergence(False, -1.0, None, 0).rising
