"""Scans before a run: wrong values are found and right ones left alone."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from shared_data import shared_data

from ptylive.engine.refine import Scanned, TrialContext, measure_curve, refine
from ptylive.engine.refine.results.curve import Curve
from ptylive.engine.refine.tuning.held_out import central_part
from ptylive.engine.refine.tuning.parameter_search import present_value, requested_scans, varied, with_best
from ptylive.engine.refine.tuning.trial_settings import in_one_slice
from ptylive.schema import Origin, Quantity, RefinementError
from ptylive.schema.preset import Preset

ODD = {"window_px": 32, "probe_modes": 1}
PRESET = Preset.from_mapping(ODD)
THICK = Preset.from_mapping({**ODD, "num_slices": 3, "total_thickness_A": 30.0})
CPU = TrialContext(backend="cpu")
BIAS = 0.5
"""In steps: a strong object on a tiny scan has its minimum a part of a step off (docs/refinement.md), here a third."""


def with_defocus(dataset, change):
    wrong = dataset.calibration.aberrations["C10"] - change
    return replace(dataset, calibration=dataset.calibration.having(C10=Quantity(wrong, Origin.ESTIMATED)))


@pytest.mark.parametrize("change", quick_first([130.0, 40.0, -45.0]))
def test_a_wrong_defocus_is_found(simulated, change):
    """The simulated scan has 60 Å; a minimum beyond the initial range is followed."""
    curve = measure_curve(with_defocus(simulated.dataset, change), PRESET, Scanned.DEFOCUS, CPU)
    assert curve.applied
    assert curve.best == pytest.approx(60.0, abs=BIAS * np.median(np.diff(curve.values)))
    assert curve.start == pytest.approx(60.0 + change)
    assert len(curve.values) == len(curve.losses) >= 7
    assert np.diff(curve.values).min() == pytest.approx(np.diff(curve.values).max()), "no value is tried twice"
    assert 0 < curve.uncertainty < 20  # less than the error


@pytest.mark.slow
def test_a_right_defocus_is_left_alone(simulated):
    curve = measure_curve(simulated.dataset, PRESET, Scanned.DEFOCUS, CPU)
    assert abs(curve.best - 60.0) < BIAS * np.median(np.diff(curve.values))
    assert "held-out loss" in curve.reason


@pytest.mark.slow
def test_a_wrong_rotation_is_found(simulated):
    turned, _ = varied(simulated.dataset, PRESET, Scanned.ROTATION, -2.0)
    found = measure_curve(turned, PRESET, Scanned.ROTATION, CPU)
    assert found.best == pytest.approx(2.0, abs=1.0 + BIAS)  # one step is a degree


def test_a_turned_scan_keeps_its_first_point_and_says_its_rotation(simulated):
    """Results place the object by the first point, and maps next to it by the rotation."""
    curve = Curve(Scanned.ROTATION, (2.0, 3.0, 4.0), (1.0, 0.9, 1.0), 0.0, 3.0, 0.3, True, "found")
    changed, _ = with_best(simulated.dataset, PRESET, curve)
    assert changed.positions_A[0] == pytest.approx(simulated.dataset.positions_A[0], abs=1e-12)
    assert not np.allclose(changed.positions_A, simulated.dataset.positions_A)
    assert changed.calibration.rotation_deg == pytest.approx(simulated.dataset.calibration.rotation_deg + 3.0)


def test_values_may_be_given(simulated):
    curve = measure_curve(simulated.dataset, PRESET, Scanned.SCALE, CPU, values=(0.8, 1.0, 1.2))
    assert curve.values == (0.8, 1.0, 1.2)
    assert 0.8 < curve.best < 1.2


@pytest.mark.slow
def test_the_same_scan_gives_the_same_numbers(simulated):
    values = (30.0, 60.0)
    first, second = (measure_curve(simulated.dataset, PRESET, Scanned.DEFOCUS, CPU, values=values) for _ in range(2))
    assert first.losses == second.losses


def test_auto_scans_only_what_was_estimated(simulated):
    assert requested_scans(simulated.dataset, Preset()) == []
    assert requested_scans(with_defocus(simulated.dataset, 0.0), Preset()) == [Scanned.DEFOCUS]
    assert requested_scans(with_defocus(simulated.dataset, 0.0), Preset(scan_defocus=False)) == []


@pytest.mark.slow
@pytest.mark.parametrize("patterns", [1, 2])
def test_a_defocus_is_not_scanned_with_too_few_patterns_to_hold_any_out(simulated, patterns):
    """The run ended with a ZeroDivisionError."""
    estimated = replace(simulated.dataset.calibration.entries["C10"], origin=Origin.ESTIMATED)
    few = simulated.dataset.part(np.arange(patterns))
    few = replace(few, calibration=few.calibration.having(C10=estimated))
    quick = {"window_px": 24, "probe_modes": 1, "num_slices": 1, "epoch_max": 2, "sweeps": 1}
    assert refine(few, Preset.from_mapping(quick), backend="cpu").state == "done"
    with pytest.raises(RefinementError, match=f"hold out others, and there are {patterns}"):
        refine(few, Preset.from_mapping({**quick, "scan_defocus": True}), backend="cpu")


def test_a_quantity_that_nothing_knows_is_not_a_rotation(simulated):
    with pytest.raises(KeyError):
        varied(simulated.dataset, Preset(), "astigmatism", 1.0)


def test_a_run_settles_the_defocus_first_and_says_so(simulated):
    preset = Preset.from_mapping({**ODD, "epoch_max": 2})
    result = refine(with_defocus(simulated.dataset, 40.0), preset, backend="cpu")
    assert [curve.quantity for curve in result.curves] == [Scanned.DEFOCUS]
    assert "defocus_A" in result.reason
    assert refine(simulated.dataset, preset, backend="cpu").curves == ()


def test_thickness_and_slices_change_what_they_should(simulated):
    dataset = simulated.dataset
    assert present_value(dataset, THICK, Scanned.THICKNESS) == pytest.approx(30.0)
    assert varied(dataset, THICK, Scanned.THICKNESS, 45.0)[1].object.spacings_A == pytest.approx((15.0, 15.0))
    six = varied(dataset, THICK, Scanned.SLICES, 6)[1]
    assert six.object.num_slices == 6
    assert sum(six.object.slice_thickness_A) == pytest.approx(30.0)
    with pytest.raises(RefinementError, match="thickness of one slice"):
        measure_curve(dataset, PRESET, Scanned.THICKNESS, CPU)


def test_trials_of_large_scans_look_at_their_middle(simulated):
    part = central_part(simulated.dataset, 36)
    assert len(part.patterns) == 36
    middle = simulated.dataset.positions_A.mean(0)
    assert np.abs(part.positions_A - middle).max() < 0.6 * np.abs(simulated.dataset.positions_A - middle).max()


@pytest.mark.slow
@pytest.mark.data
def test_thickness_of_a_thick_specimen(read_dataset):
    dataset = read_dataset(shared_data("sto_10nm_200kV_defocus"))
    wrong = Preset(num_slices=5, total_thickness_A=130.0)
    curve = measure_curve(dataset, wrong, Scanned.THICKNESS, CPU)
    assert curve.best == pytest.approx(100.0, abs=25.0)  # 5 to 15 % too high, and a step of this coarse curve


def test_the_thickness_of_one_slice_cannot_vary():
    """Regression: refining a wedge in several slices ended with the advice to give several slices."""
    wedge = THICK.model_copy(update={"field_order": 1, "field_terms": ("thickness",)})
    assert in_one_slice(wedge, {"sweeps": 3}).instrument.field_order == 0
    inclined = wedge.model_copy(update={"field_terms": ("thickness", "C10")})
    instrument = in_one_slice(inclined).instrument
    assert (instrument.field_order, instrument.field_terms) == (1, ("C10",))
    single = in_one_slice(wedge, {"sweeps": 3, "num_slices": 5})
    assert (single.object.slices, single.solver.sweeps) == (1, 3)
