"""Tilted specimens, simulated by sheared columns through many thin slices, and found by four thick ones."""

from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.tuning.tilt_search import expected_patterns, find_tilt
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

WINDOW, PIXEL_A, ENERGY_EV, SEMIANGLE_MRAD, DEFOCUS_A = 48, 0.25, 200e3, 30.0, 60.0
POINTS, STEP_A, THIN, THICKNESS_A = 12, 0.75, 16, 48.0
TILTS_MRAD = [(5.0, -3.0), (-3.0, 4.0), (0.0, 0.0)]
SPACING_A = 2.6


def specimen(margin_px, tilt_mrad):
    """Phases (THIN, Y, X) of sheared columns of atoms, some of them missing."""
    rng = np.random.default_rng(8)
    size = WINDOW + round((POINTS - 1) * STEP_A / PIXEL_A) + 2 * margin_px
    at = np.arange(size) * PIXEL_A
    count = int(size * PIXEL_A / SPACING_A) + 2
    turn = np.deg2rad(17)
    lattice = SPACING_A * np.stack(np.meshgrid(np.arange(-count, 2 * count), np.arange(-count, 2 * count)), -1).reshape(
        -1, 2
    )
    lattice = lattice @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    slices = np.zeros((THIN, size, size))
    for z in range(THIN):
        depth = (z + 0.5) * THICKNESS_A / THIN
        atoms = lattice[rng.random(len(lattice)) > 0.1] + depth * 1e-3 * np.asarray(tilt_mrad)
        row, column = (np.exp(-((at[:, None] - atoms[:, k]) ** 2) / (2 * 0.35**2)) for k in (0, 1))
        slices[z] = 0.12 * row @ column.T
    return slices


def tilted(tilt_mrad):
    """A scan of the specimen, 1e5 counts a pattern."""
    wavelength, margin = wavelength_A(ENERGY_EV), 4
    transmission = np.exp(1j * specimen(margin, tilt_mrad))
    q = np.fft.fftfreq(WINDOW, PIXEL_A)
    squared = q[:, None] ** 2 + q[None, :] ** 2
    pixel = 1 / (WINDOW * PIXEL_A)
    aperture = np.clip((SEMIANGLE_MRAD * 1e-3 / wavelength - np.sqrt(squared)) / pixel + 0.5, 0, 1)
    centred = np.exp(-2j * np.pi * np.fft.fftfreq(WINDOW) * (WINDOW // 2))
    wave = aperture * np.exp(1j * np.pi * wavelength * DEFOCUS_A * squared) * centred[:, None] * centred
    probe = np.fft.ifft2(wave)
    propagator = np.exp(-1j * np.pi * wavelength * squared * THICKNESS_A / THIN)
    patterns, positions = [], []
    for i in range(POINTS):
        for j in range(POINTS):
            corner = margin + round(i * STEP_A / PIXEL_A), margin + round(j * STEP_A / PIXEL_A)
            psi = probe
            for one in transmission:
                window = one[corner[0] : corner[0] + WINDOW, corner[1] : corner[1] + WINDOW]
                psi = np.fft.ifft2(np.fft.fft2(psi * window) * propagator)
            patterns.append(np.fft.fftshift(np.abs(np.fft.fft2(psi)) ** 2))
            positions.append((i * STEP_A, j * STEP_A))
    counts = np.array(patterns)
    counts *= 1e5 / counts.sum((1, 2)).mean()
    values = {
        "energy_eV": ENERGY_EV,
        "convergence_semiangle_mrad": SEMIANGLE_MRAD,
        "detector_pixel_invA": pixel,
        "C10": -DEFOCUS_A,
        "beam_center_px": (WINDOW / 2, WINDOW / 2),
    }
    return Dataset(
        patterns=np.random.default_rng(9).poisson(counts).astype(np.uint16),
        point=np.arange(POINTS**2),
        positions_A=np.array(positions),
        bad_pixels=np.zeros((WINDOW, WINDOW), bool),
        beam_center_px=np.array([WINDOW / 2, WINDOW / 2]),
        scan_shape=(POINTS, POINTS),
        calibration=Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()}),
    )


PRESET = Preset(num_slices=4, total_thickness_A=THICKNESS_A, probe_modes=1, update_tilts=True)


@pytest.mark.slow
@pytest.mark.parametrize("tilt_mrad", TILTS_MRAD, ids=str)
def test_the_tilt_of_the_specimen_is_found(tilt_mrad):
    result = refine(tilted(tilt_mrad), PRESET, backend="cpu")
    assert result.backend == "cpu"  # the shear is measured, so the compiled kernel serves
    # half a mrad over 48 Å is 0.02 Å, a tenth of a pixel
    np.testing.assert_allclose(result.refined.tilts_mrad[0, 2:4], tilt_mrad, atol=0.5)
    assert not result.refined.tilts_mrad[0, [0, 1, 4, 5]].any()


def told(*tilt_mrad):
    """A result that says so much of the tilt inside, and nothing else."""
    tilts = np.array([[0, 0, *tilt_mrad, 0, 0]], np.float32)
    return SimpleNamespace(refined=SimpleNamespace(tilts_mrad=tilts))


def test_what_the_method_finds_too_little_is_added():
    asked = []

    def once(preset, like):
        asked.append(like)
        return told(4.5, -2.7) if like is None else told(4.05, -2.43)

    found = find_tilt(PRESET, once)
    assert [like is None for like in asked] == [True, False]
    np.testing.assert_allclose(found.propagation.tilts_mrad[0], [0, 0, 4.95, -2.97, 0, 0], rtol=1e-6)  # 16 eps
    first = find_tilt(PRESET, lambda preset, like: told(4.5, -2.7) if like is None else None)
    np.testing.assert_allclose(first.propagation.tilts_mrad[0][2:4], [4.5, -2.7], rtol=1e-6)


def test_a_result_gives_the_patterns_it_was_fitted_to():
    dataset = tilted((0.0, 0.0))
    result = refine(dataset, PRESET.model_copy(update={"update_tilts": False}), backend="cpu")
    setup = prepare(dataset, PRESET, None)
    counts, expected = setup.multislice.patterns.astype(float), expected_patterns(setup, result)
    assert expected.shape == counts.shape
    # sums are fitted to two parts in a thousand; counts of 1e5 a pattern scatter about what was fitted: 0.996
    assert expected.sum() == pytest.approx(counts.sum(), rel=0.01)
    assert np.corrcoef(expected.ravel(), counts.ravel())[0, 1] > 0.99
    cut = prepare(dataset, PRESET.model_copy(update={"damping_cutoff_multislice": 0.9}), None)
    assert expected_patterns(cut, result) is None
