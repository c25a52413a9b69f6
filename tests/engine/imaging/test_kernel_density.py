"""Kernel density, compared with the sums it represents, point by point."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import fft

from ptylive.engine.imaging.band import Band, ScanGrid
from ptylive.engine.imaging.kernel_density import kernel_band, normalised
from ptylive.schema import MetadataError

POINTS, STEP_A, UPSAMPLE, KERNEL = (16, 12), 0.5, 4, 0.3
PADDED = (24, 20)


def by_hand(images: np.ndarray, shifts_A: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Sum of all points, shifted and spread over the finer, periodic grid, divided by the same sum for the mean."""
    size = tuple(n * UPSAMPLE for n in PADDED)
    axes = [np.arange(n) * STEP_A / UPSAMPLE for n in size]
    total, counted = np.zeros(size), np.zeros(size)
    sigma = KERNEL * STEP_A

    def spread(at: float, axis: int) -> np.ndarray:
        period = size[axis] * STEP_A / UPSAMPLE
        away = (axes[axis] - at + period / 2) % period - period / 2
        return np.exp(-0.5 * (away / sigma) ** 2)

    for image, (row_A, col_A), level in zip(images, shifts_A, mean, strict=True):
        for row, col in np.ndindex(*POINTS):
            kernel = np.outer(spread(row * STEP_A + row_A, 0), spread(col * STEP_A + col_A, 1))
            total += image[row, col] * kernel
            counted += level * kernel
    seen = counted > 0.05 * counted.max()
    return np.where(seen, total / np.where(seen, counted, 1), 0)


def test_the_quotient_is_that_of_the_sums():
    rng = np.random.default_rng(3)
    images = rng.normal(size=(3, *POINTS))
    mean, shifts = np.array([1.0, 2.0, 0.5]), rng.uniform(-0.8, 0.8, (3, 2))
    band = Band(ScanGrid(PADDED, (STEP_A, STEP_A), 0.0, UPSAMPLE), np.inf, 5.0, True)
    weights = np.exp(-2j * np.pi * band.q @ shifts.T).astype(np.complex64)
    index, sign = band.kept
    spectra_of = np.stack([fft.rfft2(one, s=PADDED).T.reshape(-1)[index] for one in images], axis=1)
    spectra_of = np.where(sign[:, None] < 0, spectra_of.conj(), spectra_of)
    spectra = SimpleNamespace(visited=np.ones(POINTS, bool), mean=mean)
    found = normalised(spectra, band, weights, (weights * spectra_of).sum(axis=1), KERNEL)
    picture = fft.irfft2(band.spread(found), s=band.grid.size) * UPSAMPLE**2
    expected = by_hand(images, shifts, mean)
    # the grid truncates a Gaussian of 1.2 fine steps at exp(-2 (0.3 pi 2)^2) = 8e-4 of its transform
    where = np.abs(expected) > 0
    assert np.abs(picture - expected)[where].max() < 0.02 * np.abs(expected).max()
    assert np.corrcoef(picture[where], expected[where])[0, 1] > 0.9999


def test_points_off_the_grid_are_refused():
    with pytest.raises(MetadataError, match=r"tcbf\.kernel_steps needs points on a regular grid"):
        kernel_band(SimpleNamespace(placement=object()), 4, "tcbf.kernel_steps")
