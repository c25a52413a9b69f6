"""Outcome of a refinement whose result nobody sees: plain values that a message can carry, and sentences."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ptylive.engine.refine.results.convergence import Convergence
from ptylive.engine.refine.results.outcome import outcome_of, sentences_of
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.schema.advice.cannot_tell import cannot_tell_words

THICK = (
    "the model lacks something (if the specimen is thick, give total_thickness_A), "
    "or counts are not electrons (counts_per_electron)"
)
UNTOLD = cannot_tell_words("the defocus", "nothing shows it", "defocus_A")


def ended(**known: Any) -> RefineResult:
    nothing = dict.fromkeys(("convergence", "phase_deviation", "refined", "validation", "held_out", "loss_over_noise"))
    numbers: dict[str, Any] = {"unchanged": False, "stages": ()}
    said = {"state": "done", "algorithm": "ml", "reason": f"one slice; {UNTOLD}", "message": "", "backend": "cpu"}
    numbers |= {"loss": np.ones(2), "seconds": np.ones(2), "evaluations": 2.0, "scan_drifts": ()}
    return cast(RefineResult, SimpleNamespace(**nothing | said | numbers | known))


def test_what_is_known_is_told_and_nothing_else():
    few = outcome_of(ended(), 9)
    assert (few["frames"], few["epochs"], few["frames_per_s"], few["cannot_tell"]) == (9, 2, 9.0, [UNTOLD])
    assert "converged" not in few
    nothing = outcome_of(ended(loss=np.zeros(0), seconds=np.zeros(0)), 9)
    assert nothing["loss"] is nothing["seconds_per_epoch"] is nothing["frames_per_s"] is None
    falling = SimpleNamespace(falling=True, converged=False, sentence="it still falls")
    deviation = PhaseDeviation(np.ones((1, 1), np.float32), 0.0123, 16, lower_bound=True)
    said = outcome_of(ended(convergence=falling, phase_deviation=deviation), 9)
    assert (said["converged"], said["phase_deviation_rad"]) == (False, 0.0123)
    assert json.loads(json.dumps(said)) == said


def test_the_sentences_for_people():
    falling = SimpleNamespace(falling=True, sentence="it still falls")
    said = sentences_of(ended(convergence=falling))
    assert said[:2] == [f"ml: one slice; {UNTOLD}", f"warning: {UNTOLD}"]
    assert said[2].startswith("it still falls (--resume --epochs ")
    assert len(sentences_of(ended())) == 2


@pytest.mark.parametrize(
    ("slices", "ratio", "said"),
    [
        (1, 1.04, ""),
        (1, 1.34, ""),
        (1, 1.56, THICK),
        (4, 2.9, ""),
        (4, 13.2, "the model lacks something (calibration, thickness, source size), or the minimum is a wrong one"),
    ],
)
def test_a_loss_far_above_noise_is_a_warning(slices, ratio, said):
    result = ended(loss_over_noise=ratio, object=np.ones((1, slices, 2, 2)))
    assert outcome_of(result, 9)["loss_over_noise"] == ratio
    words = f"the loss is {ratio:.2g} times that of counting noise alone"
    assert sentences_of(result)[2] == (f"{words}: {said}" if said else words)


def test_a_resumed_run_with_no_epoch_left_says_so_and_what_continues_it():
    """Regression: ``--resume --epochs N`` with no more than the epochs done said nothing and did nothing."""
    done = sentences_of(ended(unchanged=True))[2]
    assert done == ("nothing was refined: all 2 epochs had been done before; to continue, give the total, --epochs 22")
    assert outcome_of(ended(unchanged=True), 9)["unchanged"] is True
    assert sentences_of(ended(unchanged=True, stages=(None,)))[2].endswith("raise epoch_max of the last stage")
    at_rest = Convergence(falling=False, fall=0.0, uncertainty=None, held_out=0, at_rest=True)
    assert sentences_of(ended(unchanged=True, convergence=at_rest))[2:] == [
        "nothing was refined: no step lowers the loss any more",
        "converged: no step lowers the loss any more",
    ]
