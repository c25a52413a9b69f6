"""Electrons per pattern and the dose, from the points that were visited, with gain, repeats and step."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.calibrate.dose import with_dose
from ptylive.schema import Calibration, Origin, Quantity

COUNTS = np.array([100.0, 200.0, 300.0, 1e9])


def store(visited=(1, 1, 1, 0), masked=0, of="intensity", **scan):
    """Sums of four points, the last of which was never visited."""
    given = {"step_A": (0.5, 0.2), "repeats": 1, **scan}
    return SimpleNamespace(
        header=SimpleNamespace(basis=SimpleNamespace(of=of), scan=SimpleNamespace(**given)),
        visited=np.array(visited, bool),
        masked_counts=masked,
        moments=np.stack([COUNTS, COUNTS, COUNTS], 1),
        per_frame=lambda values: values,
    )


def gain(value):
    return Calibration().having(counts_per_electron=Quantity(value, Origin.GIVEN))


def test_counts_are_electrons_where_nothing_says_otherwise():
    found = with_dose(Calibration(), store())
    assert found.get("electrons_per_pattern") == pytest.approx(200.0)
    assert found.get("dose_e_per_A2") == pytest.approx(2000.0)
    assert found.to_plain()["dose_e_per_A2"]["origin"] == "default"


def test_a_gain_divides_and_makes_it_an_estimate():
    found = with_dose(gain(4.0), store())
    assert found.get("electrons_per_pattern") == pytest.approx(50.0)
    assert found.to_plain()["dose_e_per_A2"] == {
        "value": pytest.approx(500.0),
        "origin": "estimated",
        "uncertainty": None,
    }


def test_every_repeat_is_a_dose_of_its_own():
    found = with_dose(Calibration(), store(repeats=3))
    assert found.get("electrons_per_pattern") == pytest.approx(200.0)
    assert found.get("dose_e_per_A2") == pytest.approx(6000.0)


def test_without_a_step_there_is_no_area():
    found = with_dose(Calibration(), store(step_A=None))
    assert found.get("electrons_per_pattern") == pytest.approx(200.0)
    assert found.get("dose_e_per_A2") is None


@pytest.mark.parametrize("given", [{"visited": (0, 0, 0, 0)}, {"of": "sqrt_intensity"}])
def test_what_cannot_be_told_is_not(given):
    assert with_dose(Calibration(), store(**given)).get("electrons_per_pattern") is None


def test_counts_that_were_no_numbers_are_told():
    assert with_dose(Calibration(), store(masked=7)).get("masked_counts") == 7
    assert with_dose(Calibration(), store()).get("masked_counts") is None
