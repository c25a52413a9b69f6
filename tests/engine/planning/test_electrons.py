"""Electrons: compared with the elementary charge, and the limits of the verdicts."""

import pytest
from planning import experiment

from ptylive.engine.planning.electrons import counts_per_pixel, dose_of
from ptylive.engine.planning.figure import Verdict
from ptylive.engine.planning.plan import Plan
from ptylive.engine.refine.problem.strategy import LOW_DOSE_E_PER_A2, MAP_DOSE_E_PER_A2


def test_current_and_dwell_are_electrons():
    assert experiment().electrons_per_pattern == pytest.approx(10e-12 * 100e-6 / 1.602176634e-19)
    assert dose_of(experiment()) == pytest.approx(experiment().electrons_per_pattern / 0.16)


def test_repeats_add_dose_and_no_electrons_to_a_pattern():
    thrice = experiment(repeats=3)
    assert thrice.electrons_per_pattern == experiment().electrons_per_pattern
    assert dose_of(thrice) == pytest.approx(3 * dose_of(experiment()))


def test_a_dose_stands_for_current_and_dwell():
    told = experiment(beam_current_pA=None, dose_e_per_A2=1e4, dwell_time_us=None, repeats=2)
    assert told.electrons_per_pattern == pytest.approx(1e4 * 0.16 / 2)
    assert dose_of(told) == pytest.approx(1e4)


@pytest.mark.parametrize(
    ("dose", "verdict", "says"),
    [
        (MAP_DOSE_E_PER_A2, Verdict.GOOD, ""),
        (2999.0, Verdict.QUESTIONED, "little beyond the live maps below 3\u2009000"),
        (LOW_DOSE_E_PER_A2 - 1, Verdict.QUESTIONED, "the bright field only below 200"),
    ],
)
def test_a_low_dose_is_questioned_where_refinements_change_their_ways(dose, verdict, says):
    figure = Plan.of(experiment(beam_current_pA=None, dose_e_per_A2=dose))["dose_e_per_A2"]
    assert (figure.verdict, says in figure.remedy) == (verdict, True)


def test_electrons_of_a_pixel():
    assert counts_per_pixel(experiment()) == pytest.approx(6241.509 / 2248.0, rel=1e-3)


@pytest.mark.parametrize(("full", "verdict"), [(12, Verdict.GOOD), (11, Verdict.QUESTIONED), (2.7, Verdict.BAD)])
def test_full_pixels(full, verdict):
    """2.776 electrons, plus five times their root of 1.666: 11.11."""
    assert Plan.of(experiment(saturation_value=full))["electrons_per_pixel"].verdict is verdict
    scaled = experiment(saturation_value=100 * full, counts_per_electron=100.0)
    assert Plan.of(scaled)["electrons_per_pixel"].verdict is verdict
    assert Plan.of(experiment())["electrons_per_pixel"].verdict is Verdict.NONE
