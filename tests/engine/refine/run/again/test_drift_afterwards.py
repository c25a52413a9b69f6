"""A drift that only the refined object reveals: the run continues without it."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from shown_drift import LEFT, PRESET, REMOVED, SETTINGS, SHARE, STIFFNESS, THICK, TRUE_A, UNLIKELY, refined

from ptylive.engine.refine import refine
from ptylive.engine.refine.data.drift import taken_A, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.problem.prepare import NO_DRIFT, prepare
from ptylive.engine.refine.run.again import drift_afterwards
from ptylive.engine.refine.run.again.continuation import Continuation
from ptylive.engine.refine.run.again.drift_afterwards import MOST_STEPS, WORTH_A_RUN, drift_is_tested
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import SHOWN, UNSURE, StrainedScan
from ptylive.engine.refine.tuning.mode_choice import LEAST_PATTERNS
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema import Origin, RefinementError
from ptylive.schema.preset import Preset


@pytest.mark.parametrize("drift", quick_first([LEFT, None, REMOVED]))
def test_the_run_goes_on_without_the_drift_that_its_object_shows(moving, shows, tmp_path, drift):
    """Whatever the lattice shows of it, or trials removed of what the lattice shows."""
    shows(TRUE_A, drift)
    told, table = [], tmp_path / "loss.csv"
    result = refined(moving, on_progress=told.append, loss_table=table)
    assert result.state == "done" and result.drift.applied
    assert result.drift.drift_A == pytest.approx(TRUE_A)
    words = "drift (0.60 ± 0.00, -0.40 ± 0.00) Å along slow and fast axis: corrected, found with the refined object"
    assert result.drift.reason == words and result.reason.count(words) == 1
    assert NO_DRIFT not in result.reason and "(a, b)" not in result.reason
    np.testing.assert_allclose(result.positions_A, without_drift(moving.dataset, result.drift).positions_A)
    anew = result.phases.index("sweep", 2)
    assert result.phases.count("sweep") == 2 * 2 and anew >= 2 + 6
    assert len(result.phases) - anew >= 2 + 6
    assert result.loss[-1] < result.loss[anew - 1] < result.loss[anew]
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


@pytest.mark.parametrize(("coarse", "why"), [(True, "steps are above 1.5 λ/α"), (False, "too few frequencies")])
def test_a_scan_of_which_only_the_object_is_tested_says_what_was_found(moving, shows, monkeypatch, coarse, why):
    """Regression: the drift of a scan with coarse steps "cannot be measured", said a run that had tested its object."""
    monkeypatch.setattr(drift_afterwards, "is_too_coarse", lambda *_: coarse)
    shows((0.0, 0.0), None)
    result = refined(moving)
    assert NO_DRIFT not in result.reason and "cannot be measured" not in result.reason
    said = f"drift: before the run it could not be measured ({why}"
    assert result.reason.count(said) == 1 and "; the refined object shows none" in result.reason.split(said)[1]


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
    assert result.state == "done" and not result.drift.applied
    np.testing.assert_array_equal(result.loss, alone.loss)
    np.testing.assert_array_equal(result.object, alone.object)
    assert [one.state for one in told].index("done") == len(told) - 1


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (1, MemoryError(), "not enough memory"),
        (1, np.linalg.LinAlgError("Singular matrix"), "its slopes depend on each other"),
        (2, RefinementError("the device is lost", "restart it"), "the device is lost: restart it"),
    ],
)
def test_whatever_prevents_the_test_of_an_object_leaves_the_run_that_was_made(
    moving, shows, monkeypatch, tmp_path, asked, error, words
):
    """The finished run failed with it, again whenever it was resumed."""
    shows((0.0, 0.0))
    alone = refined(moving)
    shows(TRUE_A, UNLIKELY)
    slopes, left, told, table = StrainedScan.slopes, [asked - 1], [], tmp_path / "loss.csv"

    def fails(self, strains):
        if not left[0]:
            raise error
        left[0] -= 1
        return slopes(self, strains)

    monkeypatch.setattr(StrainedScan, "slopes", fails)
    result = refined(moving, on_progress=told.append, loss_table=table)
    assert result.state == "done" and not result.drift.applied
    assert result.drift.reason == f"{UNLIKELY.reason}; the refined object could not be tested for it: {words}"
    assert result.reason.count(result.drift.reason) == 1
    np.testing.assert_array_equal(result.object, alone.object)
    assert len(table.read_text().splitlines()) == len(alone.loss) + 1
    assert [one.state for one in told].index("done") == len(told) - 1


def test_after_a_step_too_far_a_shorter_one_follows_with_the_curvature_that_it_showed(moving, shows):
    """107 Å of SrTiO₃: after 1.2 of 2.0 Å a step led to 2.7 Å with a higher loss, and the next one to 1.9 Å."""
    shows(TRUE_A, UNLIKELY, share=2.2 * SHARE)  # the first step is much too long, the second leads to the drift
    result = refined(moving)
    assert result.drift.drift_A == pytest.approx(TRUE_A, abs=1e-6)
    assert result.phases.count("sweep") == 2 * 2  # those of the first run and of the one that stands


@pytest.mark.parametrize(
    ("drift_A", "first_A"),
    [((0.9, -0.5), (0.9, -0.5)), ((0.9, 0.5), TRUE_A), ((-0.6, 0.4), TRUE_A), ((3.0, -2.0), (3.0, -2.0))],
)
def test_the_drift_of_a_lattice_that_agrees_with_the_object_is_tried_first(
    moving, shows, monkeypatch, drift_A, first_A
):
    """SrTiO₃ was given half of its drift by its object alone. The last drift here is five times too large."""
    shows(TRUE_A, replace(LEFT, drift_A=drift_A, deviations=3.0))
    tried, refined_once = [], Continuation.refined

    def noted(self, problem, end):
        tried.append(taken_A(problem.measured.drift))
        return refined_once(self, problem, end)

    monkeypatch.setattr(Continuation, "refined", noted)
    result = refined(moving)
    assert tried[0] == pytest.approx(first_A)
    assert result.drift.drift_A == pytest.approx(TRUE_A, abs=0.01)
    assert result.drift.reason.count("found with the refined object") == 1


@pytest.mark.parametrize(("share", "steps"), [(SHARE, 1), (0.8 * SHARE, 2), (SHARE / 1000, MOST_STEPS)])
def test_steps_end_where_slopes_are_noise_and_are_few(moving, shows, monkeypatch, share, steps):
    shows(TRUE_A, share=share, fall=10 * STIFFNESS)
    monkeypatch.setattr(drift_afterwards, "WORTH_A_RUN", 0.0)
    told = []
    refined(moving, on_progress=told.append)
    assert sum("object refined without it" in one.message for one in told) == steps


@pytest.mark.parametrize(
    ("drift", "words"),
    [
        (UNLIKELY, "shows none within a twentieth of the resolution"),
        (REMOVED, "confirms it within a twentieth of the resolution"),
    ],
)
def test_a_step_that_hardly_matters_is_not_worth_another_run(moving, shows, drift, words):
    """Of SrTiO₃ three further runs were made for 0.1 Å."""
    resolution_A = 1 / prepare(moving.dataset, PRESET, None).measured.probe.semiangle_invA
    left_A = np.array([0.9 * WORTH_A_RUN * resolution_A, 0.0])
    shows(taken_A(drift) + left_A, drift, fall=100 * STIFFNESS)
    result = refined(moving)
    assert result.drift.applied is drift.applied
    assert result.drift.reason == f"{drift.reason}; the refined object {words}"
    assert result.reason.count(result.drift.reason) == 1
    shows(taken_A(drift) + 1.2 * left_A, drift, fall=100 * STIFFNESS)
    assert refined(moving).drift.drift_A == pytest.approx(taken_A(drift) + 1.2 * left_A, abs=0.01)


def test_a_drift_that_is_too_large_to_be_true_is_not_corrected(moving, shows, monkeypatch):
    shows(TRUE_A)
    monkeypatch.setattr(ScanStrains, "are_possible", lambda self, point: False)
    result = refined(moving)
    assert not result.drift.applied
    assert result.drift.reason == f"{LEFT.reason}; the refined object shows more than a scan may drift"


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
    assert after.origin is origin and 0 < after.uncertainty < 0.1, "a half turn is as open as before"
    assert f"along with the rotation ({after.value - stated_deg:+.2f} ± " in result.reason
    steps = np.diff(result.positions_A.reshape(rows.shape[0] + 1, -1, 2)[0], axis=0).mean(axis=0)
    before = np.diff(moving.dataset.positions_A.reshape(rows.shape[0] + 1, -1, 2)[0], axis=0).mean(axis=0)
    turned = np.degrees(np.arctan2(steps[1], steps[0]) - np.arctan2(before[1], before[0]))
    assert turned == pytest.approx(np.degrees(turn_A / length_A), abs=0.2)


@pytest.mark.parametrize("drift", quick_first([None, LEFT, REMOVED]))
def test_a_rotation_that_explains_the_slopes_is_corrected_alone(moving, shows, drift):
    calibration, turn_A = moving.dataset.calibration, 0.5
    stated_deg, length_A = calibration.get("rotation_deg"), Lattice.of(moving.dataset).lengths_A[0]
    rotation = replace(calibration.entries["rotation_deg"], origin=Origin.ESTIMATED)
    shows(taken_A(drift), drift, turn_A=turn_A).update(rotation_deg=stated_deg, length_A=length_A)
    dataset = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    result = refine(dataset, PRESET, backend="cpu")
    assert result.calibration.get("rotation_deg") - stated_deg == pytest.approx(np.degrees(turn_A / length_A), abs=1e-3)
    assert "corrected, found with the refined object: no drift is shown beyond that; drift" in result.reason
    assert taken_A(result.drift) == taken_A(drift)


@pytest.mark.parametrize("drift", quick_first([LEFT, None]))
def test_a_rotation_that_is_corrected_in_two_steps_is_told_of_once(moving, shows, monkeypatch, drift):
    """Regression: the angle of the first step stood before that of the second, which replaces it."""
    calibration, turn_A = moving.dataset.calibration, 0.5
    stated_deg, length_A = calibration.get("rotation_deg"), Lattice.of(moving.dataset).lengths_A[0]
    rotation = replace(calibration.entries["rotation_deg"], origin=Origin.ESTIMATED)
    asked = shows((0.0, 0.0), drift, turn_A=turn_A, share=0.8 * SHARE, fall=10 * STIFFNESS)
    asked.update(rotation_deg=stated_deg, length_A=length_A)
    monkeypatch.setattr(drift_afterwards, "WORTH_A_RUN", 0.0)
    told, dataset = [], replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    result = refine(dataset, PRESET, backend="cpu", on_progress=told.append)
    assert sum("object refined without it" in one.message for one in told) == 2
    turn_deg = result.calibration.get("rotation_deg") - stated_deg
    assert turn_deg == pytest.approx(np.degrees(turn_A / length_A), abs=1e-3)
    assert result.reason.count("found with the refined object") == 1
    assert f"rotation ({turn_deg:+.2f} ± " in result.reason


def test_a_rotation_under_which_nothing_is_better_is_not_said_to_be_a_drift(moving, shows, monkeypatch):
    calibration = moving.dataset.calibration
    rotation = replace(calibration.entries["rotation_deg"], origin=Origin.ESTIMATED)
    asked = shows((0.0, 0.0), LEFT, turn_A=0.5)
    asked.update(rotation_deg=calibration.get("rotation_deg"), length_A=Lattice.of(moving.dataset).lengths_A[0])
    monkeypatch.setattr(drift_afterwards, "is_as_low", lambda *_, **__: False)
    dataset = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    result = refine(dataset, PRESET, backend="cpu")
    assert result.drift.reason == f"{LEFT.reason}; the refined object shows another rotation, but is no better with it"
    assert result.calibration.get("rotation_deg") == rotation.value


@pytest.mark.parametrize("frame_is_given", [True, False])
def test_a_scan_is_not_turned_against_an_object_that_was_given(moving, shows, frame_is_given):
    """A result continues it in its frame; one of part of the same scan follows the scan."""
    calibration = moving.dataset.calibration
    rotation = replace(calibration.entries["rotation_deg"], origin=Origin.ESTIMATED)
    found = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    length_A = Lattice.of(found).lengths_A[0]
    asked = shows(TRUE_A, turn_A=0.5)
    asked.update(rotation_deg=rotation.value, length_A=length_A)
    warm = WarmStart(np.ones((1, 1, 8, 8), np.complex64), 0.5, (0.0, 0.0), frame_is_given=frame_is_given)
    result = refine(found, PRESET, backend="cpu", warm=warm)
    assert result.drift.applied
    turned_deg = result.calibration.rotation_deg - rotation.value
    assert turned_deg == pytest.approx(0.0 if frame_is_given else np.degrees(0.5 / length_A), abs=1e-3)
    assert "started from an earlier refinement" in result.reason


@pytest.mark.parametrize("begun", [True, False])
def test_the_optics_stay_in_a_run_that_starts_from_a_probe(moving, shows, begun):
    """Regression: a run after rounds during its scan stated other optics than those of the probe it started from."""
    calibration = moving.dataset.calibration
    found = calibration.having(C10=replace(calibration.entries["C10"], value=-120.0, origin=Origin.ESTIMATED))
    shows(TRUE_A)
    rounds = WarmStart(np.ones((1, 1, 8, 8), np.complex64), 0.5, (0.0, 0.0), frame_is_given=False)
    dataset = replace(moving.dataset, calibration=found)
    result = refine(dataset, PRESET, backend="cpu", warm=rounds if begun else None)
    assert result.drift.applied
    assert ("along with C10" in result.drift.reason) is not begun


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


def test_few_patterns_are_not_asked(moving):
    """Neither are those of a lattice, of which part is missing."""
    part = moving.dataset.part(np.arange(LEAST_PATTERNS - 1))
    assert Lattice.of(part) is not None
    measured = prepare(part, PRESET.model_copy(update={"refine_drift": False}), None).measured
    assert not drift_is_tested(measured, part, PRESET)
