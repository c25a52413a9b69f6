"""How far noise alone scatters each pixel of a map: from its noise picture, the same map of noise and nothing else.

A noise picture is the map of data in which every other pattern counts negative (:mod:`.noise`): signal goes half a
sampling frequency away, where the filters hardly take it, and noise stays what it was. Nothing is modelled, so beam
fluctuations and correlated detector pixels are in it (docs/theory/live-maps.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray

INDEPENDENT = 100
"""Independent values in the window that squares are averaged in: the result scatters by 7 %."""
OUTSTANDING = 10.0
"""Times a ring's mean power beyond which a frequency is no noise: noise is there once in 20 000 frequencies."""
EMPTY = 1e-6
"""Share of the strongest frequency's power below which nothing is passed at all."""
FEW = 8
"""Frequencies of a ring whose median tells nothing."""


def deviation_of(name: str) -> str:
    """Name of the map that says how far noise scatters another one."""
    return f"{name}_deviation"


@dataclass(frozen=True, eq=False)
class LocalDeviation:
    """Standard deviation of each pixel, in the map's unit; ``window_px``: of the Gaussian it is averaged over."""

    data: FloatArray
    window_px: float


def local_deviation(noise: Array) -> LocalDeviation:
    """Of a picture (Y, X) of noise, whatever its spectrum, or of several (n, Y, X) that are independent."""
    values = np.asarray(noise, dtype=np.float64).reshape(-1, *noise.shape[-2:])
    window_px = math.sqrt(INDEPENDENT / len(values) * correlated_px(values) / (4 * math.pi))
    mean_square = ndimage.gaussian_filter((values**2).mean(axis=0), window_px, mode="reflect")
    return LocalDeviation(np.sqrt(mean_square).astype(np.float32), window_px)


def correlated_px(noise: DoubleArray) -> float:
    """Pixels that noise (n, Y, X) is correlated over: the sum of its squared autocorrelation.

    The mean square of a periodogram is twice the square of the spectrum, that of the mean of n is 1 + 1/n times.
    """
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    squares = (1 + 1 / len(noise)) * power.sum() ** 2
    return float(power.size * (power**2).sum() / max(squares, 1e-300))


def without_beams(noise: Array) -> FloatArray:
    """Noise pictures (…, Y, X) without what stands out of its spectrum: beams of a lattice whose filters overlap.

    Noise power is exponentially distributed, its mean the median / ln 2; what exceeds ten times that is scaled down to
    the mean.
    """
    spectrum = fft.rfft2(np.asarray(noise, dtype=np.float64))
    power = np.abs(spectrum) ** 2
    ring = np.broadcast_to(_rings(noise.shape[-2:]), power.shape)
    passed = power > EMPTY * power.max()
    mean = _ring_medians(ring[passed], power[passed], int(ring.max()) + 1)[ring] / math.log(2)
    high = passed & (mean > 0) & (power > OUTSTANDING * mean)
    spectrum[high] *= np.sqrt(mean[high] / power[high])
    return np.asarray(fft.irfft2(spectrum, s=noise.shape[-2:]), dtype=np.float32)


def _ring_medians(ring: Array, values: Array, count: int) -> DoubleArray:
    """Median of each ring's values; 0 where there are too few."""
    order = np.lexsort((values, ring))
    size = np.bincount(ring, minlength=count)
    begin = np.cumsum(size) - size
    filled = size >= FEW
    out = np.zeros(count)
    out[filled] = values[order][(begin + size // 2)[filled]]
    return out


def _rings(shape: tuple[int, ...]) -> IndexArray:
    """Number of the ring of each frequency of a real transform; as many rings as the longer side has frequencies."""
    distance = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None])
    return np.asarray(np.rint(distance * max(shape)), dtype=np.int64)
