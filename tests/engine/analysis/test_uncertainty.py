"""Uncertainty of the phase at each place, compared with known noise and with repeated refinements."""

import numpy as np
import pytest
from columns import scan_of_columns
from scipy.ndimage import gaussian_filter

from ptylive.engine.analysis.fourier_correlation import scanned_area
from ptylive.engine.analysis.half_dose import compare_half_doses
from ptylive.engine.analysis.uncertainty import phase_uncertainty
from ptylive.engine.refine import TrialContext, refine
from ptylive.engine.refine.results.ring_correlation import without_ramp
from ptylive.schema import MetadataError
from ptylive.schema.preset import Preset

PIXEL_A = 0.2
BLUR_PX = 1.5


def noise(shape, seed, deviation=1.0):
    """Noise with the correlation length of a picture that is resolved to some pixels."""
    white = gaussian_filter(np.random.default_rng(seed).normal(size=shape), BLUR_PX, mode="wrap")
    return deviation * white / white.std()


def halves(picture, deviation, seed=0):
    """Two pictures at half the dose each; at the full dose the noise has the given deviation."""
    return [picture + np.sqrt(2) * noise(picture.shape, seed + k, deviation) for k in (1, 2)]


def test_the_deviation_is_that_of_the_noise_of_all_counts():
    rows, cols = np.indices((128, 160))
    ramp = 0.01 * rows - 0.02 * cols + 3.0  # two reconstructions may differ by a ramp
    first, second = halves(np.zeros((128, 160)), 0.05)
    found = phase_uncertainty(first, second + ramp, PIXEL_A)
    # scatter of the estimate itself: 1 / sqrt(2 * 100 independent values) in each window, averaged over some 30 windows
    assert found.deviation_rad.mean() == pytest.approx(0.05, rel=3 * 0.07 / np.sqrt(30))
    assert np.abs(found.deviation_rad / 0.05 - 1).max() < 5 * 0.07
    # a Gaussian of sigma s correlates noise over 2 pi s^2 pixels; a window of sigma w holds 4 pi w^2 / that
    assert found.window_A == pytest.approx(np.sqrt(100 / 2) * BLUR_PX * PIXEL_A, rel=0.1)


def test_it_follows_the_noise_over_the_field():
    shape = (160, 160)
    deviation = np.where(np.arange(160) < 80, 0.03, 0.12)[None, :] * np.ones(shape)
    first, second = halves(np.zeros(shape), deviation)
    found = phase_uncertainty(first, second, PIXEL_A).deviation_rad
    away = np.abs(np.arange(160) - 79.5) > 50  # at least two windows from the step
    ratio = found[:, away] / deviation[:, away]
    assert np.abs(ratio - 1).max() < 5 * 0.07


def test_the_limit_is_finer_where_there_is_less_noise():
    rng = np.random.default_rng(5)
    picture = gaussian_filter(rng.normal(size=(192, 192)), 1.0, mode="wrap")
    deviation = np.where(np.arange(192) < 96, 0.01, 0.3)[None, :]
    first, second = (picture + deviation * rng.normal(size=picture.shape) for _ in (1, 2))
    found = phase_uncertainty(first, second, PIXEL_A)
    assert found.limit_A.shape == (5, 5)
    assert found.tile_A == pytest.approx(64 * PIXEL_A)
    assert np.nanmax(found.limit_A[:, 0]) < 0.7 * np.nanmin(found.limit_A[:, -1])
    nothing = phase_uncertainty(noise((64, 64), 1), noise((64, 64), 2), PIXEL_A)
    assert np.isnan(nothing.limit_A).all()


def test_equal_and_tiny_pictures():
    picture = noise((40, 30), 3)
    same = phase_uncertainty(picture, picture, PIXEL_A)
    assert not same.deviation_rad.any()
    assert (same.limit_A < 3 * PIXEL_A).all()
    with pytest.raises(MetadataError, match="too few"):
        phase_uncertainty(picture[:4], picture[:4], PIXEL_A)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [300.0, 3000.0, 30000.0])
def test_repeated_refinements_scatter_as_it_says(counts):
    """Twenty scans of one specimen, compared with the two halves of a twenty-first."""
    preset = Preset(probe_modes=1, num_slices=1, source_size_A=0.0, focal_spread_A=0.0)
    pictures = []
    for number in range(20):
        result = refine(scan_of_columns(thickness_A=2.0, points=16, counts=counts, noise=100 + number), preset)
        area = scanned_area(result.object.shape[2:], result.origin_A, result.positions_A, result.object_sampling_A[0])
        pictures.append(without_ramp(np.angle(result.object[0]).sum(axis=0)[area]))
    scan = scan_of_columns(thickness_A=2.0, points=16, counts=counts, noise=99)
    found = compare_half_doses(scan, preset, TrialContext("cpu")).uncertainty
    window_px = found.window_A / result.object_sampling_A[0]
    scatter = np.sqrt(gaussian_filter(np.var(pictures, axis=0, ddof=1), window_px, mode="reflect"))
    assert np.mean(np.abs(found.deviation_rad / scatter - 1) < 0.25) > 0.9
