"""Modes of a blurred probe, compared with the average over many places of the beam."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.refine.data.blur_modes import NEGLECTED, blur_modes, fast_step_A
from ptylive.schema import MetadataError

SIZE, PIXEL_A, K_ALPHA = 32, 0.5, 0.6


def frequencies():
    k = np.fft.fftfreq(SIZE, PIXEL_A)
    return np.meshgrid(k, k, indexing="ij")


def drawn_probe(seed):
    """A random probe within the aperture, other than the one the modes are made for."""
    rng = np.random.default_rng(seed)
    k_row, k_col = frequencies()
    aperture = np.hypot(k_row, k_col) <= K_ALPHA
    wave = aperture * (rng.normal(size=(SIZE, SIZE)) + 1j * rng.normal(size=(SIZE, SIZE)))
    return wave * np.exp(1j * np.pi * 3 * (k_row**2 + k_col**2))


def averaged(wave, places, weights):
    """|probe|^2 behind an object, in Fourier space, averaged over places of the beam (n, 2)."""
    k_row, k_col = frequencies()
    screen = np.exp(1j * np.random.default_rng(7).random((SIZE, SIZE)))
    moved = (wave * np.exp(-2j * np.pi * (k_row * y + k_col * x)) for y, x in places)
    return sum(
        w * np.abs(np.fft.fft2(screen * np.fft.ifft2(each))) ** 2 for w, each in zip(weights, moved, strict=True)
    )


def of_modes(wave, factors):
    screen = np.exp(1j * np.random.default_rng(7).random((SIZE, SIZE)))
    return sum(np.abs(np.fft.fft2(screen * np.fft.ifft2(f * wave))) ** 2 for f in factors)


@pytest.mark.parametrize(
    ("source_A", "path_A"), quick_first([(0.25, (-0.8, 0.4)), (0.3, (0.0, 0.0)), (0.0, (0.5, 1.2))])
)
def test_modes_are_the_average_over_places(source_A, path_A):
    """Tested with a random probe; the light that the modes omit is of the order of ``NEGLECTED``."""
    k_row, k_col = frequencies()
    power = (np.hypot(k_row, k_col) <= K_ALPHA).astype(float)
    factors = blur_modes(k_row, k_col, power, source_A, np.array(path_A))
    assert len(factors) > 1
    along = (np.arange(24) + 0.5) / 24 - 0.5
    node, weight = np.polynomial.hermite_e.hermegauss(9)
    y, x, t = (axis.ravel() for axis in np.meshgrid(node, node, along, indexing="ij"))
    places = source_A * np.stack([y, x], 1) + t[:, None] * np.array(path_A)
    shares = (weight[:, None, None] * weight[None, :, None] * np.ones(24)).ravel()
    wave = drawn_probe(1)
    true, found = averaged(wave, places, shares / shares.sum()), of_modes(wave, factors)
    assert found.sum() == pytest.approx(true.sum(), rel=1e-6)  # factors are kept in single precision
    assert np.abs(found - true).sum() < 5 * NEGLECTED * true.sum()
    assert np.abs(of_modes(wave, np.ones((1, SIZE, SIZE))) - true).sum() > 0.05 * true.sum(), "unblurred it is another"


def test_no_electron_is_lost():
    k_row, k_col = frequencies()
    factors = blur_modes(k_row, k_col, (np.hypot(k_row, k_col) <= K_ALPHA).astype(float), 0.4, np.array([0.0, 1.0]))
    np.testing.assert_allclose((factors**2).sum(axis=0), 1, atol=1e-5)  # 32 roundings in single precision


def test_a_blur_of_too_many_modes_is_refused():
    k_row, k_col = frequencies()
    with pytest.raises(MetadataError, match=r"needs \d+ modes"):
        blur_modes(k_row, k_col, np.ones((SIZE, SIZE)), 0.0, np.array([50.0, 31.0]))


def test_the_fast_step_is_that_of_the_turned_rows(simulated):
    angle = np.deg2rad(25.0)  # of the scan, whose step is 0.8 Å
    expected = 0.8 * np.array([-np.sin(angle), np.cos(angle)])
    np.testing.assert_allclose(fast_step_A(simulated.dataset, "x"), expected, atol=1e-9)


def test_a_single_row_has_a_fast_axis(simulated):
    whole = simulated.dataset
    first = whole.point < whole.scan_shape[1]
    row = replace(whole, point=whole.point[first], positions_A=whole.positions_A[first])
    np.testing.assert_allclose(fast_step_A(row, "x"), fast_step_A(whole, "x"), atol=1e-9)


def test_scans_of_one_place_have_the_fast_axis_of_each(simulated):
    """The rows of the second scan are counted on from those of the first."""
    whole = simulated.dataset
    rows, columns = whole.scan_shape
    both = replace(
        whole,
        point=np.concatenate([whole.point, whole.point + (rows + 1) * columns]),
        positions_A=np.concatenate([whole.positions_A, whole.positions_A + 0.1]),
        scan_of=np.repeat([0, 1], len(whole.point)),
    )
    np.testing.assert_allclose(fast_step_A(both, "x"), fast_step_A(whole, "x"), atol=1e-9)


def test_points_without_rows_have_no_fast_axis(simulated):
    rng = np.random.default_rng(0)
    scattered = replace(simulated.dataset, positions_A=rng.permutation(simulated.dataset.positions_A))
    with pytest.raises(MetadataError, match="fly_scan_share needs a scan in rows"):
        fast_step_A(scattered, "fly_scan_share")
