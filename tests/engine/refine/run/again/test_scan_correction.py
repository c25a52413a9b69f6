"""What a correction changes in the problem of a finished run, and what it leaves."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.problem.prepare import NO_DRIFT, prepare
from ptylive.engine.refine.run.again import scan_correction
from ptylive.engine.refine.run.again.continuation import FinishedRun, RunEnvironment
from ptylive.engine.refine.run.again.drift_evidence import DriftEvidence
from ptylive.engine.refine.run.again.scan_correction import ScanCorrection, UncorrectedScan, following
from ptylive.engine.refine.run.again.scan_strains import ScanStrains
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.optics.freed_optics import OPTICS
from ptylive.engine.refine.tuning.orientation import AS_IT_IS
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin
from ptylive.schema.preset import Preset

PRESET = Preset(window_px=32, num_slices=1, probe_modes=1, refine_drift=False)
LATTICE = Drift((0.6, 0.2), (0.3, 0.4), 60.0, 5.0, False, "drift (a, b) Å: not corrected, trials do not show it", 3.0)
COVARIANCE = np.diag([0.01, 0.04, 0.0025])
POINT = np.array([0.5, -0.3, 0.1])


def finished(moving, drift=LATTICE):
    """A run on nominal positions; its start is marked by 7."""
    problem = prepare(moving.dataset, PRESET, None)
    reason = f"one slice; {NO_DRIFT if drift is None else drift.reason}; more"
    forward = replace(problem.forward, measured=replace(problem.measured, drift=drift), tilt_found=True)
    problem = replace(problem, forward=forward, strategy=replace(problem.strategy, reason=reason), curves=("a curve",))
    result = SimpleNamespace(reason=reason, drift=drift)
    return FinishedRun(problem, problem.start, Log(), result, moving.dataset, lambda new: replace(new, start=[7]))


def corrected(moving, correction, run, start=None):
    scan = UncorrectedScan(run.nominal, ScanStrains(Lattice.of(moving.dataset), turns=True), run.begin)
    environment = RunEnvironment(PRESET, None, TrialContext("cpu", start=start), resume=False)
    return correction.problem(run.problem, scan, environment, epochs=3)


def test_a_point_of_the_search_is_a_drift_and_an_angle_with_their_uncertainties(moving):
    strains = ScanStrains(Lattice.of(moving.dataset), turns=True)
    correction = ScanCorrection.at(POINT, COVARIANCE, strains, LATTICE)
    drift, turn_deg = correction.drift, strains.turn_deg(POINT)
    assert (drift.drift_A, drift.applied, drift.defocus_A) == ((0.5, -0.3), True, LATTICE.defocus_A)
    assert drift.uncertainty_A == pytest.approx((0.1, 0.2))
    assert correction.turn_deg == turn_deg != 0
    assert correction.turn_uncertainty_deg == strains.turn_uncertainty_deg(COVARIANCE) > 0
    assert drift.reason == (
        "drift (0.50 ± 0.10, -0.30 ± 0.20) Å along slow and fast axis: corrected along with the rotation "
        f"({turn_deg:+.2f} ± {correction.turn_uncertainty_deg:.2g}°), found with the refined object"
    )


def test_where_a_lattice_showed_nothing_the_drift_is_the_object_s_alone(moving):
    strains = ScanStrains(Lattice.of(moving.dataset), turns=False)
    correction = ScanCorrection.at(POINT[:2], COVARIANCE[:2, :2], strains, None)
    assert correction.drift.applied and correction.drift.drift_A == (0.5, -0.3)
    assert np.isnan(correction.drift.defocus_A) and correction.drift.deviations == 0
    assert correction.turn_deg == correction.turn_uncertainty_deg == 0
    assert correction.drift.reason.endswith("fast axis: corrected, found with the refined object")


@pytest.mark.parametrize(
    ("lattice", "why"),
    [
        (4.0, "lattice and refined object show it ("),
        (1.0, "the object refined without it shows it, as lattice and refined object had suggested ("),
    ],
)
def test_the_drift_of_the_lattice_says_why_it_is_removed_after_all(lattice, why):
    evidence = DriftEvidence(lattice, 2.5)
    correction = ScanCorrection.of_lattice(LATTICE, evidence, {})
    assert correction.drift == replace(LATTICE, applied=True, reason=f"drift (a, b) Å: corrected, {why}{evidence})")
    assert correction.turn_deg == 0


@pytest.mark.parametrize("earlier", [LATTICE, None])
def test_positions_and_reason_change_and_every_decision_stays(moving, earlier):
    run = finished(moving, earlier)
    drift = replace(LATTICE, applied=True, reason="another drift")
    problem = corrected(moving, ScanCorrection(drift), run)
    np.testing.assert_allclose(problem.positions_A, without_drift(moving.dataset, drift).positions_A)
    assert problem.measured.drift == drift
    assert problem.measured.dataset.calibration == run.problem.measured.dataset.calibration
    assert problem.strategy == replace(run.problem.strategy, epochs=3, reason="one slice; another drift; more")
    assert problem.start == [7], "from the start that the run had"
    assert problem.forward.tilt_found and problem.curves == ("a curve",)


def test_a_rotation_that_is_added_is_stated_with_its_uncertainty(moving):
    run = finished(moving)
    problem = corrected(moving, ScanCorrection(replace(LATTICE, drift_A=(0.0, 0.0), applied=True), 0.8, 0.2), run)
    before = moving.dataset.calibration.entries["rotation_deg"]
    after = problem.measured.dataset.calibration.entries["rotation_deg"]
    assert after.value == pytest.approx(before.value + 0.8)
    assert (after.origin, after.uncertainty) == (Origin.ESTIMATED, 0.2)
    strains = ScanStrains(Lattice.of(moving.dataset), turns=True)
    placed = strains.placed(moving.dataset, LATTICE, 0.8)
    np.testing.assert_allclose(problem.positions_A, placed.positions_A)


OPTICS_A = {"C10": -88.0, "C12a": 3.0, "C12b": -0.04}


@pytest.mark.parametrize("turns", [False, True])
def test_optics_of_a_point_are_corrected_along_and_stated(moving, turns):
    strains = ScanStrains(Lattice.of(moving.dataset), turns, {"C10": -90.0, "C12a": 2.0, "C12b": -0.04})
    point = np.array([0.5, -0.3, *([0.1] if turns else []), 2.0, 1.0, 0.0])
    correction = ScanCorrection.at(point, np.eye(len(point)) * 0.01, strains, LATTICE)
    assert correction.optics_A == pytest.approx(OPTICS_A)
    along = "along with C10 -88.0, C12a 3.0, C12b 0.0 Å, found with"
    if turns:
        turn = f"{correction.turn_deg:+.2f} ± {correction.turn_uncertainty_deg:.2g}"
        along = f"along with the rotation ({turn}°) and C10 -88.0, C12a 3.0, C12b 0.0 Å, found with"
    assert along in correction.drift.reason


def test_optics_that_follow_the_drift_of_a_lattice_are_stated():
    correction = ScanCorrection.of_lattice(LATTICE, DriftEvidence(4.0, 2.5), OPTICS_A)
    assert correction.optics_A == OPTICS_A
    words = "corrected along with C10 -88.0, C12a 3.0, C12b 0.0 Å, lattice and refined object show it"
    assert words in correction.drift.reason


def test_probe_and_calibration_have_the_optics_of_the_correction(moving):
    run = finished(moving)
    problem = corrected(moving, ScanCorrection(replace(LATTICE, applied=True), optics_A=OPTICS_A), run)
    old, new = run.problem.measured, problem.measured
    assert {name: new.dataset.calibration.aberrations[name] for name in OPTICS} == pytest.approx(OPTICS_A)
    assert new.dataset.calibration.origin("C12a") == Origin.ESTIMATED
    moved_A = {name: value - old.dataset.calibration.aberrations.get(name, 0.0) for name, value in OPTICS_A.items()}
    np.testing.assert_allclose(new.probe.chi_polynomial, old.probe.with_added(moved_A).chi_polynomial)
    again = corrected(moving, ScanCorrection(LATTICE, optics_A=OPTICS_A), replace(run, problem=problem))
    np.testing.assert_allclose(again.measured.probe.chi_polynomial, new.probe.chi_polynomial)


def test_what_a_run_began_with_gets_the_optics_and_the_rotation_of_its_correction(moving):
    run, drift = finished(moving), replace(LATTICE, applied=True)
    tuned = Tuned(run.problem.measured.dataset, PRESET)
    measured = corrected(moving, ScanCorrection(drift, optics_A=OPTICS_A), run).measured
    again = following(tuned, 0.0, measured)
    assert again.dataset.calibration == measured.dataset.calibration != tuned.dataset.calibration
    np.testing.assert_array_equal(again.dataset.positions_A, tuned.dataset.positions_A)
    assert again.orientation is tuned.orientation
    measured = corrected(moving, ScanCorrection(drift, 0.8, 0.2, OPTICS_A), run).measured
    again = following(tuned, 0.8, measured)
    assert again.dataset.calibration == measured.dataset.calibration
    assert again.orientation == AS_IT_IS.turned(0.8)
    np.testing.assert_array_equal(again.dataset.positions_A, AS_IT_IS.turned(0.8).of(tuned.dataset).positions_A)
    assert following(tuned, 0.0, run.problem.measured) is tuned


@pytest.mark.parametrize("turn_deg", [0.0, 0.8])
def test_what_trials_could_not_decide_on_stays_undecided(moving, turn_deg):
    """Regression: they doubt a calibration after it was measured, and a run, corrected or not, made it an estimate."""
    run = finished(moving)
    entries = run.problem.measured.dataset.calibration.entries
    doubted = {name: replace(entries[name], origin=Origin.UNDECIDED) for name in ("C10", "rotation_deg")}
    dataset = replace(moving.dataset, calibration=moving.dataset.calibration.having(**doubted))
    tuned = Tuned(dataset, PRESET)
    assert following(tuned, 0.0, run.problem.measured) is tuned
    measured = corrected(moving, ScanCorrection(replace(LATTICE, applied=True), turn_deg, 0.2, OPTICS_A), run).measured
    found = following(tuned, turn_deg, measured).dataset.calibration
    assert {name: found.aberrations[name] for name in OPTICS} == pytest.approx(OPTICS_A)
    assert found.rotation_deg == pytest.approx(entries["rotation_deg"].value + turn_deg)
    assert found.origin("C10") is found.origin("rotation_deg") is Origin.UNDECIDED
    assert found.origin("C12a") is Origin.ESTIMATED


def test_a_map_to_start_from_turns_with_the_scan(moving, monkeypatch):
    started, laid_out = [], scan_correction.lay_out
    monkeypatch.setattr(scan_correction, "lay_out", lambda *given: started.append(given[-1]) or laid_out(*given))
    start = StartGuess(np.zeros((2, 2), np.float32), (1.0, 1.0), 30.0)
    corrected(moving, ScanCorrection(replace(LATTICE, applied=True), 0.8, 0.2), finished(moving), start)
    assert started[0].rotation_deg == 30.8
