"""Aberrations under their familiar names."""

import math

import pytest

from ptylive.schema import Optics
from ptylive.schema.optics import ABERRATION_NAMES, KRIVANEK_ORDERS, aberrations_from


def test_names_have_two_parts_where_there_is_a_direction():
    assert ABERRATION_NAMES[:4] == ("C10", "C12a", "C12b", "C21a") and "C30" in ABERRATION_NAMES
    assert len(ABERRATION_NAMES) == sum(1 if m == 0 else 2 for _, m in KRIVANEK_ORDERS.values())


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"defocus_A": 150.0}, {"C10": -150.0}),
        ({"defocus_A": 150.0, "C10": 20.0}, {"C10": 20.0}),
        ({"astigmatism_A": 10.0}, {"C12a": 10.0, "C12b": 0.0}),
        ({"astigmatism_A": 10.0, "astigmatism_deg": 45.0}, {"C12a": 0.0, "C12b": 10.0}),
        ({"astigmatism_deg": 45.0}, {}),
        ({"Cs_A": 1e7, "C30": None}, {"C30": 1e7}),
        ({"energy_eV": 80e3}, {}),
    ],
)
def test_aliases_are_krivanek_coefficients(given, found):
    assert aberrations_from(given) == pytest.approx(found, abs=1e-12)


def test_coefficients_in_a_map_win_over_those_beside_it():
    optics = Optics.model_validate({"defocus_A": 100.0, "Cs_A": 5.0, "aberrations": {"C10": -30.0}})
    assert optics.aberrations == {"C10": -30.0, "C30": 5.0}


def test_what_is_no_map_of_coefficients_is_refused():
    with pytest.raises(ValueError, match="not a map of coefficients in Å"):
        Optics.model_validate({"aberrations": [1.0, 2.0]})


def test_the_wavelength_needs_an_energy():
    assert Optics().wavelength_A is None
    assert math.isclose(Optics(energy_eV=300e3).wavelength_A, 0.0196875, rel_tol=1e-5)
