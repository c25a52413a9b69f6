"""Gains of the frequency bands of a picture, fitted to held-out patterns.

Networks that are stopped early reproduce some frequencies too weakly and retain the noise of others, above all of the
lowest: they predict held-out patterns better, and still the picture is worse. Those patterns took no part in the fit,
and can therefore determine a gain for each band of frequencies: the gain of least loss is the least-squares gain
against the truth, band by band (a Wiener filter whose noise is measured).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray

BANDS = 20
"""Number of bands up to the object pixel's Nyquist frequency along an axis; the last one includes the corners."""
PRIOR = 1.0
"""Prior standard deviation of a gain: from zero to twice the amplitude."""
NEIGHBOURS = 0.22
"""Prior standard deviation of the difference of neighbouring bands' gains: what a few patterns say about a band of few
frequencies is mostly chance, but not what they say about all bands together.
"""
HIGHEST = 4.0
STEP = 0.25
"""Change of a gain in the finite difference of two gradients."""
HALVES = 2
Gradient = Callable[[FloatArray], tuple[DoubleArray, FloatArray]]
"""For images (channels, Y, X): losses (groups,) and gradients (groups, channels, Y, X)."""


@dataclass(frozen=True)
class Bands:
    """Frequency bands of images (Y, X), each a triangle that overlaps its neighbours by half; their sum is 1."""

    shape: tuple[int, int]
    count: int = BANDS

    def _places(self) -> DoubleArray:
        """(Y, X) fractional band index: frequency in units of the width of a band."""
        axes = np.meshgrid(*(np.fft.fftfreq(size) for size in self.shape), indexing="ij")
        return np.asarray(np.minimum(2 * self.count * np.hypot(*axes), self.count), dtype=np.float64)

    def scaled(self, images: FloatArray, gains: DoubleArray) -> FloatArray:
        """Images (channels, Y, X) times a gain (count + 1,) at each frequency; their means are unchanged."""
        factors = np.interp(self._places(), np.arange(self.count + 1), gains)
        factors[0, 0] = 1.0
        return np.asarray(np.fft.ifft2(np.fft.fft2(images) * factors).real, dtype=np.float32)

    def slopes(self, gradients: FloatArray, images: FloatArray) -> DoubleArray:
        """(…, count + 1) derivative of the loss by each gain, at gains of 1, from gradients (…, channels, Y, X)."""
        cross = (np.fft.fft2(gradients).conj() * np.fft.fft2(images)).real.sum(axis=-3) / np.prod(self.shape)
        cross[..., 0, 0] = 0.0
        place = self._places().ravel()
        below = np.minimum(place.astype(int), self.count - 1)
        share = place - below
        flat = cross.reshape(*cross.shape[:-2], -1)
        found = np.zeros((*flat.shape[:-1], self.count + 1))
        for index in np.ndindex(flat.shape[:-1]):
            found[index] = np.bincount(below, flat[index] * (1 - share), self.count + 1)
            found[index] += np.bincount(below + 1, flat[index] * share, self.count + 1)
        return found


@dataclass(frozen=True)
class Response:
    """First and second derivatives of the loss of groups of patterns by the gains."""

    slopes: DoubleArray
    """(groups, n) derivative of the loss by each gain, at gains of 1."""
    curvatures: DoubleArray
    """(groups, n, n) second derivatives."""

    @classmethod
    def measured(cls, bands: Bands, images: FloatArray, gradient: Gradient) -> Response:
        """Measure by differences of gradients."""
        slopes = bands.slopes(gradient(images)[1], images)
        curvatures = np.empty((*slopes.shape, bands.count + 1))
        for band in range(bands.count + 1):
            gains = np.ones(bands.count + 1)
            gains[band] += STEP
            moved = bands.slopes(gradient(bands.scaled(images, gains))[1], images)
            curvatures[:, band] = (moved - slopes) / STEP
        return cls(slopes, curvatures)

    def gains(self, groups: Sequence[int]) -> DoubleArray:
        """(n,) gains fitted to some groups, drawn to 1 and to each other where these groups say little.

        The scatter of the slopes between groups, divided by the curvature, sets the weight of a unit of loss.
        """
        slopes, curvature = self.slopes[groups], self.curvatures[groups].sum(axis=0)
        count = slopes.shape[1]
        scatter = len(groups) * slopes.var(axis=0, ddof=1)
        unit = max(float(scatter.sum()), 1e-30) / max(float(np.trace(curvature)), 1e-30)
        differences = np.diff(np.eye(count), axis=0) / NEIGHBOURS
        beforehand = np.eye(count) / PRIOR**2 + differences.T @ differences
        step = np.linalg.solve((curvature + curvature.T) / 2 / unit + beforehand, -slopes.sum(axis=0) / unit)
        return np.clip(1.0 + step, 0.0, HIGHEST)


def fitted_gains(bands: Bands, images: FloatArray, gradient: Gradient) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """(count + 1,) gains fitted to all groups; (groups,) losses without gains, and with cross-fitted gains.

    Each half of the groups is predicted with the gains fitted to the other half.
    """
    response, before = Response.measured(bands, images, gradient), gradient(images)[0]
    after, numbers = np.empty_like(before), np.arange(len(before))
    for half in range(HALVES):
        gains = response.gains(numbers[numbers % HALVES != half].tolist())
        judged = numbers % HALVES == half
        after[judged] = gradient(bands.scaled(images, gains))[0][judged]
    return response.gains(numbers.tolist()), before, after
