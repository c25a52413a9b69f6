"""Runs that continue on other positions: their files, their ends, and more epochs."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from quick_first import quick_first
from shown_drift import LEFT, REMOVED, SETTINGS, SHARE, STIFFNESS, TRUE_A, UNLIKELY, refined

from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run import run
from ptylive.engine.refine.run.again import drift_afterwards
from ptylive.engine.refine.run.again.continuation import Continuation, is_as_low
from ptylive.engine.refine.run.before import decisions
from ptylive.engine.refine.run.history import History, snapshots
from ptylive.schema.preset import Preset


@pytest.mark.parametrize("share", quick_first([SHARE / 2, SHARE]))
def test_a_stopped_continuation_is_resumed_from_its_own_checkpoint(moving, shows, tmp_path, share):
    """Until then the run that has ended stands: it is worth more than one that has only begun."""
    shows((0.0, 0.0), UNLIKELY)
    alone = refined(moving)
    shows(TRUE_A, UNLIKELY, share=share)
    whole, place, table = refined(moving), tmp_path / "run.npz", tmp_path / "loss.csv"
    epochs = []

    def stop():
        return bool(epochs) and epochs[-1] >= len(whole.loss) - 3

    note = lambda one: epochs.append(one.epoch)  # noqa: E731
    stopped = refined(moving, checkpoint=place, on_progress=note, should_stop=stop, loss_table=table)
    assert stopped.state == "stopped" and "stopped on request" in stopped.message
    assert len(table.read_text().splitlines()) == len(stopped.loss) + 1
    if share == SHARE:  # one correction
        assert not stopped.drift.applied
        np.testing.assert_array_equal(stopped.object, alone.object)
    assert checkpoints.of_second_run(place).exists()
    resumed = refined(moving, checkpoint=place, resume=True)
    np.testing.assert_array_equal(resumed.loss, whole.loss)
    np.testing.assert_array_equal(resumed.object, whole.object)
    checkpoints.remove(place)
    assert list(tmp_path.iterdir()) == [table]


def test_each_run_that_follows_is_planned_as_long_as_the_first(moving, shows, monkeypatch):
    planned, followed, once = [], [], Continuation.refined

    def noted(self, problem, end):
        planned.append(problem.strategy.epochs)
        followed.append(self.first.problem.strategy.epochs)
        return once(self, problem, end)

    monkeypatch.setattr(Continuation, "refined", noted)
    shows(TRUE_A, share=SHARE / 2)
    refined(moving)
    assert planned == [followed[0], followed[0]]


def test_a_run_that_fails_leaves_the_first_one_done(moving, shows, monkeypatch):
    once = Continuation.refined

    def failing(self, problem, end):
        result, _ = once(self, problem, end)
        return replace(result, state="failed", message="the loss is not finite"), None

    monkeypatch.setattr(Continuation, "refined", failing)
    shows(TRUE_A, UNLIKELY)
    result = refined(moving)
    assert result.state == "done" and not result.drift.applied


@pytest.mark.parametrize("share", quick_first([SHARE / 2, SHARE]))
def test_more_epochs_continue_the_run_that_stands(moving, shows, tmp_path, share):
    """They continued the run before it, with the drift."""
    shows(TRUE_A, share=share)
    place, told = tmp_path / "run.npz", []
    whole = refined(moving, checkpoint=place)
    more = Preset.from_mapping({**SETTINGS, "epoch_max": len(whole.loss) + 3})
    longer = refined(moving, more, checkpoint=place, resume=True, on_progress=told.append)
    assert longer.drift.applied and not longer.unchanged
    assert len(longer.loss) == len(whole.loss) + 3 and longer.loss[-1] < whole.loss[-1]
    np.testing.assert_array_equal(longer.loss[: len(whole.loss)], whole.loss)
    assert [one.state for one in told].index("done") == len(told) - 1
    again = refined(moving, more, checkpoint=place, resume=True)
    assert again.unchanged and again.drift.applied
    np.testing.assert_array_equal(again.object, longer.object)


def test_more_epochs_of_a_run_whose_trials_removed_the_drift(moving, shows, tmp_path):
    """Nothing followed it, even if the checkpoint of an earlier run says so; it was left without its epochs."""
    shows(REMOVED.drift_A, REMOVED)
    place = tmp_path / "run.npz"
    whole = refined(moving, checkpoint=place)
    checkpoints.of_second_run(place).write_bytes(b"of an earlier run")
    more = Preset.from_mapping({**SETTINGS, "epoch_max": len(whole.loss) + 3})
    longer = refined(moving, more, checkpoint=place, resume=True)
    assert len(longer.loss) == len(whole.loss) + 3


def test_a_new_run_is_no_continuation_of_an_earlier_one(moving, shows, tmp_path):
    """A given number of epochs, not resumed: the checkpoints of the earlier run lie there."""
    shows(TRUE_A)
    place = tmp_path / "run.npz"
    refined(moving, checkpoint=place)
    assert checkpoints.of_second_run(place).exists()
    new = refined(moving, Preset.from_mapping({**SETTINGS, "epoch_max": 3}), checkpoint=place)
    assert len(new.loss) == 3 and not new.drift.applied


@pytest.mark.slow
def test_a_checkpoint_of_another_first_run_is_none_of_a_continuation(moving, shows, tmp_path):
    shows(TRUE_A)
    place = tmp_path / "run.npz"
    refined(moving, checkpoint=place)
    second = checkpoints.of_second_run(place).read_bytes()
    refined(moving, Preset.from_mapping({**SETTINGS, "seed": 1}), checkpoint=place)
    place_of_other = checkpoints.of_second_run(place)
    assert place_of_other.read_bytes() != second
    place_of_other.write_bytes(second)
    again = refined(moving, Preset.from_mapping({**SETTINGS, "seed": 1}), checkpoint=place, resume=True)
    assert again.state == "done"  # begun anew: the checkpoint belongs to other numbers


def test_a_start_that_was_given_is_given_again(moving, shows, monkeypatch):
    """Columns, an object or images: they are applied to the problem on the corrected positions."""
    begun, with_start = [], decisions.with_start

    def noted(problem, settings, warm_start):
        begun.append(problem.measured.drift.applied)
        return with_start(problem, settings, warm_start)

    monkeypatch.setattr(decisions, "with_start", noted)
    shows(TRUE_A)
    refined(moving)
    assert begun == [False, True]


def test_it_begins_from_the_start_of_the_first_run(moving, shows):
    """An object that is kept holds back some of the drift: half of it in SrTiO₃, and two fifths in a weak scan."""
    shows((0.0, 0.0))
    alone = refined(moving)
    shows((0.01, 0.0), share=SHARE, fall=1e5 * STIFFNESS)
    result = refined(moving)
    assert result.loss[len(alone.loss)] == pytest.approx(alone.loss[0], rel=0.02)


def test_runs_that_refine_more_than_object_and_probe_are_not_asked(moving, shows, monkeypatch):
    shows(TRUE_A)
    monkeypatch.setattr(run, "continued_without_drift", None)
    result = refined(moving, Preset.from_mapping({**SETTINGS, "update_beam_current": True}))
    assert result.state == "done" and not result.drift.applied


def test_a_run_that_ends_in_a_wrong_minimum_is_undone(moving, shows, monkeypatch, tmp_path):
    shows((0.0, 0.0))
    alone = refined(moving)
    shows(TRUE_A)
    monkeypatch.setattr(drift_afterwards, "is_as_low", lambda result, than, **_: False)
    told, table, history = [], tmp_path / "loss.csv", History(tmp_path / "epochs")
    result = refined(moving, on_progress=told.append, loss_table=table, history=history)
    assert result.state == "done" and not result.drift.applied
    why = "; the refined object shows another, but is no better without it"
    assert result.drift.reason == LEFT.reason + why and result.reason.count(why) == 1
    np.testing.assert_array_equal(result.positions_A, moving.dataset.positions_A)
    np.testing.assert_array_equal(result.loss, alone.loss)
    np.testing.assert_array_equal(result.object, alone.object)
    assert len(table.read_text().splitlines()) == len(alone.loss) + 1
    assert len(snapshots(history.folder)) == len(alone.loss) + 1
    assert [one.state for one in told].index("done") == len(told) - 1
    assert told[-1].epoch == len(alone.loss)


@pytest.mark.slow
def test_a_run_that_refines_its_thickness_is_asked(moving, shows):
    shows(TRUE_A)
    thick = {"num_slices": 2, "total_thickness_A": 10.0, "update_thickness": True}
    result = refined(moving, Preset.from_mapping({**SETTINGS, **thick}))
    assert "the refined object" in result.drift.reason


@pytest.mark.parametrize(("higher", "far", "nearby"), [(1.01, True, True), (1.03, True, False), (1.11, False, False)])
def test_losses_are_alike_within_a_limit_that_is_closer_for_nearly_the_same_positions(higher, far, nearby):
    first, second = (SimpleNamespace(loss=np.array([9.0, loss])) for loss in (1.0, higher))
    assert is_as_low(second, first) is far
    assert is_as_low(second, first, nearby=True) is nearby
