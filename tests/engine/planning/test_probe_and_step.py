"""Probe and overlap: compared with the wave itself and with counted areas, and the limits of the verdicts."""

import math

import numpy as np
import pytest
from planning import LAMBDA_A, experiment
from scipy.special import j0, j1, jn_zeros

from ptylive.engine.planning.figure import Verdict
from ptylive.engine.planning.plan import Plan
from ptylive.engine.planning.probe_and_step import (
    AIRY_DIAMETER,
    areal_overlap,
    defocus_for_diameter_A,
    diameter_of,
    diffraction_limit_A,
    linear_overlap,
    probe_diameter_A,
)


def test_the_diffraction_limit_is_the_first_zero_of_the_airy_disc():
    assert AIRY_DIAMETER == pytest.approx(jn_zeros(1, 1)[0] / math.pi, abs=0.005)  # given to two decimals
    assert diffraction_limit_A(LAMBDA_A, 21.4) == pytest.approx(2.3806, abs=1e-4)


def wave_optical_share(defocus_A: float, diameter_A: float) -> float:
    """Share of the current within a circle, by a Hankel transform of the aperture: 400 x 400 points, no FFT."""
    k = (np.arange(400) + 0.5) / 400 * 21.4e-3 / LAMBDA_A
    radius = (np.arange(400) + 0.5) / 400 * diameter_A / 2
    chi = math.pi * LAMBDA_A * defocus_A * k**2
    wave = 2 * math.pi * (np.exp(1j * chi) * k * j0(2 * math.pi * radius[:, None] * k)).sum(axis=1) * k[0] * 2
    inside = 2 * math.pi * (np.abs(wave) ** 2 * radius).sum() * radius[0] * 2
    return inside / (math.pi * (21.4e-3 / LAMBDA_A) ** 2)


def test_the_probe_in_focus_holds_what_airy_s_disc_holds():
    zero = jn_zeros(1, 1)[0]
    airy = 1 - j0(zero) ** 2 - j1(zero) ** 2  # Rayleigh: 84 %
    assert wave_optical_share(0.0, diffraction_limit_A(LAMBDA_A, 21.4)) == pytest.approx(airy, abs=2e-3)


@pytest.mark.parametrize("defocus_A", [50.0, 150.0, 400.0, 1500.0])
def test_most_of_a_defocused_probe_lies_within_its_diameter(defocus_A):
    """The geometric disc alone lacks the spread by diffraction; hardly anything lies outside both together."""
    diameter = probe_diameter_A(LAMBDA_A, 21.4, defocus_A * 21.4e-3)
    assert 0.84 < wave_optical_share(defocus_A, diameter) < 1.0


def test_the_diameter_knows_every_aberration():
    assert diameter_of(experiment()) == pytest.approx(2 * 150 * 21.4e-3 + 2.3806, abs=1e-4)
    assert diameter_of(experiment(defocus_A=-150.0)) == pytest.approx(diameter_of(experiment()))
    wider = diameter_of(experiment(astigmatism_A=50.0))
    assert wider == pytest.approx(2 * 200 * 21.4e-3 + 2.3806, abs=1e-3)  # along the axis where both add
    assert diameter_of(experiment(), 200.0) == pytest.approx(2 * 50 * 21.4e-3 + 2.3806, abs=1e-4)


@pytest.mark.parametrize("step", [0.0, 0.2, 0.7, 1.0, 1.5])
def test_the_areal_overlap_is_the_area_that_is_counted(step):
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 801), np.linspace(-0.5, 0.5, 801))
    first, second = np.hypot(x, y) < 0.5, np.hypot(x - step, y) < 0.5
    counted = (first & second).sum() / first.sum()
    assert areal_overlap(step, 1.0) == pytest.approx(counted, abs=4 / 801)  # pixels on the rim, relative to the area


def test_the_linear_overlap():
    assert linear_overlap(2.0, 8.0) == 0.75
    assert linear_overlap(9.0, 6.0) == -0.5


def test_the_defocus_for_a_diameter_makes_it():
    defocus = defocus_for_diameter_A(LAMBDA_A, 21.4, 10.0)
    assert diameter_of(experiment(defocus_A=defocus)) == pytest.approx(10.0)
    assert defocus_for_diameter_A(LAMBDA_A, 21.4, 2.0) is None


@pytest.mark.parametrize(
    ("step_A", "verdict"),
    [(4.3, Verdict.GOOD), (4.5, Verdict.QUESTIONED), (6.1, Verdict.QUESTIONED), (6.2, Verdict.BAD), (20, Verdict.BAD)],
)
def test_verdicts_on_the_overlap(step_A, verdict):
    assert Plan.of(experiment(scan_step_A=step_A))["overlap"].verdict is verdict


def test_the_remedy_brings_the_overlap_it_promises():
    figure = Plan.of(experiment(scan_step_A=5.0))["overlap"]
    assert figure.remedy == "70 % with a step of 2.64 Å, or a defocus of 33.4 nm"
    assert Plan.of(experiment(scan_step_A=2.64))["overlap"].value == pytest.approx(0.7, abs=1e-3)
    assert Plan.of(experiment(scan_step_A=5.0, defocus_A=334.0))["overlap"].value == pytest.approx(0.7, abs=1e-3)


def test_of_unequal_steps_the_longer_one_counts():
    figures = Plan.of(experiment(scan_step_A=(0.4, 4.4)))
    assert figures["overlap"].value == pytest.approx(0.5, abs=1e-3)
    assert figures["field_of_view_A"].text == "10.2 nm x 113 nm"
    assert figures["points_per_probe"].value == pytest.approx(math.pi / 4 * 8.8006**2 / 1.76, rel=1e-4)


def test_a_skewed_scan_has_the_area_of_its_cell():
    skewed = experiment(scan_step_A=None, scan_matrix=[3.0, 1.0, 4.0, 5.0])
    assert skewed.steps_A == pytest.approx((5.0, math.sqrt(26)))
    assert skewed.cell_area_A2 == pytest.approx(11.0)
