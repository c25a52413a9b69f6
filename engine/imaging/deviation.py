"""How far noise alone scatters each pixel of a map: from its noise picture, the same map of noise and nothing else.

A noise picture is the map of data in which every other pattern counts negative (:mod:`.noise`): signal goes half a
sampling frequency away, where the filters hardly take it, and noise stays what it was. Nothing is modelled, so beam
fluctuations and correlated detector pixels are in it. Where no filter holds the signal back, as in integrated DPC,
noise of the measured level is drawn (docs/theory/live-maps.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage, special

from ptylive.engine.memory import check_fits
from ptylive.schema.maps import FAINT
from ptylive.schema.model import Array, ComplexArray, FloatArray, IndexArray

INDEPENDENT = 100
"""Independent values in the window that squares are averaged in: the result scatters by 7 %."""
OUTSTANDING = 10.0
"""Times a ring's mean power beyond which a frequency is no noise: noise is there once in 20 000 frequencies."""
EMPTY = 1e-6
"""Share of the strongest frequency's power below which nothing is passed at all."""
BYTES_A_PIXEL = 40
"""Memory that is needed at once, beside the picture of noise."""
CHANCE = 0.05
"""Share of maps of noise alone in which some pixel is taken for sure."""
FEW = 8
"""Frequencies of a ring whose median tells nothing."""


def deviation_of(name: str) -> str:
    """Name of the map that says how far noise scatters another one."""
    return f"{name}_deviation"


def is_deviation(name: str) -> bool:
    """Whether a map of this name says that of another one."""
    return name.endswith(deviation_of(""))


@dataclass(frozen=True, eq=False)
class LocalDeviation:
    """Standard deviation of each pixel, in the map's unit; ``window_px``: of the Gaussian it is averaged over;
    ``correlated_px``: pixels that noise is correlated over.
    """

    data: FloatArray
    window_px: float
    correlated_px: float


def local_deviation(noise: Array, *, beams: bool = True) -> LocalDeviation:
    """Of a picture (Y, X) of noise, whatever its spectrum, or of several (n, Y, X) that are independent.

    ``beams``: whether what stands out of the spectrum counts. Raises MetadataError where memory does not suffice.
    """
    pictures = np.asarray(noise, dtype=np.float32).reshape(-1, *noise.shape[-2:])
    shape = pictures.shape[1:]
    check_fits(BYTES_A_PIXEL * math.prod(shape), "the standard deviation of a map", "choose a smaller upsample")
    ring = _rings(shape)
    power, squares = np.zeros(ring.shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    for picture in pictures:
        spectrum = fft.rfft2(picture)
        if not beams:
            _scale_beams_down(spectrum, ring)
        power += np.abs(spectrum) ** 2 / len(pictures)
        squares += (picture if beams else fft.irfft2(spectrum, s=shape)) ** 2 / len(pictures)
    correlated_px = _correlated_px(power, shape, len(pictures))
    window_px = math.sqrt(INDEPENDENT / len(pictures) * correlated_px / (4 * math.pi))
    deviation = np.sqrt(ndimage.gaussian_filter(squares, window_px, mode="reflect"))
    return LocalDeviation(deviation, window_px, correlated_px)


def is_faint(values: Array, deviation: Array, independent: float) -> bool:
    """Whether no value differs from their median by more than noise may; of no values nothing is said.

    values, deviation: (n,); independent: how many of them are. What noise may: FAINT standard deviations, or more where
    noise alone would exceed these in more than CHANCE of all maps.
    """
    if not len(values):
        return False
    most = max(FAINT, float(-special.ndtri(CHANCE / 2 / max(independent, 1.0))))
    return bool((np.abs(values - np.median(values)) < most * deviation).all())


def _correlated_px(power: FloatArray, shape: tuple[int, ...], count: int) -> float:
    """Pixels that noise is correlated over: the sum of its squared autocorrelation.

    power: mean of the periodograms (half planes) of ``count`` pictures. The mean square of a periodogram is twice the
    square of the spectrum, that of the mean of n is 1 + 1/n times.
    """
    twice = np.full(power.shape[1], 2.0)
    twice[0] = 1.0
    if shape[1] % 2 == 0:
        twice[-1] = 1.0
    relative = power / max(float(power.max()), 1e-30)
    total, squares = ((relative**n).sum(axis=0, dtype=float) @ twice for n in (1, 2))
    return float(math.prod(shape) * squares / max((1 + 1 / count) * total**2, 1e-30))


def _scale_beams_down(spectrum: ComplexArray, ring: IndexArray) -> None:
    """Beams of a lattice whose filters overlap, to the mean of their ring.

    Noise power is exponentially distributed, its mean the median / ln 2; a beam exceeds ten times that.
    """
    power = np.abs(spectrum) ** 2
    passed = power > EMPTY * power.max()
    mean = _ring_medians(ring[passed], power[passed], int(ring.max()) + 1) / math.log(2)
    high = passed & (power > OUTSTANDING * mean[ring]) & (mean[ring] > 0)
    spectrum[high] *= np.sqrt(mean[ring[high]] / power[high])


def _ring_medians(ring: IndexArray, values: FloatArray, count: int) -> FloatArray:
    """Median of each ring's values; 0 where there are too few."""
    sorted_by_ring = values[np.argsort(ring, kind="stable")]  # by counting, in linear time
    out, end = np.zeros(count, dtype=np.float32), 0
    for number, size in enumerate(np.bincount(ring, minlength=count)):
        begin, end = end, end + int(size)
        if size >= FEW:
            out[number] = np.median(sorted_by_ring[begin:end])
    return out


def _rings(shape: tuple[int, ...]) -> IndexArray:
    """Number of the ring of each frequency of a real transform; as many rings as the longer side has frequencies."""
    distance = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None])
    return np.asarray(np.rint(distance * max(shape)), dtype=np.uint16)
