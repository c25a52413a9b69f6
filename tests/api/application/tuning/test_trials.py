"""Trials in Optuna's journal: kept, resumed, never lost, and refused if they belong to something else."""

import random

import numpy as np
import pytest
from tuning_trials import DEFOCUS, SLICES, tried

from ptylive.application.tuning import trials as module
from ptylive.application.tuning.trials import JOURNAL, FinishedTrial, Trials, check_optuna, filled, losses
from ptylive.schema import InputFileError, PtyliveError

OVER = (DEFOCUS, SLICES)
PLAN = {"over": ["defocus"], "sweeps": 4, "calibration": {"C10": [1.0, None]}}
START = {"defocus_A": -60.0, "num_slices": 3}

pytest.importorskip("optuna", reason="needs the extra 'tune'")


def opened(folder, plan=PLAN):
    return Trials(folder / JOURNAL, plan, OVER, 4, seed=0)


def done(trials, values=None, loss=1.0):
    asked = trials.ask(values)
    for sweep in (1, 2, 3, 4):
        trials.report(asked.number, sweep, [loss / sweep, 2 * loss / sweep])
    trials.end(FinishedTrial(asked.number, asked.values, "done", {4: (loss / 4, loss / 2)}, 2.5))
    return asked


def test_what_ended_is_there_again(tmp_path):
    first = opened(tmp_path)
    asked = [done(first, START), done(first), done(first)]
    (again,) = [opened(tmp_path).ended()]
    assert [one.values for one in again] == [one.values for one in asked]
    assert asked[0].values == START
    assert again[0] == FinishedTrial(0, START, "done", {4: (0.25, 0.5)}, 2.5)
    assert all(DEFOCUS.holds(one.values["defocus_A"]) and SLICES.holds(one.values["num_slices"]) for one in again)


def test_what_was_under_way_is_tried_again_and_first(tmp_path):
    first = opened(tmp_path)
    done(first)
    under_way = first.ask()
    again = opened(tmp_path)
    assert len(again.ended()) == 1
    assert again.ask().values == under_way.values


def test_a_trial_that_ended_while_the_program_was_killed_is_not_tried_again(tmp_path, monkeypatch):
    first = opened(tmp_path)
    monkeypatch.setattr(Trials, "_report_end", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        done(first, START)
    monkeypatch.undo()
    again = opened(tmp_path)
    assert [one.values for one in again.ended()] == [START]
    assert again.ask().values != START


def test_a_trial_that_was_stopped_is_tried_again_by_the_same_call_or_a_later_one(tmp_path):
    first = opened(tmp_path)
    asked = first.ask(START)
    first.give_up(asked.number)
    assert first.ended() == []
    assert opened(tmp_path).ask().values == START


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path):
    done(opened(tmp_path), START)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"worker_id":"x","study')
    again = opened(tmp_path)
    assert len(again.ended()) == 1
    done(again)
    assert len(opened(tmp_path).ended()) == 2


def test_trials_of_another_plan_are_refused(tmp_path):
    opened(tmp_path)
    with pytest.raises(InputFileError, match=r"(?m)trials.journal belongs to a tuning that differs in sweeps$"):
        opened(tmp_path, {**PLAN, "sweeps": 9})
    with pytest.raises(InputFileError, match=r"(?m)differs in settings \(probe_modes\)$"):
        opened(tmp_path, {**PLAN, "settings": {"probe_modes": 77, "flip_ky": False}})


def test_a_setting_that_there_was_not_yet_is_as_it_was_by_default(tmp_path):
    opened(tmp_path, {**PLAN, "settings": {"probe_modes": 4}})
    opened(tmp_path, {**PLAN, "settings": {"probe_modes": 4, "flip_ky": False}})
    with pytest.raises(InputFileError, match=r"(?m)differs in settings \(flip_ky\)$"):
        opened(tmp_path, {**PLAN, "settings": {"probe_modes": 4, "flip_ky": True}})


def test_a_journal_that_is_none_is_one_line(tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    (tmp_path / JOURNAL).write_bytes(random.Random(seed).randbytes(300) + b"\n" + b"x" * 20 + b"\n")
    with pytest.raises(InputFileError, match=r"trials.journal is damaged") as caught:
        opened(tmp_path)
    assert "\n" not in caught.value.line() and "--out" in caught.value.line()


def test_bad_trials_are_given_up_once_there_are_others(tmp_path):
    trials = opened(tmp_path)
    for _ in range(module.FIRST + 1):
        done(trials)
    bad = trials.ask()
    assert not trials.report(bad.number, 1, [50.0, 50.0])  # too early to decide
    assert trials.report(bad.number, 3, [50.0, 50.0])
    trials.end(FinishedTrial(bad.number, bad.values, "pruned", {3: (50.0, 50.0)}))
    assert opened(tmp_path).ended()[-1].state == "pruned"


def test_what_failed_is_kept_with_its_reason(tmp_path):
    trials = opened(tmp_path)
    asked = trials.ask()
    trials.end(FinishedTrial(asked.number, asked.values, "failed", {}, 0.1, "diverged"))
    assert [(one.state, one.reason, one.last) for one in opened(tmp_path).ended()] == [("failed", "diverged", None)]


def test_what_was_confirmed_is_kept(tmp_path):
    trials = opened(tmp_path)
    assert trials.confirmed == {}
    trials.confirm({"best": {"values": START, "groups": [1.0]}})
    assert opened(tmp_path).confirmed["best"] == {"values": START, "groups": [1.0]}


def test_without_optuna_a_line_says_what_to_install(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PtyliveError) as caught:
        check_optuna()
    assert caught.value.line() == "tuning needs Optuna, which is not installed: pip install 'ptylive[tune]'"


def test_trials_that_were_given_up_are_gone_on_with_as_others_were():
    """All losses fall by the same fraction from sweep to sweep."""
    trials = [tried(k, {"defocus_A": 30.0 * k, "num_slices": 3}) for k in range(6)]
    bad = tried(9, {"defocus_A": -190.0, "num_slices": 3}, state="pruned")
    there, groups = filled([*trials, bad], 4)
    assert [one.number for one in there] == [0, 1, 2, 3, 4, 5, 9]
    whole = tried(9, {"defocus_A": -190.0, "num_slices": 3}).groups[4]
    np.testing.assert_allclose(groups[-1], whole, rtol=1e-9)
    assert len(filled([*trials[:4], bad], 4)[0]) == 4  # too few to decide


def test_losses_are_those_of_trials_that_came_so_far():
    there, groups = losses([tried(0, START), tried(1, START, state="pruned")], 4)
    assert [one.number for one in there] == [0]
    assert groups.shape == (1, 16)
