"""Suggestions achieve what they promise."""

from dataclasses import replace

import pytest
from planning import experiment

from ptylive.engine.planning.electrons import dose_of
from ptylive.engine.planning.plan import Plan
from ptylive.engine.planning.suggestions import suggestions
from ptylive.schema.metadata import overlay


def taken_up(made, suggestion):
    told = {"scan_step_A": suggestion.scan_step_A, "defocus_A": suggestion.defocus_A}
    told |= {"scan_shape": suggestion.scan_shape} if suggestion.scan_shape else {}
    told |= {"dwell_time_us": suggestion.dwell_time_us} if suggestion.dwell_time_us else {}
    return replace(made, header=overlay(made.header, told))


def test_overlap_field_and_dose_are_those_that_were_promised():
    made = experiment(scan_step_A=2.5)
    found = suggestions(made)
    assert [(one.changes, one.overlap) for one in found] == [
        ("scan_step_A", 0.8),
        ("scan_step_A", 0.7),
        ("defocus_A", 0.8),
        ("defocus_A", 0.7),
    ]
    for one in found:
        after = taken_up(made, one)
        figures = Plan.of(after)
        assert figures["overlap"].value == pytest.approx(one.overlap)
        assert dose_of(after) == pytest.approx(dose_of(made))
        assert 0 <= figures["field_of_view_A"].value - 256 * 2.5 < after.longer_step_A * 1.001


def test_suggestions_state_step_or_defocus_at_the_same_dose():
    first, *_, last = suggestions(experiment(scan_step_A=2.5))
    assert first.words == "80 % overlap: step 1.76 Å, 364 x 364 points, 49.6 µs per pattern at the same dose"
    assert last.words == "70 % overlap: defocus 13.9 nm"
    assert suggestions(experiment(scan_step_A=2.5, defocus_A=-10.0))[-1].words == "70 % overlap: defocus −13.9 nm"


def test_what_does_not_fit_is_said():
    wide = suggestions(experiment(scan_step_A=20.0))[-1]
    assert (wide.fits, wide.words.split(", ")[-1]) == (False, "but the probe does not fit into the window")
    assert suggestions(experiment(detector_pixel_mrad=None))[0].fits is None


def test_a_probe_that_is_wider_in_focus_takes_no_defocus():
    assert {one.changes for one in suggestions(experiment(defocus_A=0.0))} == {"scan_step_A"}


def test_what_is_not_known_is_left_out():
    assert suggestions(experiment(scan_step_A=None)) == ()
    bare = suggestions(experiment(scan_shape=None, beam_current_pA=None))[0]
    assert (bare.scan_shape, bare.electrons_per_pattern, bare.dwell_time_us) == (None, None, None)
    by_dose = suggestions(experiment(beam_current_pA=None, dose_e_per_A2=100.0, dwell_time_us=None))[0]
    assert by_dose.dwell_time_us is None
    assert by_dose.words.endswith("310 electrons per pattern at the same dose")  # 100 times 1.76 Å squared


def test_of_unequal_steps_both_change():
    made = experiment(scan_step_A=(1.0, 2.0))
    one = suggestions(made)[1]
    factor = one.scan_step_A / 2.0
    assert one.scan_shape == pytest.approx((256 / factor, 256 / factor), abs=1)
    assert one.electrons_per_pattern == pytest.approx(made.electrons_per_pattern * factor**2)
