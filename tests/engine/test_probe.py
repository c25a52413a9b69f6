"""Aberrations: polynomial, textbook formula and gradient agree."""

import numpy as np
import pytest

from ptylive.engine.probe import Probe
from ptylive.schema.optics import KRIVANEK_ORDERS
from ptylive.schema.units import wavelength_A

WAVELENGTH = wavelength_A(80e3)


@pytest.mark.parametrize("name", ["C10", "C12a", "C12b", "C21a", "C21b", "C23a", "C23b", "C30", "C32a", "C34b"])
def test_polynomial_is_krivaneks_sum(name):
    rng = np.random.default_rng(0)
    k = rng.normal(scale=0.3, size=(2, 20))
    probe = Probe.of(WAVELENGTH, 25.0, 0.05, {name: 321.0})
    n, m = KRIVANEK_ORDERS[name[:3]]
    theta, angle = np.arctan2(k[1], k[0]), np.hypot(*k) * WAVELENGTH
    turn = np.sin(m * theta) if name.endswith("b") else np.cos(m * theta)
    expected = 2 * np.pi / WAVELENGTH * 321.0 * angle ** (n + 1) / (n + 1) * turn
    np.testing.assert_allclose(probe.chi(*k), expected, rtol=1e-10, atol=1e-12)


def test_gradient_is_the_derivative():
    probe = Probe.of(WAVELENGTH, 25.0, 0.05, {"C10": -100.0, "C12b": 30.0, "C21a": 500.0, "C30": 1e5})
    k, e = np.array([[0.2], [-0.35]]), 1e-6
    numeric = [(probe.chi(k[0] + e, k[1]) - probe.chi(k[0] - e, k[1])) / (2 * e)]
    numeric.append((probe.chi(k[0], k[1] + e) - probe.chi(k[0], k[1] - e)) / (2 * e))
    # differences of numbers of order 10 over a step of 1e-6: 1e-15 / 1e-6 relative to numbers of order 1
    np.testing.assert_allclose(probe.gradient(*k), numeric, rtol=1e-7)


def test_underfocus_is_negative_c10_and_the_edge_is_soft():
    probe = Probe.of(WAVELENGTH, 25.0, 0.05, {"C10": -100.0})
    assert probe.chi(np.array([0.3]), np.array([0.0])) < 0
    rim = np.array([probe.semiangle_invA])
    assert probe.aperture(rim, np.zeros(1)) == pytest.approx(0.5)


def test_the_wave_lags_by_chi():
    """P = A exp(-i chi): underfocus advances the outer rays, which only the sign of the exponent determines."""
    probe = Probe.of(WAVELENGTH, 25.0, 0.05, {"C10": -100.0, "C12b": 30.0, "C30": 1e5})
    k = np.array([[0.0, 0.3, -0.1], [0.0, 0.1, 0.25]])
    expected = probe.aperture(*k) * (np.cos(probe.chi(*k)) - 1j * np.sin(probe.chi(*k)))
    np.testing.assert_allclose(probe.wave(*k), expected, rtol=1e-12)
    assert np.angle(probe.wave(np.array([0.05]), np.zeros(1)))[0] > 0
