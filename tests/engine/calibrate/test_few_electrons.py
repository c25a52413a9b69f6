"""Sparse scans of few electrons: optics that explain more than chance are found, and noise alone yields none."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from ptylive.engine.calibrate.modulation import is_sparse
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.probe import Probe
from ptylive.schema import Calibration, Detector, FrameBatch, Optics, Origin, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.schema.units import wavelength_A

ENERGY_EV, SEMIANGLE_MRAD, C10_A = 300e3, 6.0, -1500.0
POINTS, STEP_PX, SIDE, PIXEL_A = 24, 6, 32, 1.04
ELECTRONS = 300
"""Electrons in a pattern: 8 per square Å."""
GRAIN_A, PHASE_RAD = 8.0, 0.25
"""Grain size of the specimen, as the standard deviation of a Gaussian, and its root mean square phase."""


@cache
def frames(c10_A: float = C10_A, share: float = 1.0, electrons: int = ELECTRONS) -> Array:
    """Counts (n, SIDE, SIDE) of a specimen without order, scanned along the detector's axes.

    share: of the points of the specimen that are grains; a small one leaves few grains, all of positive phase.
    """
    rng = np.random.default_rng(3)
    size = POINTS * STEP_PX
    q = np.hypot(*np.meshgrid(np.fft.fftfreq(size, PIXEL_A), np.fft.fftfreq(size, PIXEL_A)))
    grains = rng.normal(size=(size, size)) if share == 1.0 else rng.random((size, size)) < share
    phase = np.fft.ifft2(np.fft.fft2(grains) * np.exp(-2 * (np.pi * GRAIN_A * q) ** 2)).real
    specimen = np.exp(1j * PHASE_RAD * phase / phase.std())
    k_row, k_col = np.meshgrid(np.fft.fftfreq(SIDE, PIXEL_A), np.fft.fftfreq(SIDE, PIXEL_A), indexing="ij")
    lens = Probe.of(wavelength_A(ENERGY_EV), SEMIANGLE_MRAD, 0.5 / (SIDE * PIXEL_A), {"C10": c10_A})
    probe = np.fft.fftshift(np.fft.ifft2(lens.wave(k_row, k_col)))
    probe /= math.sqrt((np.abs(probe) ** 2).sum())
    out = []
    for row, col in np.ndindex(POINTS, POINTS):
        at = [(first * STEP_PX - SIDE // 2 + np.arange(SIDE)) % size for first in (row, col)]
        wave = np.fft.fft2(probe * specimen[np.ix_(*at)], norm="ortho")
        out.append(rng.poisson(electrons * np.abs(np.fft.fftshift(wave)) ** 2))
    return np.array(out, dtype=np.uint16)


def calibrated(patterns: Array) -> Calibration:
    """Calibration of a scan for which energy, semi-angle, step and pixel are given."""
    step_A = STEP_PX * PIXEL_A
    pixel_mrad = 1e3 * wavelength_A(ENERGY_EV) / (SIDE * PIXEL_A)
    header = ScanHeader(
        "few",
        "few",
        len(patterns),
        optics=Optics(energy_eV=ENERGY_EV, convergence_semiangle_mrad=SEMIANGLE_MRAD),
        scan=Scan(shape=(POINTS, POINTS), step_A=(step_A, step_A)),
        detector=Detector(shape=(SIDE, SIDE), dtype="<u2", pixel_mrad=pixel_mrad),
    )
    assert is_sparse((step_A, step_A), 1e-3 * SEMIANGLE_MRAD / wavelength_A(ENERGY_EV))
    engine, _ = reconstruct(header, lambda: [FrameBatch("few", np.arange(len(patterns)), patterns)], ["bf"])
    return engine.calibration or Calibration()


@pytest.mark.slow
def test_optics_that_explain_more_than_chance_are_found() -> None:
    found = calibrated(frames())
    c10_A, turn = float(found.get("C10")), math.copysign(1.0, float(found.get("C10")) * C10_A)
    assert abs(c10_A) == pytest.approx(abs(C10_A), rel=0.1)
    assert turn * math.cos(math.radians(found.rotation_deg)) > math.cos(math.radians(10.0))
    assert (found.transform, found.origin("detector_transform")) == ("none", Origin.ESTIMATED)


@pytest.mark.slow
def test_counting_noise_alone_has_none() -> None:
    mean = frames().mean(axis=0)
    found = calibrated(np.random.default_rng(0).poisson(mean, frames().shape).astype(np.uint16))
    assert found.origin("C10") is Origin.DEFAULT
    assert found.origin("rotation_deg") is Origin.UNDECIDED


@pytest.mark.slow
def test_few_particles_show_the_half_turn_where_the_dark_field_shows_nothing():
    """Overfocus, whose half turn is underfocus: the choice where nothing is known."""
    patterns = frames(-C10_A, share=1e-3, electrons=3000).copy()
    row, col = np.indices((SIDE, SIDE)) - SIDE // 2
    beyond = np.hypot(row, col) > 1.3 * SEMIANGLE_MRAD * 1e-3 / wavelength_A(ENERGY_EV) * SIDE * PIXEL_A
    patterns[:, beyond] = 0
    found = calibrated(patterns)
    assert found.origin("rotation_deg") is Origin.UNDECIDED
    assert found.rotation_deg == pytest.approx(0.0, abs=5.0)
    assert found.aberrations["C10"] == pytest.approx(-C10_A, abs=100.0)
