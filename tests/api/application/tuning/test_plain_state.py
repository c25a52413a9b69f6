"""A tuning as plain values: trials, curves and estimates, kept in a file that may be damaged."""

import json

import numpy as np
import pytest
from tuning_trials import BEST, DEFOCUS, FORM, SWEEPS, THICKNESS, drawn, tried

from ptylive.application.tuning import plain_state
from ptylive.application.tuning.outcome import outcome
from ptylive.application.tuning.trials import FinishedTrial
from ptylive.server.wire.messages import pack, unpack

OVER = (DEFOCUS, THICKNESS)


def test_trials_are_told_as_they_ended():
    failed = FinishedTrial(1, {"defocus_A": 9.0, "total_thickness_A": 60.0}, "failed", reason="diverged")
    found = plain_state.standing(OVER, [tried(0, BEST), failed])
    assert [one["title"] for one in found["values"]] == ["defocus", "thickness"]
    first, second = found["trials"]
    assert first["values"] == [30.0, 110.0] and first["loss"] == pytest.approx(tried(0, BEST).last)
    assert (second["state"], second["loss"], second["reason"]) == ("failed", None, "diverged")
    assert found["ended"] == 2


def test_of_very_many_trials_the_last_are_told():
    found = plain_state.standing(OVER, [tried(k, BEST) for k in range(plain_state.MOST_TRIALS + 3)])
    assert (len(found["trials"]), found["trials"][0]["number"]) == (plain_state.MOST_TRIALS, 3)
    assert found["ended"] == plain_state.MOST_TRIALS + 3


def test_the_curve_of_a_value_is_lowest_where_its_best_is():
    curves = plain_state.curves((*OVER, FORM), drawn((*OVER, FORM), 30), SWEEPS)
    assert [one["name"] for one in curves] == ["defocus_A", "total_thickness_A"], "words have no curve"
    defocus = curves[0]
    apart = abs(defocus["at"][int(np.argmin(defocus["share"]))] - BEST["defocus_A"])
    assert apart <= 400 / (plain_state.POINTS - 1), "the nearest point of the curve, or the one beside it"
    assert min(defocus["share"]) >= 0 and defocus["share"][0] > 0.3  # the bowl: 2 (230 / 400)² of the loss
    assert min(defocus["deviation"]) >= 0


def test_too_few_trials_have_no_curve():
    assert plain_state.curves(OVER, drawn(OVER, 2), SWEEPS) == []
    assert plain_state.curves(OVER, [], SWEEPS) == []


def test_what_they_tell_can_be_sent_and_kept(tmp_path):
    found = outcome(OVER, drawn(OVER, 20), SWEEPS, {})
    plain = {**plain_state.standing(OVER, found.tried), **plain_state.findings(found)}
    assert plain["estimates"][0]["sentence"].startswith("defocus ")
    assert [one["told"] for one in plain["estimates"]] == [True, True]
    plain_state.keep(tmp_path, plain)
    assert plain_state.kept(tmp_path) == unpack(pack(plain)) == json.loads(json.dumps(plain, default=float))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "3"])
def test_a_file_that_is_damaged_says_nothing(tmp_path, text):
    assert plain_state.kept(tmp_path) == {}
    (tmp_path / plain_state.SUMMARY_FILE).write_text(text)
    assert plain_state.kept(tmp_path) == {}
