"""Decisions for several scans of one place: a drift for each, one orientation for all."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.data.series.joint_scans import joined
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.orientation_search import with_found_orientation
from ptylive.engine.refine.tuning.scans_apart import single_scan, single_scan_settings, without_drifts
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

DRIFT_A = (2.4, -1.2)
SHIFTS_A = np.array([[0.0, 0.0], [1.5, -0.5], [0.0, 1.0]])
PRESET = Preset(num_slices=1, probe_modes=1, scan_tilts_mrad=((0, 0), (0, 0), (0, 0)))


@pytest.fixture(scope="module")
def scans(drifted):
    """The first scan drifts; the second does not, and its beam lies elsewhere; of the third only half exists."""
    moving, still = drifted(DRIFT_A, 5), drifted((0.0, 0.0), 5)
    half = still.part(np.arange(len(still.point) // 2))
    return [moving, replace(still, beam_center_px=still.beam_center_px + np.array([0.3, 0.0])), half]


@pytest.fixture(scope="module")
def together(scans):
    return joined(scans, ["a", "b", "c"], SHIFTS_A)


def test_each_scan_is_what_it_was_before_they_were_joined(scans, together):
    for number, scan in enumerate(scans):
        one = single_scan(together, number)
        np.testing.assert_array_equal(one.patterns, scan.patterns)
        np.testing.assert_allclose(one.positions_A, scan.positions_A + SHIFTS_A[number])
        np.testing.assert_allclose(one.beam_center_px, scan.beam_center_px)
        assert one.offsets_px is None and one.scan_of is None
        rows = (20, 20, 10)[number]
        assert one.scan_shape == (rows, 20)
        np.testing.assert_array_equal(one.point, np.arange(rows * 20))


def test_settings_of_one_scan_have_its_tilt_and_nothing_of_the_others():
    many = Preset(
        num_slices=3,
        total_thickness_A=60,
        scan_tilts_mrad=((0, 0), (20, -8)),
        aberration_marker="scans",
        update_aberrations=True,
    )
    first, second = (single_scan_settings(many, scan) for scan in (0, 1))
    assert first.propagation.tilts_mrad is None
    assert second.propagation.tilts_mrad == ((0, 0, 20, -8, 0, 0),)
    assert second.scans.scan_tilts_mrad is None and second.probe.aberration_marker is None


@pytest.mark.slow
def test_a_drift_is_taken_out_of_the_scan_that_has_it(together):
    found = without_drifts(Tuned(together, PRESET), TrialContext("cpu"))
    moved = found.dataset.positions_A - together.positions_A
    of = together.scan_of
    time = np.arange(400) / 400 - 0.5
    along = np.polyfit(time, moved[of == 0], 1)[0]
    assert np.hypot(*along) == pytest.approx(np.hypot(*DRIFT_A), abs=0.5)  # as for one scan (test_drift.py)
    np.testing.assert_allclose(moved[of == 0].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_array_equal(moved[of > 0], 0)
    assert [words.split(":")[0] for words in found.words] == ["a", "b", "c"]
    assert [None if one is None else one.applied for one in found.scan_drifts] == [True, False, None]
    assert (
        ": corrected" in found.words[0] and "not corrected" in found.words[1] and "cannot be measured" in found.words[2]
    )


def test_it_is_left_where_nobody_wants_it_and_one_scan_is_as_ever(scans, together):
    kept = Tuned(together, PRESET.model_copy(update={"refine_drift": False}))
    assert without_drifts(kept, TrialContext("cpu")) is kept
    one = Tuned(scans[0], Preset(num_slices=1))
    assert without_drifts(one, TrialContext("cpu")) is one


@pytest.mark.slow
def test_a_refinement_of_several_scans_says_what_it_found_of_each(together):
    preset = PRESET.model_copy(update={"sweeps": 1, "epoch_max": 1, "update_scans": ()})
    result = refine(together, preset, backend="cpu")
    assert [one is not None and one.applied for one in result.scan_drifts] == [True, False, False]
    assert "; a: drift" in result.reason and ": corrected" in result.reason
    assert result.reason.count("cannot be measured") == 1, "of the third, and not of all together"


@pytest.mark.slow
def test_one_orientation_is_found_for_all(scans):
    true = [replace(scans[1], beam_center_px=scans[0].beam_center_px), scans[2]]
    wrong = [Orientation(transposed=False, turn_deg=40.0).of(scan) for scan in true]
    entries = {"rotation_deg": Quantity(40.0, Origin.UNDECIDED), "detector_transform": Quantity("none", Origin.GIVEN)}
    wrong = [replace(scan, calibration=scan.calibration.having(**entries)) for scan in wrong]
    shifts_A = SHIFTS_A[1:] - SHIFTS_A[1]
    preset = Preset(num_slices=1, probe_modes=1, scan_tilts_mrad=((0, 0), (0, 0)))
    found = with_found_orientation(Tuned(joined(wrong, ["b", "c"], shifts_A), preset), TrialContext("cpu"))
    assert found.orientation is not None
    assert found.orientation.turn_deg == pytest.approx(-40.0, abs=4.0)
    assert len(found.dataset.positions_A) == 600
    stated = preset.model_copy(update={"scan_shifts_A": ((0, 0), (1, 0))})
    kept = with_found_orientation(Tuned(joined(wrong, ["b", "c"], shifts_A), stated), TrialContext("cpu"))
    assert kept.orientation is None
