"""A drift that only the refined object reveals: the run continues without it."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.refine import refine
from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.problem import measurement
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run import run
from ptylive.engine.refine.run.again import drift_afterwards, drift_evidence
from ptylive.engine.refine.run.again.drift_afterwards import EPOCHS, drift_is_tested
from ptylive.engine.refine.run.again.strain_score import StrainedScan, StrainScore
from ptylive.engine.refine.run.history import History, snapshots
from ptylive.schema import Origin
from ptylive.schema.preset import Preset

SETTINGS = {"window_px": 32, "probe_modes": 1, "num_slices": 1, "sweeps": 2, "regime": "thin", "phase_deviation": False}
PRESET = Preset.from_mapping(SETTINGS)
THICK = {"num_slices": 2, "total_thickness_A": 20.0}
SEVERAL = Preset.from_mapping({**SETTINGS, **THICK, "phase_only_obj": True, "anchor": 0.1})
LEFT = Drift((0.6, -0.4), (0.5, 0.5), 60.0, 0.0, False, "drift (a, b) Å: not corrected, trials do not show it", 1.5)


@pytest.fixture
def gains(monkeypatch):
    """Set the gains, in standard deviations, of the refined object and, ``then``, of the one refined without the drift.

    Trials have left a drift of 1.5 deviations alone.
    """

    def by(deviations, drift=LEFT, then=None):
        def left(measured, tuned, context, **how):
            return tuned, replace(measured, dataset=without_drift(tuned.dataset, drift), drift=drift)

        monkeypatch.setattr(measurement, "find_drift", lambda *_, **__: None)  # the one that is left is given here
        monkeypatch.setattr(run, "with_checked_drift", left)
        scores = itertools.cycle([deviations, deviations if then is None else then])

        def score(self, asked, **_):
            self._context.pause()  # as happens between the losses of two strains
            return StrainScore(next(scores), 1.0, 0.0)

        monkeypatch.setattr(StrainedScan, "score", score)

    return by


def refined(moving, preset=PRESET, **options):
    return refine(moving.dataset, preset, backend="cpu", **options)


def test_the_run_goes_on_without_a_drift_that_its_object_shows(moving, gains, tmp_path):
    gains(7.0)
    told, table = [], tmp_path / "loss.csv"
    result = refined(moving, on_progress=told.append, loss_table=table)
    taken = replace(LEFT, applied=True)
    assert result.state == "done" and result.drift.applied
    assert (
        "corrected, lattice and refined object show it (1.5 and 7.0 standard deviations, evidence 15.1 of 10)"
        in result.reason
    )
    assert "not corrected" not in result.reason
    np.testing.assert_allclose(result.positions_A, without_drift(moving.dataset, taken).positions_A)
    planned = 2 + 6
    assert len(result.loss) >= planned + EPOCHS
    assert set(result.phases[planned:]) == {"lbfgs"}
    assert result.loss[-1] < result.loss[planned - 1]
    assert len(table.read_text().splitlines()) == len(result.loss) + 1
    states = [one.state for one in told]
    assert states.index("done") == len(states) - 1
    assert any("the drift's strain" in one.message for one in told)


def test_what_gains_less_is_left_alone_and_said(moving, gains):
    gains(1.5)
    told = []
    result = refined(moving, on_progress=told.append)
    assert not result.drift.applied
    words = "and lattice and refined object do not show it either (1.5 and 1.5 standard deviations, evidence 4.4 of 10)"
    assert result.reason.count(words) == 1
    assert result.drift.reason in result.reason
    np.testing.assert_array_equal(result.positions_A, moving.dataset.positions_A)
    assert [one.state for one in told].index("done") == len(told) - 1


@pytest.mark.parametrize(("then", "applied"), [(2.9, True), (-5.0, False)])
def test_a_possible_drift_is_decided_by_the_object_refined_without_it(moving, gains, then, applied):
    """Graphene whose rotation was 1.2° off had evidence of 9.7 for 0.7 Å, and 0.860 became 0.938 without them."""
    gains(2.9, then=then)
    result = refined(moving)
    assert result.drift.applied == applied
    evidence = "suggest{} (1.5 and 2.9 standard deviations, evidence 7.8 of 10)"
    words = ("shows it, as", evidence.format("ed")) if applied else (evidence.format(" it"), "by 1.5 standard dev")
    assert all(part in result.reason for part in words)


@pytest.mark.parametrize(("then", "applied"), [(-3.8, True), (-4.2, False)])
def test_so_is_a_possible_drift_of_several_slices(moving, gains, then, applied):
    """102 Å of silicon had evidence of 9.9 for 1.7 Å that were there, and 0.590 became 0.909 without them."""
    gains(2.5, replace(LEFT, deviations=4.0), then=then)  # -0.9 and -1.2 deviations together
    assert refined(moving, SEVERAL).drift.applied == applied


def test_a_run_that_does_not_explain_its_patterns_tries_no_possible_drift(moving, gains, monkeypatch):
    monkeypatch.setattr(drift_evidence, "EXPLAINED", 0.0)
    gains(2.9)
    assert not refined(moving).drift.applied


@pytest.mark.slow
def test_a_drift_that_the_object_wants_back_is_left_alone(moving, gains, tmp_path):
    """A platinum lattice indicated 1.7 Å by 5.9 deviations where 0.4 were present: 0.75 was reached instead of 0.95."""
    gains(0.0)
    alone = refined(moving)
    gains(7.0, then=-12.0)
    told, table, history = [], tmp_path / "loss.csv", History(tmp_path / "epochs")
    result = refined(moving, on_progress=told.append, loss_table=table, history=history)
    assert result.state == "done" and not result.drift.applied
    why = "evidence 15.1 of 10), but the object refined without it prefers it back, by 3.5 standard deviations"
    assert why in result.drift.reason and result.reason.count(result.drift.reason) == 1
    np.testing.assert_array_equal(result.positions_A, moving.dataset.positions_A)
    np.testing.assert_array_equal(result.loss, alone.loss)
    np.testing.assert_array_equal(result.object, alone.object)
    assert len(table.read_text().splitlines()) == len(alone.loss) + 1
    assert len(snapshots(history.folder)) == len(alone.loss) + 1
    states = [one.state for one in told]
    assert states.index("done") == len(states) - 1
    assert told[-1].epoch == len(alone.loss)
    assert any("object refined without it" in one.message for one in told)


@pytest.mark.parametrize("when", quick_first(["on the refined object", "on the object refined without it"]))
def test_a_stop_while_the_object_is_asked_keeps_what_was_refined(moving, gains, tmp_path, when):
    """It failed with "stopped on request before the refinement began", and hours of work were lost."""
    gains(0.0)
    alone = refined(moving)
    gains(7.0)
    told, table = [], tmp_path / "loss.csv"

    def stop():
        return bool(told) and when in told[-1].message

    result = refined(moving, on_progress=told.append, should_stop=stop, loss_table=table)
    assert result.state == "done" and not result.drift.applied
    np.testing.assert_array_equal(result.object, alone.object)
    assert len(table.read_text().splitlines()) == len(alone.loss) + 1
    assert ("was stopped before the object" in result.reason) is ("without" in when)
    assert [one.state for one in told].index("done") == len(told) - 1


def test_a_drift_of_which_more_than_half_is_there_stays_taken_out(moving, gains):
    gains(7.0, then=-11.0)  # -2.8 deviations together
    assert refined(moving).drift.applied


@pytest.mark.parametrize("changes", quick_first([{}, {**THICK, "phase_only_obj": True, "anchor": 0.1}]))
@pytest.mark.parametrize(("deviations", "applied"), [(1.5, False), (4.0, True)])
def test_a_lattice_that_is_surer_needs_less_of_the_object(moving, gains, monkeypatch, changes, deviations, applied):
    monkeypatch.setattr(drift_evidence, "EXPLAINED", 0.0)
    gains(2.9, replace(LEFT, deviations=deviations))
    result = refined(moving, Preset.from_mapping({**SETTINGS, **changes}))
    assert result.drift.applied == applied


@pytest.mark.parametrize(("changes", "applied"), quick_first([(THICK, False), ({}, True)]))
def test_the_lattice_of_several_slices_is_trusted_less(moving, gains, monkeypatch, changes, applied):
    monkeypatch.setattr(drift_evidence, "EXPLAINED", 0.0)
    gains(1.9, replace(LEFT, deviations=4.0))
    result = refined(moving, Preset.from_mapping({**SETTINGS, **changes, "phase_only_obj": True}))
    assert result.drift.applied == applied


def test_it_goes_on_from_the_object_that_was_refined(moving, gains):
    """Shown by the loss of the first epoch: that of an empty object is far higher."""
    gains(0.0)
    alone = refined(moving)
    gains(7.0)
    result = refined(moving)
    first = result.loss[len(alone.loss)]
    assert first < 1.1 * alone.loss[-1] < 0.8 * alone.loss[0]


def test_a_stopped_continuation_is_resumed_from_its_own_checkpoint(moving, gains, tmp_path):
    gains(7.0)
    whole, place = refined(moving), tmp_path / "run.npz"
    epochs = []

    def stop():
        return bool(epochs) and epochs[-1] >= len(whole.loss) - 3

    stopped = refined(moving, checkpoint=place, on_progress=lambda one: epochs.append(one.epoch), should_stop=stop)
    assert stopped.state == "stopped" and stopped.drift.applied
    assert checkpoints.of_second_run(place).exists()
    resumed = refined(moving, checkpoint=place, resume=True)
    np.testing.assert_array_equal(resumed.loss, whole.loss)
    np.testing.assert_array_equal(resumed.object, whole.object)
    checkpoints.remove(place)
    assert list(tmp_path.iterdir()) == []


def test_more_epochs_continue_the_run_that_stands(moving, gains, tmp_path):
    """They continued the run before it, with the drift."""
    gains(7.0)
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


def test_more_epochs_continue_the_first_run_if_its_drift_was_put_back(moving, gains, tmp_path):
    gains(7.0, then=-12.0)
    place, told = tmp_path / "run.npz", []
    whole = refined(moving, checkpoint=place)
    assert not whole.drift.applied and checkpoints.of_second_run(place).exists()
    more = Preset.from_mapping({**SETTINGS, "epoch_max": len(whole.loss) + 3})
    longer = refined(moving, more, checkpoint=place, resume=True, on_progress=told.append)
    assert not longer.drift.applied and not longer.unchanged
    assert len(longer.loss) == len(whole.loss) + 3
    np.testing.assert_array_equal(longer.loss[: len(whole.loss)], whole.loss)
    assert [one.state for one in told].index("done") == len(told) - 1


def test_more_epochs_of_a_run_whose_trials_removed_the_drift(moving, gains, tmp_path):
    """Nothing followed it, even if the checkpoint of an earlier run says so; it was left without its epochs."""
    gains(0.0, replace(LEFT, applied=True))
    place = tmp_path / "run.npz"
    whole = refined(moving, checkpoint=place)
    checkpoints.of_second_run(place).write_bytes(b"of an earlier run")
    more = Preset.from_mapping({**SETTINGS, "epoch_max": len(whole.loss) + 3})
    longer = refined(moving, more, checkpoint=place, resume=True)
    assert len(longer.loss) == len(whole.loss) + 3


REMOVED = replace(LEFT, applied=True, reason="drift (a, b) Å: corrected, trials show it")


@pytest.mark.parametrize(
    ("deviations", "then", "share"), [(-0.9, 0.0, 1.0), (-1.1, 0.9, 0.5), (-1.1, 1.3, 1.0), (-1.1, -9.0, 0.5)]
)
def test_half_of_a_drift_that_an_object_of_several_slices_wants_back_is_given_back(
    moving, gains, deviations, then, share
):
    """75 Å of silicon were given 1.9 Å instead of 0.4 by a lattice and trials that were sure: 0.70 instead of 0.91."""
    gains(0.0, replace(REMOVED, applied=False))
    alone = refined(moving, SEVERAL)
    gains(deviations, REMOVED, then=then)
    told = []
    result = refined(moving, SEVERAL, on_progress=told.append)
    assert result.state == "done" and result.drift.applied
    assert result.drift.drift_A == (0.6 * share, -0.4 * share)
    if share == 0.5:
        assert result.drift.uncertainty_A == (math.hypot(0.5, 0.3), math.hypot(0.5, 0.2))  # the other half may be there
    assert result.reason.count(result.drift.reason) == 1
    np.testing.assert_allclose(result.positions_A, without_drift(moving.dataset, result.drift).positions_A)
    assert (len(result.loss) > len(alone.loss)) is (share == 0.5)
    assert ("half of it corrected (0.30, -0.20)" in result.reason) is (share == 0.5)
    assert ("an object refined with half of the drift shows the other half" in result.reason) is (then == 1.3)
    assert [one.state for one in told].index("done") == len(told) - 1


def test_the_object_is_strained_with_the_positions_when_half_of_a_drift_is_put_back(moving, gains, monkeypatch):
    gains(-7.0, REMOVED, then=0.0)
    strained, on = [], StrainedScan.on

    def noted(self, new, matrix):
        strained.append(matrix)
        return on(self, new, matrix)

    monkeypatch.setattr(StrainedScan, "on", noted)
    after = refined(moving, SEVERAL).positions_A
    before = without_drift(moving.dataset, REMOVED).positions_A
    expected = (before - before.mean(axis=0)) @ strained[-1].T
    np.testing.assert_allclose(
        after - after.mean(axis=0), expected, atol=0.02
    )  # the drift within a row: 0.4 / 2 / rows


def test_a_stop_before_half_of_a_drift_was_tested_keeps_the_whole_removed(moving, gains):
    gains(-7.0, REMOVED)
    told = [""]
    stop = lambda: "strain on the object refined without it" in told[-1]  # noqa: E731
    result = refined(moving, SEVERAL, on_progress=lambda one: told.append(one.message), should_stop=stop)
    assert result.state == "done" and result.drift.drift_A == REMOVED.drift_A
    assert "stopped before half of the drift was tested" in result.reason


def test_more_epochs_continue_a_run_with_half_of_its_drift(moving, gains, tmp_path):
    gains(-7.0, REMOVED, then=0.0)
    place = tmp_path / "run.npz"
    whole = refined(moving, SEVERAL, checkpoint=place)
    more = SEVERAL.model_copy(update={"epoch_max": len(whole.loss) + 3})
    longer = refined(moving, more, checkpoint=place, resume=True)
    assert longer.drift.drift_A == (0.3, -0.2) and len(longer.loss) == len(whole.loss) + 3
    np.testing.assert_array_equal(longer.loss[: len(whole.loss)], whole.loss)


def test_a_new_run_is_no_continuation_of_an_earlier_one(moving, gains, tmp_path):
    """A given number of epochs, not resumed: the checkpoints of the earlier run lie there."""
    gains(7.0)
    place = tmp_path / "run.npz"
    refined(moving, checkpoint=place)
    assert checkpoints.of_second_run(place).exists()
    new = refined(moving, Preset.from_mapping({**SETTINGS, "epoch_max": 3}), checkpoint=place)
    assert len(new.loss) == 3 and not new.drift.applied


@pytest.mark.slow
def test_a_checkpoint_of_another_first_run_is_none_of_a_continuation(moving, gains, tmp_path):
    gains(7.0)
    place = tmp_path / "run.npz"
    refined(moving, checkpoint=place)
    second = checkpoints.of_second_run(place).read_bytes()
    refined(moving, Preset.from_mapping({**SETTINGS, "seed": 1}), checkpoint=place)
    place_of_other = checkpoints.of_second_run(place)
    assert place_of_other.read_bytes() != second
    place_of_other.write_bytes(second)
    again = refined(moving, Preset.from_mapping({**SETTINGS, "seed": 1}), checkpoint=place, resume=True)
    assert again.state == "done"  # begun anew: the checkpoint belongs to other numbers


@pytest.mark.parametrize(
    ("changes", "drift"),
    [
        ({"epoch_max": 5}, LEFT),
        ({"refine_drift": True}, LEFT),
        ({"optimizer": "adam"}, LEFT),
        ({"update_obj": False}, LEFT),
        ({"update_probe": "epoch > 3"}, LEFT),
        ({}, replace(LEFT, applied=True)),
        ({}, replace(LEFT, deviations=0.9)),
        ({}, None),
    ],
)
def test_of_which_runs_it_is_asked(moving, changes, drift):
    preset = Preset.from_mapping({**SETTINGS, **changes})
    measured = prepare(moving.dataset, PRESET.model_copy(update={"refine_drift": False}), None).measured
    assert drift_is_tested(replace(measured, drift=LEFT), PRESET)
    assert drift_is_tested(replace(measured, drift=LEFT), PRESET.model_copy(update=THICK))
    assert drift_is_tested(replace(measured, drift=REMOVED), PRESET.model_copy(update=THICK))
    assert not drift_is_tested(replace(measured, drift=drift), preset)


def test_a_drift_beyond_the_resolution_is_not_asked_for(moving):
    """The slope at the end of a run reveals nothing about changes beyond the resolution."""
    measured = prepare(moving.dataset, PRESET.model_copy(update={"refine_drift": False}), None).measured
    resolution_A = 1 / measured.probe.semiangle_invA
    for share, asked in ((0.9, True), (1.1, False)):  # root mean square of a uniform motion from end to end
        drift = replace(LEFT, drift_A=(share * math.sqrt(12) * resolution_A, 0.0))
        assert drift_is_tested(replace(measured, drift=drift), PRESET) is asked


@pytest.mark.parametrize("origin", quick_first([Origin.GIVEN, Origin.ESTIMATED, Origin.UNDECIDED]))
def test_of_a_rotation_that_maps_have_found_the_turn_is_left_aside(moving, gains, monkeypatch, origin):
    gains(0.0)
    asked = []

    def score(self, drift, *, turned=True):
        asked.append(turned)
        return StrainScore(0.0, 1.0, 0.0)

    monkeypatch.setattr(StrainedScan, "score", score)
    calibration = moving.dataset.calibration
    rotation = replace(calibration.entries["rotation_deg"], origin=origin)
    found = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    refine(found, PRESET, backend="cpu")
    assert asked == [origin is Origin.GIVEN]


def test_few_patterns_are_not_asked(simulated):
    measured = prepare(simulated.dataset, PRESET.model_copy(update={"refine_drift": False}), None).measured
    assert not drift_is_tested(replace(measured, drift=LEFT), PRESET)


@pytest.mark.slow
def test_a_run_that_refines_its_thickness_is_asked(moving, gains):
    gains(7.0)
    thick = {"num_slices": 2, "total_thickness_A": 10.0, "update_thickness": True}
    result = refined(moving, Preset.from_mapping({**SETTINGS, **thick}))
    assert "lattice and refined object" in result.drift.reason


def test_runs_that_refine_more_than_object_and_probe_are_not_asked(moving, gains, monkeypatch):
    gains(7.0)
    monkeypatch.setattr(drift_afterwards, "continued_without_drift", None)
    result = refined(moving, Preset.from_mapping({**SETTINGS, "update_beam_current": True}))
    assert result.state == "done" and not result.drift.applied
