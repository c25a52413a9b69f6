"""The pi/4 limits match the phase that the program computes."""

import math

import numpy as np
import pytest

from ptylive.engine.probe import chi_polynomial
from ptylive.schema.advice.limits import ABERRATION_TITLES, quarter_pi_limit_A
from ptylive.schema.optics import KRIVANEK_ORDERS
from ptylive.schema.units import wavelength_A


@pytest.mark.parametrize("name", KRIVANEK_ORDERS)
def test_the_limit_shifts_the_phase_by_a_quarter_pi_at_the_rim(name):
    wavelength, semiangle = wavelength_A(80e3), 25.0
    order, symmetry = KRIVANEK_ORDERS[name]
    limit = quarter_pi_limit_A(name, wavelength, semiangle)
    rim = semiangle * 1e-3 / wavelength
    at_rim = 2 * math.pi / wavelength * limit * (wavelength * rim) ** (order + 1) / (order + 1)
    assert at_rim == pytest.approx(math.pi / 4, rel=1e-12)
    key = name + ("a" if symmetry else "")
    along_rows = chi_polynomial(wavelength, {key: limit})[:, 0]
    assert float(along_rows @ rim ** np.arange(len(along_rows))) == pytest.approx(math.pi / 4, rel=1e-12)


def test_every_aberration_has_a_name():
    assert set(ABERRATION_TITLES) == set(KRIVANEK_ORDERS)


def test_a_parallel_beam_has_no_limit():
    assert quarter_pi_limit_A("C10", 0.0418, 0.0) == math.inf
