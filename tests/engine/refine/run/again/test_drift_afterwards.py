"""A drift that only the refined object reveals: the run continues without it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.refine import refine
from ptylive.engine.refine.data.drift import Drift, taken_A, without_drift
from ptylive.engine.refine.problem import measurement
from ptylive.engine.refine.problem.prepare import NO_DRIFT, prepare
from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run import run
from ptylive.engine.refine.run.again import drift_afterwards
from ptylive.engine.refine.run.again.drift_afterwards import EPOCHS, MOST_STEPS, SHOWN, drift_is_tested
from ptylive.engine.refine.run.again.drift_search import LEFT as SHARE
from ptylive.engine.refine.run.again.strained_scan import UNSURE, Slopes, StrainedScan
from ptylive.engine.refine.run.history import History, snapshots
from ptylive.schema import Origin
from ptylive.schema.preset import Preset

SETTINGS = {"window_px": 32, "probe_modes": 1, "num_slices": 1, "sweeps": 2, "regime": "thin", "phase_deviation": False}
PRESET = Preset.from_mapping(SETTINGS)
THICK = {"num_slices": 2, "total_thickness_A": 20.0}
UNLIKELY = Drift((0.3, 0.1), (0.5, 0.5), 60.0, 0.0, False, "drift (a, b) Å: not significant, not corrected", 0.6)
LEFT = replace(UNLIKELY, reason="drift (a, b) Å: not corrected, trials do not show it", deviations=1.5)
REMOVED = replace(LEFT, applied=True, reason="drift (a, b) Å: corrected, trials show it")
TRUE_A = (0.6, -0.4)
STIFFNESS = 1000.0


@pytest.fixture
def shows(monkeypatch):
    """Let refined objects show a drift (slow, fast), Å, and a rotation (displacement of the slow axis' end, Å).

    ``drift``: of the lattice, which trials left alone or removed. ``share``: of the curvature with the object's values
    held that is left when they follow. ``fall``: slope for 1 Å; its standard deviation is 1.
    """

    def by(true_A, drift=LEFT, *, turn_A=0.0, share=SHARE, fall=STIFFNESS, even=0.0):
        def checked(measured, tuned, context, **how):
            dataset = tuned.dataset if drift is None else without_drift(tuned.dataset, drift)
            return tuned, replace(measured, dataset=dataset, drift=drift)

        def slopes(self, strains):
            self._context.pause()  # as happens between the losses of two strains
            dataset, removed = self._problem.measured.dataset, taken_A(self._problem.measured.drift)
            left = np.subtract(true_A, removed)
            if len(strains) == 3:
                turned = dataset.calibration.get("rotation_deg") - asked["rotation_deg"]
                turned_A = np.radians(turned) * asked["length_A"] + 0.5 * removed[1]
                left = np.append(left, turn_A + 0.5 * true_A[1] - turned_A)
            return Slopes(fall * left, np.eye(len(strains)))

        asked = {}
        monkeypatch.setattr(measurement, "find_drift", lambda *_, **__: None)  # the lattice's is given here
        monkeypatch.setattr(run, "with_checked_drift", checked)
        monkeypatch.setattr(StrainedScan, "slopes", slopes)
        monkeypatch.setattr(StrainedScan, "curvatures", lambda self, strains: np.full(len(strains), fall / share))
        monkeypatch.setattr(StrainedScan, "with_even", lambda self, slopes: replace(slopes, even=even))
        return asked

    return by


def refined(moving, preset=PRESET, **options):
    return refine(moving.dataset, preset, backend="cpu", **options)


@pytest.mark.parametrize("drift", quick_first([LEFT, None, REMOVED]))
def test_the_run_goes_on_without_the_drift_that_its_object_shows(moving, shows, tmp_path, drift):
    """Whatever the lattice shows of it, or trials removed of what the lattice shows."""
    shows(TRUE_A, drift)
    told, table = [], tmp_path / "loss.csv"
    result = refined(moving, on_progress=told.append, loss_table=table)
    assert result.state == "done" and result.drift.applied
    assert result.drift.drift_A == pytest.approx(TRUE_A)
    words = "drift (0.60 ± 0.12, -0.40 ± 0.08) Å along slow and fast axis: corrected, found with the refined object"
    assert result.drift.reason == words and result.reason.count(words) == 1
    assert NO_DRIFT not in result.reason and "(a, b)" not in result.reason
    np.testing.assert_allclose(result.positions_A, without_drift(moving.dataset, result.drift).positions_A)
    planned = 2 + 6
    assert len(result.loss) >= planned + EPOCHS
    assert set(result.phases[planned:]) == {"lbfgs"}
    assert result.loss[-1] < result.loss[planned - 1]
    assert len(table.read_text().splitlines()) == len(result.loss) + 1
    states = [one.state for one in told]
    assert states.index("done") == len(states) - 1
    assert any("the drift's strain" in one.message for one in told)


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        (UNLIKELY, "; the refined object shows none"),
        (LEFT, ", and lattice and refined object do not show it either (1.5 and 0.0 standard deviations, evidence 2.1"),
        (REMOVED, "; the refined object confirms it"),
    ],
)
def test_an_object_without_slopes_leaves_the_run_alone_and_says_so(moving, shows, drift, words):
    shows(taken_A(drift), drift)
    told = []
    result = refined(moving, on_progress=told.append)
    assert result.drift.drift_A == drift.drift_A and result.drift.applied is drift.applied
    assert result.drift.reason.startswith(drift.reason + words)
    assert result.reason.count(result.drift.reason) == 1
    np.testing.assert_array_equal(result.positions_A, without_drift(moving.dataset, drift).positions_A)
    assert [one.state for one in told].index("done") == len(told) - 1


@pytest.mark.parametrize(
    ("chi_squared", "even", "applied"),
    [(1.8, 0.0, False), (2.2, 0.0, True), (3.8, 1 / UNSURE, False), (4.2, 1 / UNSURE, True)],
)
def test_slopes_have_to_be_beyond_doubt(moving, shows, chi_squared, even, applied):
    """What a model lacks stretches the scan evenly: the more it does, the less certain are other slopes."""
    shows((1.0, 0.0), replace(LEFT, deviations=0.0), fall=np.sqrt(chi_squared * SHOWN), even=even)
    assert refined(moving).drift.applied == applied


@pytest.mark.parametrize("when", quick_first(["on the refined object", "on the object refined without it"]))
def test_a_stop_while_the_object_is_asked_keeps_what_was_refined(moving, shows, when):
    """It failed with "stopped on request before the refinement began", and hours of work were lost."""
    shows((0.0, 0.0))
    alone = refined(moving)
    shows(TRUE_A)
    told = []
    result = refined(moving, on_progress=told.append, should_stop=lambda: bool(told) and when in told[-1].message)
    assert result.state == "done" and result.drift.applied is ("without" in when)
    assert (len(result.loss) > len(alone.loss)) is ("without" in when)
    np.testing.assert_array_equal(result.loss[: len(alone.loss)], alone.loss)
    assert [one.state for one in told].index("done") == len(told) - 1


def test_a_step_that_raises_the_loss_is_undone(moving, shows, monkeypatch, tmp_path):
    shows((0.0, 0.0))
    alone = refined(moving)
    shows(TRUE_A)
    monkeypatch.setattr(drift_afterwards, "is_lower", lambda result, than: False)
    told, table, history = [], tmp_path / "loss.csv", History(tmp_path / "epochs")
    result = refined(moving, on_progress=told.append, loss_table=table, history=history)
    assert result.state == "done" and not result.drift.applied
    why = "; the refined object shows another, but the loss is not lower with it"
    assert result.drift.reason == LEFT.reason + why and result.reason.count(why) == 1
    np.testing.assert_array_equal(result.positions_A, moving.dataset.positions_A)
    np.testing.assert_array_equal(result.loss, alone.loss)
    np.testing.assert_array_equal(result.object, alone.object)
    assert len(table.read_text().splitlines()) == len(alone.loss) + 1
    assert len(snapshots(history.folder)) == len(alone.loss) + 1
    assert [one.state for one in told].index("done") == len(told) - 1
    assert told[-1].epoch == len(alone.loss)


def test_after_a_step_too_far_a_shorter_one_starts_from_what_stands(moving, shows, monkeypatch):
    """107 Å of SrTiO₃: after 1.2 of 2.0 Å the third step led to 2.7 Å with a higher loss, the fourth to 1.9 Å."""
    shows(TRUE_A, share=2 * SHARE)  # the first step is twice too long, the second leads to the drift
    answers, strained, on = iter([False, True]), [], StrainedScan.on

    def noted(self, new, matrix):
        strained.append((taken_A(self._problem.measured.drift), matrix))
        return on(self, new, matrix)

    monkeypatch.setattr(StrainedScan, "on", noted)
    monkeypatch.setattr(drift_afterwards, "is_lower", lambda result, than: next(answers))
    result = refined(moving)
    assert result.drift.drift_A == pytest.approx(TRUE_A, abs=1e-6)
    (_, first), (start, second) = strained
    assert start == (0.0, 0.0)
    np.testing.assert_allclose(first - np.eye(2), 2 * (second - np.eye(2)), rtol=1e-6)
    moved = result.positions_A - result.positions_A.mean(axis=0)
    nominal = moving.dataset.positions_A - moving.dataset.positions_A.mean(axis=0)
    np.testing.assert_allclose(moved, nominal @ second.T, atol=0.03)  # the drift within a row


@pytest.mark.parametrize(("share", "steps"), [(SHARE, 1), (0.8 * SHARE, 2), (SHARE / 1000, MOST_STEPS)])
def test_steps_end_where_slopes_are_noise_and_are_few(moving, shows, monkeypatch, share, steps):
    shows(TRUE_A, share=share, fall=10 * STIFFNESS)
    monkeypatch.setattr(drift_afterwards, "HARMLESS", 0.0)
    told = []
    refined(moving, on_progress=told.append)
    assert sum("object refined without it" in one.message for one in told) == steps


def test_a_step_that_changes_nothing_is_not_made(moving, shows):
    shows((0.001, 0.0), fall=100 * STIFFNESS, drift=UNLIKELY)
    assert not refined(moving).drift.applied


def weak(monkeypatch, before, after):
    """Slopes along the slow axis of a weak scan, in standard deviations, of the first object and of the continued one.

    A drift of (0.6, 0) Å that the lattice shows moves the loss by as much.
    """
    values = itertools.chain([before], itertools.repeat(after))

    def slopes(self, strains):
        self._context.pause()
        return Slopes(np.array([next(values), 0.0]), np.eye(2))

    monkeypatch.setattr(StrainedScan, "slopes", slopes)


POSSIBLE = replace(LEFT, drift_A=(0.6, 0.0), deviations=3.0)


@pytest.mark.parametrize(
    ("before", "after", "applied", "words"),
    [
        (3.0, -1.0, True, "corrected, lattice and refined object show it (3.0 and 3.0 standard deviations, evidence 1"),
        (3.0, -7.5, False, "show it (3.0 and 3.0 standard deviations, evidence 12.6 of 10), but the object refined"),
        (
            1.9,
            -1.0,
            True,
            "the object refined without it shows it, as lattice and refined object had suggested (3.0 an",
        ),
        (1.9, -3.5, False, "suggest it (3.0 and 1.9 standard deviations, evidence 9.9 of 10), but the object refined"),
        (-3.0, 9.0, False, "and lattice and refined object do not show it either (3.0 and -3.0 standard deviations, e"),
    ],
)
def test_lattice_and_object_together_show_the_drift_of_a_weak_scan(
    moving, shows, monkeypatch, before, after, applied, words
):
    """Graphene whose rotation was 1.2° off had evidence of 9.7 for 0.7 Å, and 0.860 became 0.938 without them."""
    shows(TRUE_A, POSSIBLE)
    weak(monkeypatch, before, after)
    result = refined(moving)
    assert result.drift.applied is applied and result.drift.drift_A == POSSIBLE.drift_A
    assert words in result.drift.reason and result.reason.count(result.drift.reason) == 1
    assert result.drift.uncertainty_A == POSSIBLE.uncertainty_A


@pytest.mark.slow
def test_a_drift_that_the_object_wants_back_leaves_the_files_of_the_first_run(moving, shows, monkeypatch, tmp_path):
    """A platinum lattice indicated 1.7 Å by 5.9 deviations where 0.4 were present: 0.75 was reached instead of 0.95."""
    shows((0.0, 0.0), UNLIKELY)
    alone = refined(moving)
    shows(TRUE_A, POSSIBLE)
    weak(monkeypatch, 3.0, -9.0)
    table, history = tmp_path / "loss.csv", History(tmp_path / "epochs")
    result = refined(moving, loss_table=table, history=history)
    np.testing.assert_array_equal(result.loss, alone.loss)
    np.testing.assert_array_equal(result.object, alone.object)
    assert len(table.read_text().splitlines()) == len(alone.loss) + 1
    assert len(snapshots(history.folder)) == len(alone.loss) + 1


def test_a_stop_before_a_suggested_drift_was_confirmed_keeps_the_first_run(moving, shows, monkeypatch):
    shows((0.0, 0.0), UNLIKELY)
    alone = refined(moving)
    shows(TRUE_A, POSSIBLE)
    weak(monkeypatch, 3.0, -1.0)
    told = [""]
    stop = lambda: "object refined without it" in told[-1]  # noqa: E731
    result = refined(moving, on_progress=lambda one: told.append(one.message), should_stop=stop)
    assert result.state == "done" and not result.drift.applied
    np.testing.assert_array_equal(result.object, alone.object)
    assert "but the run was stopped before the object refined without it was tested" in result.reason


def test_after_a_suggested_drift_the_search_goes_on_if_slopes_show_the_rest(moving, shows, monkeypatch):
    shows(TRUE_A, POSSIBLE, fall=20.0)
    weak(monkeypatch, 3.0, 9.0)
    told = []
    result = refined(moving, on_progress=told.append)
    assert result.drift.applied and result.drift.drift_A[0] > POSSIBLE.drift_A[0]
    assert sum("object refined without it" in one.message for one in told) > 1


@pytest.mark.parametrize("origin", quick_first([Origin.ESTIMATED, Origin.UNDECIDED, Origin.GIVEN]))
def test_a_rotation_that_nobody_stated_is_corrected_along_with_the_drift(moving, shows, origin):
    """The maps' rotation absorbs half of a drift across the slow axis."""
    calibration = moving.dataset.calibration
    stated_deg = calibration.get("rotation_deg")
    rotation = replace(calibration.entries["rotation_deg"], origin=origin)
    found = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    rows = np.diff(moving.dataset.positions_A.reshape(*moving.dataset.scan_shape, 2), axis=0)
    length_A = moving.dataset.scan_shape[0] * float(np.hypot(*rows.mean(axis=(0, 1))))
    turn_A = 0.5
    asked = shows(TRUE_A, turn_A=turn_A)
    asked.update(rotation_deg=stated_deg, length_A=length_A)
    result = refine(found, PRESET, backend="cpu")
    after = result.calibration.entries["rotation_deg"]
    if origin is Origin.GIVEN:
        assert after.value == stated_deg
        return
    assert after.value - stated_deg == pytest.approx(np.degrees(turn_A / length_A), rel=1e-3)
    assert after.origin is Origin.ESTIMATED and 0 < after.uncertainty < 0.1
    assert f"along with the rotation ({after.value - stated_deg:+.2f} ± " in result.reason
    steps = np.diff(result.positions_A.reshape(rows.shape[0] + 1, -1, 2)[0], axis=0).mean(axis=0)
    before = np.diff(moving.dataset.positions_A.reshape(rows.shape[0] + 1, -1, 2)[0], axis=0).mean(axis=0)
    turned = np.degrees(np.arctan2(steps[1], steps[0]) - np.arctan2(before[1], before[0]))
    assert turned == pytest.approx(np.degrees(turn_A / length_A), abs=0.2)


def test_it_goes_on_from_the_object_that_was_refined(moving, shows):
    """Shown by the loss of the first epoch: that of an empty object is far higher."""
    shows((0.0, 0.0))
    alone = refined(moving)
    shows(TRUE_A)
    result = refined(moving)
    first = result.loss[len(alone.loss)]
    assert first < 1.1 * alone.loss[-1] < 0.8 * alone.loss[0]


@pytest.mark.parametrize("share", quick_first([SHARE / 2, SHARE]))
def test_a_stopped_continuation_is_resumed_from_its_own_checkpoint(moving, shows, tmp_path, share):
    shows(TRUE_A, share=share)
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


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch_max": 5},
        {"refine_drift": True},
        {"refine_drift": False},
        {"optimizer": "adam"},
        {"update_obj": False},
        {"update_probe": "epoch > 3"},
    ],
)
def test_of_which_runs_it_is_asked(moving, changes):
    preset = Preset.from_mapping({**SETTINGS, **changes})
    measured = prepare(moving.dataset, PRESET.model_copy(update={"refine_drift": False}), None).measured
    assert drift_is_tested(measured, moving.dataset, PRESET)
    assert drift_is_tested(replace(measured, drift=LEFT), moving.dataset, PRESET.model_copy(update=THICK))
    assert not drift_is_tested(measured, moving.dataset, preset)


