"""Values known of an experiment, and values requested because they are missing."""

import pytest
from planning import LAMBDA_A, experiment

from ptylive.schema import MetadataError


def test_the_wavelength_is_that_of_abtem():
    assert experiment().wavelength_A == pytest.approx(LAMBDA_A, rel=1e-7)


def test_electrons_want_a_current_and_a_time_or_a_dose_and_a_step():
    needs = ("beam_current_pA",)
    assert experiment().lacking(needs) == ()
    assert experiment(beam_current_pA=None).lacking(needs) == needs
    assert experiment(beam_current_pA=None, dwell_time_us=None).lacking(needs) == (*needs, "dwell_time_us")
    assert experiment(dwell_time_us=None).lacking(needs) == ("dwell_time_us",)
    by_dose = {"beam_current_pA": None, "dose_e_per_A2": 100.0}
    assert experiment(**by_dose).lacking(needs) == ()
    assert experiment(**by_dose, scan_step_A=None).lacking((*needs, "scan_step_A")) == ("scan_step_A",)


def test_what_is_not_known_is_named():
    blank = experiment(None, energy_eV=None, scan_step_A=None, detector_pixel_mrad=None)
    for name, read in {
        "energy_eV": lambda: blank.wavelength_A,
        "scan_step_A": lambda: blank.cell_A,
        "detector_pixel_mrad": lambda: blank.pixel_mrad,
        "detector_shape": lambda: blank.detector_shape,
    }.items():
        with pytest.raises(MetadataError, match=f"{name} is not known"):
            read()
