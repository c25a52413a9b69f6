"""Focal series: images simulated as a sum over incident angles, refined with an envelope in place of the sum."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.schema import Calibration, MetadataError, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

SIZE, PIXEL_A, ENERGY_EV, CS_A, ALPHA_MRAD, COUNTS = 64, 0.3, 200e3, 1e5, 0.6, 400.0
DEFOCUS_A = (200.0, 400.0, 600.0, 850.0, 1100.0, 1400.0, 1700.0)
NODES = 7
"""Number of incident angles along each axis."""


def specimen():
    """Phase (rad) of atoms, periodic in the image."""
    rng = np.random.default_rng(4)
    atoms, at = rng.uniform(0, SIZE, (45, 2)), np.arange(SIZE)
    away = (
        (at[:, None, None] - atoms[:, 0] + SIZE / 2) % SIZE - SIZE / 2,
        (at[None, :, None] - atoms[:, 1] + SIZE / 2) % SIZE - SIZE / 2,
    )
    return 0.5 * np.exp(-(away[0] ** 2 + away[1] ** 2) / (2 * 2.2**2)).sum(-1)


def image(defocus_A, alpha_mrad):
    """Counts (SIZE, SIZE): every incident angle passes the lens separately, chi(q + angle / lam)."""
    wavelength = wavelength_A(ENERGY_EV)
    spectrum, q = np.fft.fft2(np.exp(1j * specimen())), np.fft.fftfreq(SIZE, PIXEL_A)
    node, weight = np.polynomial.hermite.hermgauss(NODES)  # for exp(-x^2): 1/e half-width 1
    total = np.zeros((SIZE, SIZE))
    for y, wy in zip(node, weight, strict=True):
        for x, wx in zip(node, weight, strict=True):
            tilt = 1e-3 * alpha_mrad * np.array([y, x]) / wavelength
            squared = (q[:, None] + tilt[0]) ** 2 + (q[None, :] + tilt[1]) ** 2
            chi = -np.pi * wavelength * defocus_A * squared + 0.5 * np.pi * CS_A * wavelength**3 * squared**2
            total += wy * wx / np.pi * np.abs(np.fft.ifft2(spectrum * np.exp(-1j * chi))) ** 2
    return COUNTS * total


@pytest.fixture(scope="module")
def series():
    images = np.array([image(defocus, ALPHA_MRAD) for defocus in DEFOCUS_A])
    values = {"energy_eV": ENERGY_EV, "C30": CS_A, "beam_center_px": (SIZE / 2, SIZE / 2)}
    return Dataset(
        patterns=np.random.default_rng(5).poisson(images).astype(np.uint16),
        point=np.arange(len(DEFOCUS_A)),
        positions_A=np.zeros((len(DEFOCUS_A), 2)),
        bad_pixels=np.zeros((SIZE, SIZE), bool),
        beam_center_px=np.array([SIZE / 2, SIZE / 2]),
        scan_shape=(1, len(DEFOCUS_A)),
        calibration=Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()}),
    )


NEAR = {
    "recon_type": "near_field",
    "image_pixel_A": PIXEL_A,
    "defocus_array_A": DEFOCUS_A,
    "alpha_near_field_mrad": ALPHA_MRAD,
    "update_probe": False,
    "damping_cutoff_multislice": 0.4,
    "sweeps": 0,
    "epoch_max": 12,
}


def correlation(result):
    phase = np.angle(result.object[0, 0])
    row, column = (round(-origin / PIXEL_A) - SIZE // 2 for origin in result.origin_A)
    inner = phase[row : row + SIZE, column : column + SIZE]
    return np.corrcoef(inner.ravel(), specimen().ravel())[0, 1]


def test_a_focal_series_is_recovered(series):
    result = refine(series, Preset.from_mapping(NEAR), backend="cpu")
    assert "near field" in result.backend
    assert correlation(result) > 0.95  # found 0.996; coherent, 0.983


def test_without_the_envelope_it_is_worse(series):
    coherent, partial = (
        correlation(refine(series, Preset.from_mapping({**NEAR, "alpha_near_field_mrad": alpha}), backend="cpu"))
        for alpha in (0.0, ALPHA_MRAD)
    )
    assert 1 - partial < 0.7 * (1 - coherent)  # found a quarter


def test_the_envelope_keeps_the_counts(series):
    """Flux is conserved: the sum of an image does not depend on the angles."""
    sums = [image(DEFOCUS_A[3], alpha).sum() for alpha in (0.0, ALPHA_MRAD)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-6)  # double precision


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"image_pixel_A": None}, "the near field needs image_pixel_A"),
        ({"defocus_array_A": None}, "the near field needs defocus_array_A"),
        ({"defocus_array_A": (1.0, 2.0)}, "defocus_array_A has 2 entries"),
        ({"update_probe": True}, "object and illumination cannot be separated"),
        ({"update_aberrations": True}, "update_aberrations has no meaning in the near field"),
        ({"probe_modes": 2}, "the near field has one illumination"),
        ({"upsample_pattern": 2}, "the near field uses images unchanged"),
        ({"window_px": 32}, "window_px = 32 is smaller than the images"),
    ],
)
def test_what_makes_no_sense_is_refused(series, changes, line):
    with pytest.raises(MetadataError) as error:
        refine(series, Preset.from_mapping({**NEAR, **changes}), backend="cpu")
    assert line in error.value.line()


def test_nothing_is_looked_for_by_trials(series):
    """A defocus estimated by treating the images as a scan gives no reason for trials."""
    estimated = series.calibration.having(C10=Quantity(-50.0, Origin.ESTIMATED))
    result = refine(
        replace(series, calibration=estimated), Preset.from_mapping({**NEAR, "epoch_max": 1}), backend="cpu"
    )
    assert result.curves == ()


def test_one_defocus_serves_all_and_energy_is_needed(series):
    same = replace(series, patterns=series.patterns[:2], point=np.arange(2), positions_A=np.zeros((2, 2)))
    refine(same, Preset.from_mapping({**NEAR, "defocus_array_A": (500.0,), "epoch_max": 1}), backend="cpu")
    with pytest.raises(MetadataError, match="energy_eV"):
        refine(replace(same, calibration=Calibration()), Preset.from_mapping(NEAR), backend="cpu")
