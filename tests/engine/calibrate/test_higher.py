"""Aberrations beyond astigmatism: found where present, with honest uncertainties, and not invented where absent.

Spectra are made with the transfer that the fit uses, random phases at every frequency and noise of known size.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.calibrate import higher
from ptylive.engine.calibrate.aberrations import AberrationFit
from ptylive.engine.calibrate.criteria import Aliases, Criteria
from ptylive.engine.calibrate.higher import HIGHER, LOW, SHARED_ERROR, fit_higher
from ptylive.engine.calibrate.modulation import Modulation
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import ImagingConditions, Part
from ptylive.engine.probe import Probe
from ptylive.schema.optics import KRIVANEK_ORDERS
from ptylive.schema.units import wavelength_A

ENERGY_EV, SEMIANGLE_MRAD, SIDE, POINTS, STEP_A = 80e3, 25.0, 24, 48, 0.4
FREQUENCIES, ROTATION_DEG = 120, 20.0


@cache
def conditions() -> ImagingConditions:
    wavelength = wavelength_A(ENERGY_EV)
    radius = SEMIANGLE_MRAD * 1e-3 / wavelength
    pixel = 2.4 * radius / SIDE
    grid = DetectorGrid.of((SIDE, SIDE), (SIDE // 2,) * 2, "none", pixel)
    basis = BinnedPixels.of(grid, radius, np.zeros((SIDE, SIDE), bool), 60)
    probe = Probe.of(wavelength, SEMIANGLE_MRAD, pixel, {})
    return ImagingConditions(probe, grid, basis, (POINTS, POINTS), (STEP_A, STEP_A), 0.0)


def radians(name: str, value_rad: float) -> float:
    """Å of an aberration with the given phase at the disc's rim."""
    order = KRIVANEK_ORDERS[name[:3]][0] + 1
    return value_rad * order * wavelength_A(ENERGY_EV) / (2 * math.pi * (SEMIANGLE_MRAD * 1e-3) ** order)


def seen(aberrations: dict[str, float], seed: int, noise: float = 0.2, absorption: float = 0.0) -> Criteria:
    """A scan through a probe with these aberrations, in Å.

    ``noise`` is relative to the rms of the coefficients, ``absorption`` to that of the phase.
    """
    rng = np.random.default_rng(seed)
    radius = np.sqrt(rng.uniform(0.02, 1.0, FREQUENCIES)) * 1.6 * conditions().probe.semiangle_invA
    angle = rng.uniform(0, math.pi, FREQUENCIES)
    q = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    higher = {name: value for name, value in aberrations.items() if name not in LOW}
    mean = np.full(conditions().basis.count, 1 / conditions().basis.count)
    empty = Modulation(q, np.zeros((len(mean), FREQUENCIES), np.complex64), mean, POINTS * STEP_A)
    low = np.array([*(aberrations.get(name, 0.0) for name in LOW), math.radians(ROTATION_DEG)])
    optics = Criteria(empty, conditions(), higher)
    transfer = optics.transfer(low, q) + absorption * optics.transfer(low, q, Part.AMPLITUDE)
    spectra = transfer * np.exp(2j * math.pi * rng.random(FREQUENCIES))
    scatter = rng.normal(size=(2, *spectra.shape)) * noise * np.sqrt(np.mean(np.abs(spectra) ** 2) / 2)
    return Criteria(
        replace(empty, spectra=(spectra + scatter[0] + 1j * scatter[1]).astype(np.complex64)), conditions(), {}
    )


def begun(aberrations: dict[str, float]) -> AberrationFit:
    """Result of the fit of the low aberrations, slightly off the truth."""
    low = {name: aberrations.get(name, 0.0) + radians(name, 0.1) for name in LOW}
    return AberrationFit(low, ROTATION_DEG + 0.5, 10.0, 1.0, 0.9, 0.5)


def drawn(seed: int) -> dict[str, float]:
    """All twelve aberrations to third order, each up to 0.8 rad at the rim."""
    rng = np.random.default_rng(seed)
    return {name: radians(name, float(rng.uniform(-0.8, 0.8))) for name in (*LOW, *HIGHER)}


def test_twelve_aberrations_are_found():
    off = []
    for seed in range(3):
        truth = drawn(seed)
        found = fit_higher(seen(truth, seed), begun(truth), {})
        assert set(found.uncertainties_A) == set(truth) == set(found.aberrations)
        assert found.rotation_deg == pytest.approx(ROTATION_DEG, abs=4 * found.rotation_uncertainty_deg)
        for name, value in truth.items():
            assert abs(found.aberrations[name] - value) < radians(name, 0.1), (seed, name)
            off.append((found.aberrations[name] - value) * SHARED_ERROR / found.uncertainties_A[name])
    # the model is exact here, so that only noise is left: 36 values scatter by some 1.2 times their standard deviation
    # (epsilon in J2 moves the maximum by 0.005 rad). Values of one fit err together, as if there were 12 of them; the
    # root mean square of 12 lies within 0.5 and 1.7 with 99.9 % probability
    assert 0.5 < np.sqrt(np.mean(np.square(off))) < 1.7


def test_what_a_strong_object_moves_values_by_is_told():
    """With heavy atoms all frequencies share an error, which does not make any of them contradict another."""
    truth, off, share = drawn(0), [], 0.4
    found = fit_higher(seen(truth, 0, noise=0.02, absorption=share), begun(truth), {})
    for name, value in truth.items():
        off.append((found.aberrations[name] - value) / found.uncertainties_A[name])
    assert np.abs(off).max() < 2.5
    plain = fit_higher(seen(truth, 0, noise=0.02), begun(truth), {})
    assert found.uncertainties_A["C10"] > 5 * plain.uncertainties_A["C10"], "it is no noise"


