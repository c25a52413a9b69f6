"""How strongly each band of frequencies of a picture is shown: gains that held-out patterns ask for.

Networks that are stopped early give some frequencies too weakly and leave the noise of others, of the lowest above all,
where it is: patterns held out are predicted better, and the picture is none the less a worse one. A gain for each band
of frequencies is what those patterns can tell, as they took no part in the fit: that of least loss is the one of least
squares against the truth, band by band (a Wiener filter whose noise is measured).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import DoubleArray, FloatArray

BANDS = 20
"""Up to the object pixel's Nyquist frequency along an axis; the corners beyond are the last one's."""
PRIOR = 1.0
"""Standard deviation of a gain beforehand: from nothing at all to twice as much."""
NEIGHBOURS = 0.22
"""Standard deviation of the difference of two neighbouring bands' gains beforehand: what a few patterns say of a band
of few frequencies is mostly chance, of all bands together it is not."""
HIGHEST = 4.0
STEP = 0.25
"""Change of a gain for the difference of two gradients."""
HALVES = 2
Gradient = Callable[[FloatArray], tuple[DoubleArray, FloatArray]]
"""Of images (channels, Y, X): losses (groups,) and gradients (groups, channels, Y, X)."""


@dataclass(frozen=True)
class Bands:
    """Bands of frequency of images (Y, X), each a triangle that overlaps its neighbours by half; their sum is 1."""

    shape: tuple[int, int]
    count: int = BANDS

    def _places(self) -> DoubleArray:
        """(Y, X) which band, between two of them: frequency over that of a band."""
        axes = np.meshgrid(*(np.fft.fftfreq(size) for size in self.shape), indexing="ij")
        return np.asarray(np.minimum(2 * self.count * np.hypot(*axes), self.count), dtype=np.float64)

    def scaled(self, images: FloatArray, gains: DoubleArray) -> FloatArray:
        """Images (channels, Y, X) times a gain (count + 1,) at each frequency; their means stay."""
        factors = np.interp(self._places(), np.arange(self.count + 1), gains)
        factors[0, 0] = 1.0
        return np.asarray(np.fft.ifft2(np.fft.fft2(images) * factors).real, dtype=np.float32)

    def slopes(self, gradients: FloatArray, images: FloatArray) -> DoubleArray:
        """(…, count + 1) derivative of the loss by each gain, at gains of 1, of gradients (…, channels, Y, X)."""
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
    """What groups of patterns say of gains."""

    slopes: DoubleArray
    """(groups, n) derivative of the loss by each gain, at gains of 1."""
    curvatures: DoubleArray
    """(groups, n, n)."""

    @classmethod
    def measured(cls, bands: Bands, images: FloatArray, gradient: Gradient) -> Response:
        """By differences of gradients."""
        slopes = bands.slopes(gradient(images)[1], images)
        curvatures = np.empty((*slopes.shape, bands.count + 1))
        for band in range(bands.count + 1):
            gains = np.ones(bands.count + 1)
            gains[band] += STEP
            moved = bands.slopes(gradient(bands.scaled(images, gains))[1], images)
            curvatures[:, band] = (moved - slopes) / STEP
        return cls(slopes, curvatures)

    def gains(self, groups: Sequence[int]) -> DoubleArray:
        """(n,) that some groups ask for, drawn to 1 and to each other where these say little.

        The scatter of the slopes from group to group over the curvature is what a unit of loss is worth.
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
    """(count + 1,) gains that all groups ask for; (groups,) losses without gains, and with such gains.

    With such as took no part in them: each half is predicted with what the other half asks for.
    """
    response, before = Response.measured(bands, images, gradient), gradient(images)[0]
    after, numbers = np.empty_like(before), np.arange(len(before))
    for half in range(HALVES):
        gains = response.gains(numbers[numbers % HALVES != half].tolist())
        judged = numbers % HALVES == half
        after[judged] = gradient(bands.scaled(images, gains))[0][judged]
    return response.gains(numbers.tolist()), before, after
