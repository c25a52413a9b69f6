"""Sign of the contrast: the rotation by 180° that a weak phase object leaves open (docs/theory/calibration.md).

(rotation + 180, -C10, -C12, -phase) explains the bright field equally well. Atoms settle it: the dark field is bright
where the phase, blurred by the probe, is high.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft, ndimage

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.bank import Spectra, mean_bins
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.maps.obf import OptimumBrightField
from ptylive.schema.model import BoolArray, DoubleArray

TRUSTED_SIGN = 0.1
"""Smallest |correlation| of phase and dark field that settles the half turn on a large scan."""
TRUSTED_DEVIATIONS = 3.0
"""The same limit in standard deviations of a chance correlation, for small scans."""
LEAST_POINTS = 16
MOST_POINTS = 2**20
"""Largest number of points of a finer phase map."""


def phase_correlation(
    store: Store, conditions: ImagingConditions, dark_field: DoubleArray, *, undersampled: bool = False
) -> float:
    """Return the correlation of the phase under some conditions, blurred by their probe, with the dark field.

    Without the blur the test fails out of focus: the dark field (rows, cols) is seen through the probe.
    ``undersampled``: the phase is made as fine as the bright field resolves, and compared at the points of the scan.
    """
    finer = _finer(conditions) if undersampled else 1
    spectra = Spectra.of(store, conditions)
    phase = OptimumBrightField.build(conditions, mean_bins(store), upsample=finer).image(spectra)
    size = conditions.scan_grid(finer).size
    blur = conditions.probe_transfer(conditions.frequencies(finer)).reshape(size)
    visited = spectra.visited.repeat(finer, axis=0).repeat(finer, axis=1)
    centred = np.where(visited, phase - phase[visited].mean(), 0.0)
    blurred = fft.ifft2(fft.fft2(centred, s=size) * blur).real[: phase.shape[0] : finer, : phase.shape[1] : finer]
    return detail_correlation(blurred, dark_field, spectra.visited)


def _finer(conditions: ImagingConditions) -> int:
    """Return the sampling factor relative to the scan that captures the bright field's resolution, if affordable."""
    wanted = math.ceil(4 * conditions.probe.semiangle_invA * max(conditions.step_A))
    rows, cols = conditions.padded
    return max(1, min(wanted, math.isqrt(MOST_POINTS // (rows * cols))))


def settles(correlation: float, points: int) -> bool:
    """Return whether a correlation over that many points is more than chance."""
    return abs(correlation) > max(TRUSTED_SIGN, TRUSTED_DEVIATIONS / math.sqrt(max(points, 1)))


def detail_correlation(phase: DoubleArray, dark_field: DoubleArray, visited: BoolArray) -> float:
    """Return the rank correlation of two images (rows, cols) over the visited points, slow changes removed.

    Ranks are used because one heavy particle is not a weak phase object: it blocks the beam, and its shadow has the
    sign of the defocus, not of its phase. 0 for too few points.
    """
    if visited.sum() < LEAST_POINTS:
        return 0.0
    extent = min(int(visited.any(axis=1).sum()), int(visited.any(axis=0).sum()))
    sigma = max(2.0, extent / 8)

    def detail(image: DoubleArray) -> DoubleArray:
        ranks = np.zeros(image.shape)
        ranks[visited] = ranked(image[visited])
        filled = np.where(visited, ranks, ranks[visited].mean())
        values = (filled - ndimage.gaussian_filter(filled, sigma))[visited]
        return np.asarray(values - values.mean())

    x, y = detail(phase), detail(dark_field)
    power = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / power if power > 0 else 0.0


def ranked(values: DoubleArray) -> DoubleArray:
    """Return ranks from 1 for the smallest; ties share their mean. Importing scipy.stats would take half a second."""
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[position])