def test_what_is_not_told_may_have_moved_the_defocus():
    """A spherical aberration too weak to be detected is absorbed by the defocus, whose uncertainty must include it."""
    truth = {"C10": radians("C10", 1.0), "C30": radians("C30", 0.25)}
    start = replace(begun(truth), aberrations={"C10": radians("C10", 0.8), "C12a": 0.0, "C12b": 0.0})
    found = fit_higher(seen(truth, 4, noise=3.0), start, {})
    assert found.aberrations == start.aberrations, "it is not told"
    assert found.uncertainty_A > radians("C10", 0.1)
    assert set(found.uncertainties_A) == {"C12a", "C12b"}


def test_astigmatism_in_doubt_stays_so():
    truth = {name: value for name, value in drawn(0).items() if name in LOW}
    start = begun(truth)
    size_A = math.hypot(start.aberrations["C12a"], start.aberrations["C12b"])
    doubted = replace(start, uncertainties_A=dict.fromkeys(("C12a", "C12b"), size_A))
    assert fit_higher(seen(truth, 0), doubted, {}).uncertainties_A == doubted.uncertainties_A
    sure = fit_higher(seen(truth, 0), start, {}).uncertainties_A
    assert max(sure.values()) < 0.2 * size_A
    none = replace(start, aberrations=dict.fromkeys(LOW, 0.0))
    assert fit_higher(seen(truth, 0), none, {"C30": 0.0}) is none, "in focus for want of better knowledge"


def test_leaving_out_one_frequency_moves_a_maximum_as_far_as_the_jackknife_says():
    """One Newton step is exact for a parabola; the reference is least squares with one measurement left out in turn."""
    rng = np.random.default_rng(3)
    design, measured = rng.normal(size=(12, 3)), rng.normal(size=12)
    design[0] *= 6  # decides almost alone
    best = np.linalg.lstsq(design, measured, rcond=None)[0]
    gradients = 2 * design.T * (measured - design @ best)
    curvatures = 2 * design[:, :, None] * design[:, None, :]
    without = [np.linalg.lstsq(np.delete(design, k, 0), np.delete(measured, k), rcond=None)[0] for k in range(12)]
    expected = 11 / 12 * np.cov(np.array(without).T, bias=True) * 12
    assert higher._Derivatives(gradients, curvatures).jackknife() == pytest.approx(expected)


@pytest.mark.parametrize("promising", quick_first([0.0, higher.PROMISING]), ids=["all tried", ""])
def test_aberrations_that_are_not_there_are_not_invented(promising, monkeypatch):
    monkeypatch.setattr(higher, "PROMISING", promising)
    for seed in range(2):
        truth = {name: value for name, value in drawn(seed).items() if name in LOW}
        start = begun(truth)
        assert fit_higher(seen(truth, seed), start, {}).aberrations == start.aberrations


def test_what_a_few_bright_frequencies_say_is_no_aberration():
    """In graphene in focus 2 % of the energy was explained, and an invented C30 of 63 µm raised this by a tenth."""
    truth = {name: radians(name, 0.3) for name in LOW}
    plain, bright = seen(truth, 5), seen({**truth, "C30": radians("C30", 1.0)}, 5)
    spectra = plain.modulation.spectra.copy()
    spectra[:, :8] = 12 * bright.modulation.spectra[:, :8]
    start = begun(truth)
    criteria = Criteria(replace(plain.modulation, spectra=spectra), conditions(), {})
    assert fit_higher(criteria, start, {}).aberrations == start.aberrations
    spectra[:, :] = bright.modulation.spectra
    found = fit_higher(Criteria(replace(plain.modulation, spectra=spectra), conditions(), {}), start, {})
    assert "C30" in found.aberrations


def test_star_aberration_that_astigmatism_has_taken_the_place_of_is_found():
    truth = {"C10": radians("C10", 1.5), "C32a": radians("C32a", 0.8)}
    start = begun(truth)
    start = replace(start, aberrations={**start.aberrations, "C12a": radians("C12a", 0.6)})
    found = fit_higher(seen(truth, 3), start, {}).aberrations
    assert found["C32a"] == pytest.approx(truth["C32a"], abs=radians("C32a", 0.08))
    assert abs(found["C12a"]) < radians("C12a", 0.08)


def test_what_is_given_stays_and_few_frequencies_tell_nothing():
    truth = drawn(1)
    known = {"C10": truth["C10"], "C30": truth["C30"]}
    criteria, start = seen(truth, 1), begun(truth)
    start = replace(start, aberrations={**start.aberrations, "C10": truth["C10"]}, rotation_uncertainty_deg=0.0)
    found = fit_higher(criteria.with_fixed({"C30": truth["C30"]}), start, known)
    assert found.aberrations["C10"] == pytest.approx(truth["C10"])
    assert found.rotation_deg == pytest.approx(start.rotation_deg), "it was known"
    assert "C30" not in found.aberrations
    assert abs(found.aberrations["C34b"] - truth["C34b"]) < radians("C34b", 0.1)
    few = Criteria(criteria.modulation.brightest(40), conditions(), {})
    assert fit_higher(few, start, {}) is start


def test_of_aliases_the_best_is_looked_at():
    aliases = Aliases(np.zeros((5, 2)), np.array([0, 0, 0, 1, 1]), np.array([0, 3]))
    assert aliases.best(np.array([1.0, 3.0, 2.0, 5.0, 4.0])).tolist() == [1, 3]