def test_positions_that_form_no_lattice_are_not_asked(moving):
    measured = prepare(moving.dataset, PRESET.model_copy(update={"refine_drift": False}), None).measured
    scattered = moving.dataset.positions_A + np.random.default_rng(0).normal(0, 0.3, moving.dataset.positions_A.shape)
    assert not drift_is_tested(measured, replace(moving.dataset, positions_A=scattered), PRESET)


def test_few_patterns_are_not_asked(simulated):
    measured = prepare(simulated.dataset, PRESET.model_copy(update={"refine_drift": False}), None).measured
    assert not drift_is_tested(measured, simulated.dataset, PRESET)


@pytest.mark.slow
def test_a_run_that_refines_its_thickness_is_asked(moving, shows):
    shows(TRUE_A)
    thick = {"num_slices": 2, "total_thickness_A": 10.0, "update_thickness": True}
    result = refined(moving, Preset.from_mapping({**SETTINGS, **thick}))
    assert "the refined object" in result.drift.reason


def test_runs_that_refine_more_than_object_and_probe_are_not_asked(moving, shows, monkeypatch):
    shows(TRUE_A)
    monkeypatch.setattr(drift_afterwards, "continued_without_drift", None)
    result = refined(moving, Preset.from_mapping({**SETTINGS, "update_beam_current": True}))
    assert result.state == "done" and not result.drift.applied
