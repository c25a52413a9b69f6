"""The command states what is undetermined in a calibration, with other remarks or alone."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.schema import Calibration
from ptylive.schema.advice.cannot_tell import cannot_tell_words
from ptylive.schema.preset import Preset
from ptylive.server.cli.commands.refine import _summarise
from ptylive.server.cli.refine_words import whole_outcome_of, with_halves

UNTOLD = cannot_tell_words("the defocus", "nothing shows it", "defocus_A")


def ended(reason: str) -> RefineResult:
    """A finished run, as far as messages are made from it."""
    names = ("convergence", "phase_deviation", "refined", "validation", "held_out", "loss_over_noise", "unchanged")
    nothing = dict.fromkeys(names)
    said = {"state": "done", "algorithm": "ml", "reason": reason, "message": "done", "backend": "cpu"}
    numbers: dict[str, Any] = {"loss": np.ones(2), "seconds": np.ones(2), "evaluations": 2.0, "scan_drifts": ()}
    return cast(RefineResult, SimpleNamespace(**nothing, **said, **numbers))


def test_what_cannot_be_told_is_a_warning_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    result = ended(f"one slice; {UNTOLD}; 4 probe modes")
    assert whole_outcome_of(result, 9, None, None)["cannot_tell"] == [UNTOLD]
    _summarise(result, as_json=False)
    said = "".join(capsys.readouterr()).splitlines()
    assert said[-1] == f"ptylive: warning: {UNTOLD}"


def test_of_what_was_told_there_is_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    result = ended("one slice")
    assert "cannot_tell" not in whole_outcome_of(result, 9, None, None)
    _summarise(result, as_json=False)
    assert "warning" not in "".join(capsys.readouterr())


def test_a_lower_bound_is_said_to_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    for bound, words in ((False, "0.012 rad"), (True, "at least 0.012 rad")):
        result = ended("one slice")
        told = PhaseDeviation(np.ones((1, 1), np.float32), 0.0123, 16, lower_bound=bound)
        result.phase_deviation = told  # type: ignore[misc]  (a stand-in)
        assert whole_outcome_of(result, 9, None, None)["phase_deviation_is_lower_bound"] is bound
        _summarise(result, as_json=False)
        assert f"by counting noise: {words} (median)" in "".join(capsys.readouterr())


def test_a_phase_held_at_0_is_not_said_to_be_free_of_noise(capsys: pytest.CaptureFixture[str]) -> None:
    result = ended("one slice")
    result.phase_deviation = PhaseDeviation(np.zeros((1, 1), np.float32), 0.0, 16)  # type: ignore[misc]  (a stand-in)
    _summarise(result, as_json=False)
    assert "by counting noise: 0 rad, because most of the phase is held at 0 (median)" in "".join(capsys.readouterr())


def test_halves_that_cannot_be_compared_cost_no_result():
    """A scan of a few points was refined, and nothing was written."""
    few = Dataset(
        patterns=np.ones((3, 8, 8), np.uint8),
        point=np.arange(3),
        positions_A=np.zeros((3, 2)),
        bad_pixels=np.zeros((8, 8), bool),
        beam_center_px=np.full(2, 4.0),
        scan_shape=(1, 3),
        calibration=Calibration({}),
    )
    unchecked = ended(UNTOLD)
    result, missing = with_halves(unchecked, few, Preset(), TrialContext(), as_json=True)
    assert result is unchecked
    assert missing.endswith("not compared: 3 patterns are too few to compare halves: this needs 64: leave out --checks")
