"""A drift that objects of a few sweeps show is removed before the run."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from shown_drift import LEFT, REMOVED, SETTINGS, SHARE, STIFFNESS, THICK, TRUE_A, refined
from strict_device import ON_CARD, device

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine import refine
from ptylive.engine.refine.data.drift import taken_A, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.problem.prepare import NO_DRIFT
from ptylive.engine.refine.run import run
from ptylive.engine.refine.run.again import drift_afterwards, drift_search
from ptylive.engine.refine.run.again.scan_correction import NONE_BEYOND
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.again.strained_scan import SHOWN, UNSURE, StrainedScan
from ptylive.engine.refine.run.before import drift_of_short_runs
from ptylive.engine.refine.run.before.drift_of_short_runs import MOST_STEPS, SWEEPS, UNSETTLED, UNSETTLED_BEYOND
from ptylive.engine.refine.run.history import History
from ptylive.engine.refine.run.refinement import Refinement
from ptylive.engine.refine.tuning.orientation import AS_IT_IS
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.schema import Origin, RefinementError
from ptylive.schema.errors import StoppedError
from ptylive.schema.preset import Preset

PRESET = Preset.from_mapping({**SETTINGS, "sweeps": SWEEPS + 2})
WORDS = f"corrected, found with objects of {SWEEPS} sweeps; the refined object confirms it"


@pytest.fixture
def runs(monkeypatch):
    """Numbers of epochs at the end of the runs that were made."""
    made, run_one, first_epochs = [], Refinement.run, Refinement.first_epochs

    def complete(self, saved):
        result = run_one(self, saved)
        made.append(len(result.loss))
        return result

    def short(self, count):
        state = first_epochs(self, count)
        made.append(len(self.log.losses))
        return state

    monkeypatch.setattr(Refinement, "run", complete)
    monkeypatch.setattr(Refinement, "first_epochs", short)
    return made


@pytest.fixture
def begun(monkeypatch):
    """Losses with which the complete runs began."""
    made, run_one = [], Refinement.run

    def noted(self, saved):
        made.append(() if saved is None else saved.log.losses)
        return run_one(self, saved)

    monkeypatch.setattr(Refinement, "run", noted)
    return made


@pytest.mark.parametrize("drift", quick_first([LEFT, None, REMOVED]))
def test_the_run_begins_without_the_drift_that_short_runs_show(moving, shows, runs, tmp_path, drift):
    """Whatever the lattice shows of it, or trials removed of what the lattice shows."""
    shows(TRUE_A, drift)
    told, table = [], tmp_path / "loss.csv"
    result = refined(moving, PRESET, on_progress=told.append, loss_table=table)
    assert result.state == "done" and result.drift.applied
    assert result.drift.drift_A == pytest.approx(TRUE_A)
    assert result.drift.reason == f"drift (0.60 ± 0.00, -0.40 ± 0.00) Å along slow and fast axis: {WORDS}"
    assert result.reason.count(result.drift.reason) == 1
    assert NO_DRIFT not in result.reason and "(a, b)" not in result.reason
    np.testing.assert_allclose(result.positions_A, without_drift(moving.dataset, result.drift).positions_A)
    assert runs == [SWEEPS, SWEEPS, len(result.loss)]  # none of the complete runs is in vain
    assert result.phases.count("sweep") == SWEEPS + 2 < len(result.phases)
    assert len(table.read_text().splitlines()) == len(result.loss) + 1
    short = [one for one in told if "for a drift that they show" in one.message]
    assert {one.phase for one in short} == {"trial"}
    assert any(f"({SWEEPS} made)" in one.message for one in short)


def test_without_slopes_the_run_is_what_it_would_be_without_the_search(moving, shows, runs, monkeypatch):
    """It goes on from the sweeps that were made to look for a drift."""
    shows((0.0, 0.0))
    result = refined(moving, PRESET)
    assert not result.drift.applied and "sweeps" not in result.drift.reason
    assert runs == [SWEEPS, len(result.loss)]
    monkeypatch.setattr(drift_of_short_runs, "drift_may_show", lambda *given: False)
    alone = refined(moving, PRESET)
    np.testing.assert_array_equal(result.loss, alone.loss)
    np.testing.assert_array_equal(result.object, alone.object)
    assert result.evaluations == alone.evaluations


def test_a_run_goes_on_from_its_short_run(moving, shows, begun):
    shows(TRUE_A)
    result = refined(moving, PRESET)
    assert begun == [tuple(result.loss[:SWEEPS])]


def test_a_run_on_the_processor_goes_on_from_a_short_run_on_a_device(moving, shows, runs, monkeypatch):
    """A device may have no room left when the run begins."""
    shows((0.0, 0.0))
    alone = refined(moving, PRESET)
    runs.clear()

    def opened(name, problem, threads):
        return GeneralMultislice(problem, device, "complex64", name="gpu")

    monkeypatch.setattr(drift_of_short_runs, "open_backend", opened)
    result = refined(moving, PRESET)
    assert runs == [SWEEPS, len(alone.loss)] and result.backend != "gpu"
    np.testing.assert_allclose(result.loss, alone.loss, rtol=1e-2 if ON_CARD else 1e-4)  # 1.2e-6 without a card


def test_snapshots_are_kept_of_all_epochs(moving, shows, tmp_path):
    shows(TRUE_A)
    refined(moving, PRESET, history=History(tmp_path, 1))
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept[: SWEEPS + 2] == [f"epoch_{epoch:05d}.npz" for epoch in range(SWEEPS + 2)]


@pytest.mark.parametrize(
    ("chi_squared", "even", "applied"),
    [(1.8, 0.0, False), (2.2, 0.0, True), (3.8, 1 / UNSURE, False), (4.2, 1 / UNSURE, True)],
)
def test_slopes_have_to_be_beyond_doubt(moving, shows, chi_squared, even, applied):
    shows((1.0, 0.0), replace(LEFT, deviations=0.0), fall=np.sqrt(chi_squared * SHOWN), even=even)
    assert refined(moving, PRESET).drift.applied == applied


@pytest.mark.slow
def test_several_slices_are_searched_too(moving, shows):
    shows(TRUE_A)
    result = refined(moving, PRESET.model_copy(update=THICK))
    assert result.drift.drift_A == pytest.approx(TRUE_A, abs=0.02)
    assert "sweeps" in result.drift.reason


@pytest.mark.parametrize("origin", [Origin.ESTIMATED, Origin.GIVEN])
def test_a_rotation_that_nobody_stated_is_corrected_along(moving, shows, monkeypatch, origin):
    """The run, and all that is reported of its scan, begins with it."""
    calibration, turn_A = moving.dataset.calibration, 0.5
    stated_deg, length_A = calibration.get("rotation_deg"), Lattice.of(moving.dataset).lengths_A[0]
    rotation = replace(calibration.entries["rotation_deg"], origin=origin)
    asked = shows(TRUE_A, turn_A=turn_A)
    asked.update(rotation_deg=stated_deg, length_A=length_A)
    dataset = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    begun, search = [], run.without_drift_of_short_runs
    monkeypatch.setattr(run, "without_drift_of_short_runs", lambda *given: begun.append(search(*given)) or begun[0])
    start = StartGuess(np.zeros((8, 8), np.float32), (1.0, 1.0), rotation_deg=stated_deg)
    result = refine(dataset, PRESET, backend="cpu", start=start)
    after = result.calibration.entries["rotation_deg"]
    expected_deg = np.degrees(turn_A / length_A) if origin is Origin.ESTIMATED else 0.0
    assert after.value - stated_deg == pytest.approx(expected_deg, abs=0.001)
    assert after.origin is origin
    assert ("along with the rotation" in result.drift.reason) is (origin is Origin.ESTIMATED)
    assert result.drift.drift_A == pytest.approx(TRUE_A, abs=0.001)
    assert begun[0].context.start.rotation_deg == pytest.approx(after.value)
    turned = AS_IT_IS.turned(after.value - stated_deg).of(dataset)  # as the record of the run says
    np.testing.assert_allclose(result.positions_A, without_drift(turned, result.drift).positions_A)


@pytest.mark.parametrize("drift", quick_first([None, LEFT, REMOVED]))
def test_a_rotation_that_explains_the_slopes_is_corrected_alone(moving, shows, drift):
    """A drift that is fitted along with it would only be noise; one that trials removed stays removed."""
    calibration, turn_A, kept_A = moving.dataset.calibration, 0.5, taken_A(drift)
    stated_deg, length_A = calibration.get("rotation_deg"), Lattice.of(moving.dataset).lengths_A[0]
    rotation = replace(calibration.entries["rotation_deg"], origin=Origin.ESTIMATED)
    shows(kept_A, drift, turn_A=turn_A).update(rotation_deg=stated_deg, length_A=length_A)
    dataset = replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation))
    result = refine(dataset, PRESET, backend="cpu")
    turn_deg = result.calibration.get("rotation_deg") - stated_deg
    assert turn_deg == pytest.approx(np.degrees(turn_A / length_A), abs=0.001)
    assert f"rotation ({turn_deg:+.2f} ± " in result.reason and "Å corrected" not in result.reason
    assert f"corrected, found with objects of {SWEEPS} sweeps: no drift is shown beyond that; drift" in result.reason
    assert taken_A(result.drift) == kept_A and (drift is None or result.drift.drift_A == drift.drift_A)
    turned = AS_IT_IS.turned(turn_deg).of(dataset)
    expected = turned if drift is None else without_drift(turned, drift)
    np.testing.assert_allclose(result.positions_A, expected.positions_A)


@pytest.mark.parametrize("steps", [MOST_STEPS, 1])
def test_a_drift_that_shows_once_the_rotation_is_right_is_corrected_next(moving, shows, runs, monkeypatch, steps):
    """If that search does not settle, the rotation, which has, stays."""
    calibration, turn_A = moving.dataset.calibration, 0.5
    stated_deg, length_A = calibration.get("rotation_deg"), Lattice.of(moving.dataset).lengths_A[0]
    rotation = replace(calibration.entries["rotation_deg"], origin=Origin.ESTIMATED)
    shows(TRUE_A, turn_A=turn_A).update(rotation_deg=stated_deg, length_A=length_A)
    of_rotation = iter([True, False])
    monkeypatch.setattr(ScanStrains, "are_of_rotation", lambda *_: next(of_rotation))
    monkeypatch.setattr(drift_of_short_runs, "MOST_STEPS", steps)
    monkeypatch.setattr(run, "drift_is_tested", lambda *_: False)
    result = refine(
        replace(moving.dataset, calibration=calibration.having(rotation_deg=rotation)), PRESET, backend="cpu"
    )
    assert runs[:-1] == [SWEEPS] * (3 if steps > 1 else 2)
    assert NONE_BEYOND not in result.reason
    turn_deg = result.calibration.get("rotation_deg") - stated_deg
    if steps > 1:
        assert result.drift.drift_A == pytest.approx(TRUE_A, abs=0.001)
        assert turn_deg == pytest.approx(np.degrees(turn_A / length_A), abs=0.001)
    else:
        assert not result.drift.applied and UNSETTLED not in result.reason
        assert f"found with objects of {SWEEPS} sweeps{UNSETTLED_BEYOND}; drift" in result.reason
        assert turn_deg == pytest.approx(np.degrees((turn_A + 0.5 * TRUE_A[1]) / length_A), abs=0.001)


def test_a_search_that_does_not_settle_changes_nothing(moving, shows, runs, monkeypatch):
    """After the run, its object is asked as if there had been none."""
    asked_after = []
    shows(TRUE_A, share=SHARE / 1000, fall=10 * STIFFNESS)  # curvatures are too large, so steps are too short
    monkeypatch.setattr(drift_search, "SMALL", 0.0)
    monkeypatch.setattr(run, "drift_is_tested", lambda *given: asked_after.append(given))
    result = refined(moving, PRESET)
    assert not result.drift.applied and len(asked_after) == 1
    assert result.drift.reason == LEFT.reason + UNSETTLED and result.reason.count(UNSETTLED) == 1
    assert runs == [SWEEPS] * (1 + MOST_STEPS) + [len(result.loss)]


def test_after_the_run_a_loss_that_is_higher_ends_the_search(moving, shows, monkeypatch):
    """Of SrTiO₃ (−2.10, 0.01) Å were found, then (−2.55, 0.05) Å at a tenth more loss; the drift was (−2.02, −0.03)."""
    shows(TRUE_A, share=0.5 * SHARE, fall=10 * STIFFNESS)  # the first step is too short for the slopes to vanish
    compared = []

    def as_low(result, than, *, nearby):
        compared.append(nearby)
        return False

    monkeypatch.setattr(drift_afterwards, "is_as_low", as_low)
    monkeypatch.setattr(drift_of_short_runs, "MOST_STEPS", 0)  # all is left to the run
    told = []
    result = refined(moving, PRESET, on_progress=told.append)
    assert compared == [True] and not result.drift.applied
    assert result.drift.reason.endswith("the refined object shows another, but is no better without it")


def test_drifts_that_are_too_large_to_be_true_end_the_search(moving, shows, runs, monkeypatch):
    shows(TRUE_A)
    monkeypatch.setattr(ScanStrains, "are_possible", lambda self, point: False)
    assert not refined(moving, PRESET).drift.applied
    assert runs[0] == SWEEPS < min(runs[1:])


def test_a_short_run_that_diverges_ends_the_search(moving, shows, monkeypatch):
    """What becomes of the run is told by the run."""
    shows(TRUE_A)
    first_epochs = Refinement.first_epochs

    def diverged(self, count):
        saved = first_epochs(self, count)
        vector = np.full_like(saved.state.vector, np.nan)
        return replace(saved, state=replace(saved.state, vector=vector))

    monkeypatch.setattr(Refinement, "first_epochs", diverged)
    monkeypatch.setattr(StrainedScan, "__init__", lambda *given: pytest.fail("asked"))
    monkeypatch.setattr(run, "drift_is_tested", lambda *given: False)
    assert not refined(moving, PRESET).drift.applied


def test_a_stop_during_a_short_run_stops_the_run_and_it_goes_on_without_the_search(moving, shows, runs, tmp_path):
    shows(TRUE_A)
    told, place = [], tmp_path / "checkpoint"
    stopped = refined(
        moving,
        PRESET,
        on_progress=told.append,
        should_stop=lambda: any("(1 made)" in one.message for one in told),
        checkpoint=place,
    )
    assert (stopped.state, stopped.drift.applied) == ("stopped", False)
    runs.clear()
    resumed = refined(moving, PRESET, checkpoint=place, resume=True)
    assert resumed.state == "done" and runs[0] > SWEEPS


def test_a_stop_while_a_resumed_run_is_searched_leaves_its_checkpoint(moving, shows, tmp_path):
    """It is on positions that are not known yet."""
    shows(TRUE_A)
    told, place = [], tmp_path / "checkpoint"

    def stops_after(word):
        return {"on_progress": told.append, "should_stop": lambda: any(word(one) for one in told)}

    refined(moving, PRESET, checkpoint=place, **stops_after(lambda one: one.phase != "trial" and one.epoch == 6))
    kept = place.read_bytes()
    told.clear()
    with pytest.raises(StoppedError):
        refined(moving, PRESET, checkpoint=place, resume=True, **stops_after(lambda one: "(1 made)" in one.message))
    assert place.read_bytes() == kept
    resumed = refined(moving, PRESET, checkpoint=place, resume=True)
    assert resumed.state == "done" and resumed.drift.drift_A == pytest.approx(TRUE_A)


@pytest.mark.parametrize(
    "error", [RefinementError("no room", "use fewer modes"), MemoryError(), np.linalg.LinAlgError()]
)
def test_a_search_that_fails_leaves_the_run_as_it_is(moving, shows, begun, monkeypatch, error):
    """It goes on from the sweeps that were made to look for a drift."""
    shows(TRUE_A)

    def fails(self, strains):
        raise error

    monkeypatch.setattr(StrainedScan, "slopes", fails)
    result = refined(moving, PRESET)
    assert (result.state, result.drift.applied) == ("done", False)
    assert begun == [tuple(result.loss[:SWEEPS])]


def test_a_stop_after_the_first_short_run_keeps_its_object(moving, shows, runs, tmp_path):
    shows(TRUE_A)
    told, place = [], tmp_path / "checkpoint"
    found = {"on_progress": told.append, "checkpoint": place}
    made = f"({SWEEPS} made)"
    stopped = refined(moving, PRESET, should_stop=lambda: any(made in one.message for one in told), **found)
    assert (stopped.state, stopped.drift.applied, len(stopped.loss)) == ("stopped", False, SWEEPS)
    resumed = refined(moving, PRESET, resume=True, **found)
    assert resumed.state == "done" and runs.count(SWEEPS) == 2  # of the first run, and where it was stopped
    np.testing.assert_array_equal(resumed.loss[:SWEEPS], stopped.loss)


def test_a_run_is_resumed_on_the_positions_that_it_had(moving, shows, runs, tmp_path):
    """Short runs were too long beside it, or are now: it must not go on under another object's positions."""
    shows((0.06, -0.05), fall=100 * STIFFNESS)
    few, many = ({**SETTINGS, "sweeps": SWEEPS, "epoch_max": number} for number in (2 * SWEEPS - 1, 2 * SWEEPS + 6))
    for first, second, applied in ((few, many, False), (many, {**many, "epoch_max": 2 * SWEEPS + 8}, True)):
        place = tmp_path / f"checkpoint{applied}"
        begun = refined(moving, Preset.from_mapping(first), checkpoint=place)
        gone_on = refined(moving, Preset.from_mapping(second), checkpoint=place, resume=True)
        assert begun.drift.applied is gone_on.drift.applied is applied
        np.testing.assert_array_equal(gone_on.positions_A, begun.positions_A)
        np.testing.assert_array_equal(gone_on.loss[: len(begun.loss)], begun.loss)
        assert len(gone_on.loss) == second["epoch_max"]


