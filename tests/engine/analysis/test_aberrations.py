"""Aberrations beyond third order, fitted to probes that have them; lower orders are tested in ``test_analysis``."""

import numpy as np
import pytest

from ptylive.engine.analysis.aberrations import aberration_names, krivanek_orders, report
from ptylive.engine.probe import chi_polynomial
from ptylive.schema.optics import ABERRATION_NAMES, KRIVANEK_ORDERS
from ptylive.schema.units import wavelength_A

LAM, SEMIANGLE_MRAD, PIXELS, PIXEL_A = wavelength_A(200e3), 30.0, 96, 0.25


def test_names_begin_with_those_of_optics():
    assert aberration_names(3) == ABERRATION_NAMES
    assert krivanek_orders(3) == KRIVANEK_ORDERS
    assert aberration_names(5)[12:] == (
        "C41a", "C41b", "C43a", "C43b", "C45a", "C45b", "C50", "C52a", "C52b", "C54a", "C54b", "C56a", "C56b",
    )  # fmt: skip


def probe(**coefficients):
    """A wave with a hard aperture; its phase is given in polar coordinates, with angles measured from +row."""
    k = np.fft.fftfreq(PIXELS, PIXEL_A)
    row, col = k[:, None], k[None, :]
    radius, angle = np.hypot(row, col) * LAM, np.arctan2(col + 0 * row, row + 0 * col)
    chi = 0.0
    for name, value in coefficients.items():
        n, m = int(name[1]), int(name[2])
        turn = np.sin(m * angle) if name.endswith("b") else np.cos(m * angle)
        chi = chi + 2 * np.pi / LAM * value * radius ** (n + 1) / (n + 1) * turn
    wave = np.where(radius * 1e3 <= SEMIANGLE_MRAD, np.exp(-1j * chi), 0)
    return np.fft.fftshift(np.fft.ifft2(wave))


def test_fourth_and_fifth_order_are_found():
    """What the third order cannot explain stays as the residual of its fit, and vanishes at the fifth order."""
    given = {"C10": -100.0, "C12b": 20.0, "C41a": 4e5, "C45b": -3e5, "C50": 2e7, "C56a": 1e7}
    wave = probe(**given)
    third = report(wave, PIXEL_A, LAM, SEMIANGLE_MRAD, {"C10": -100.0})
    fifth = report(wave, PIXEL_A, LAM, SEMIANGLE_MRAD, {"C10": -100.0}, 5)
    assert third.residual_rad > 0.1
    assert fifth.residual_rad < 1e-6
    found = {one.name: one for one in fifth.coefficients}
    for name, value in given.items():
        assert found[name].value_A == pytest.approx(value, rel=1e-4)
    angle = SEMIANGLE_MRAD * 1e-3
    assert found["C50"].rim_rad == pytest.approx(2 * np.pi / LAM * 2e7 * angle**6 / 6, rel=1e-4)


def test_up_to_third_order_they_are_those_of_the_probe():
    """Compared with the phase of the forward model, computed from its polynomial."""
    given = {"C10": -80.0, "C21a": 300.0, "C23b": -200.0, "C30": 2e4, "C34a": 2e4}
    k = np.fft.fftfreq(PIXELS, PIXEL_A)
    chi = np.polynomial.polynomial.polyval2d(
        k[:, None] + 0 * k, k[None, :] + 0 * k[:, None], chi_polynomial(LAM, given)
    )
    wave = np.where(np.hypot(k[:, None], k) * LAM * 1e3 <= SEMIANGLE_MRAD, np.exp(-1j * chi), 0)
    found = report(np.fft.fftshift(np.fft.ifft2(wave)), PIXEL_A, LAM, SEMIANGLE_MRAD, {"C10": -80.0})
    values = {one.name: one.value_A for one in found.coefficients}
    assert {name: values[name] for name in given} == pytest.approx(given, rel=1e-4)