def test_an_earlier_object_lies_under_its_own_positions(moving, shows, runs):
    shows(TRUE_A)
    earlier = refined(moving, PRESET)
    runs.clear()
    refined(moving, PRESET, warm=WarmStart.of(earlier))
    assert SWEEPS not in runs[:1]


def test_backends_of_short_runs_are_freed(moving, shows, monkeypatch):
    """On a GPU they hold all patterns, and the next one would find no room."""
    opened, open_one = [], drift_of_short_runs.open_backend

    def noted(*given):
        assert all(backend() is None for backend in opened)
        backend = open_one(*given)
        opened.append(weakref.ref(backend))
        return backend

    monkeypatch.setattr(drift_of_short_runs, "open_backend", noted)
    shows(TRUE_A, share=0.5 * SHARE, fall=10 * STIFFNESS)
    gc.disable()
    try:
        refined(moving, PRESET)
    finally:
        gc.enable()
    assert len(opened) > 2


@pytest.mark.parametrize(
    ("changes", "searched"),
    [
        ({"epoch_max": 2 * SWEEPS}, True),
        ({"epoch_max": 2 * SWEEPS - 1}, False),
        ({"sweeps": SWEEPS - 1}, False),
        ({"refine_drift": False}, False),
        ({"update_beam_current": True}, False),
        ({"update_probe": "epoch > 3"}, False),
    ],
)
def test_before_which_runs_it_is_searched(moving, shows, runs, monkeypatch, changes, searched):
    shows(TRUE_A)
    monkeypatch.setattr(run, "drift_is_tested", lambda *given: False)
    refined(moving, Preset.from_mapping({**SETTINGS, "sweeps": SWEEPS, **changes}))
    assert (len(runs) > 1) is searched


def test_a_resumed_run_begins_on_the_same_positions(moving, shows):
    """Sums over threads differ in their last digits, and the search amplifies them."""
    shows((0.5 + 1e-7, -0.4 - 1e-7))
    assert refined(moving, PRESET).drift.drift_A == (0.5, -0.4)
