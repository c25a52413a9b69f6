"""How far noise alone scatters each pixel of a map, determined from the same map made of noise alone.

A noise picture is the map of data in which every other pattern has a negative sign (:mod:`.noise`): signal moves half a
sampling frequency away, where filters hardly pass it, while noise is unchanged. Nothing is modelled, so beam
fluctuations and correlated detector pixels are included. If no filter suppresses the shifted signal, as in integrated
DPC, noise of the measured level is drawn instead (docs/theory/live-maps.md).
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
"""Number of independent values in the window over which squares are averaged: the result scatters by 7 %."""
BRIGHT = 10.0
"""Multiple of a ring's mean power beyond which a frequency is not noise; noise is there once in 20 000 frequencies."""
EMPTY = 1e-6
"""Share of the strongest frequency's power below which a frequency counts as not passed at all."""
BYTES_A_PIXEL = 40
"""Peak memory per pixel, in addition to the noise picture."""
CHANCE = 0.05
"""Share of maps of noise alone in which some pixel counts as significant."""
FEW = 8
"""Number of frequencies below which the median of a ring is meaningless."""


def deviation_of(name: str) -> str:
    """Return the name of the map of the standard deviation of another map."""
    return f"{name}_deviation"


def is_deviation(name: str) -> bool:
    """Return whether a map of this name is the standard deviation of another one."""
    return name.endswith(deviation_of(""))


@dataclass(frozen=True, eq=False)
class LocalDeviation:
    """Standard deviation of each pixel, in the map's unit; ``window_px``: width of the Gaussian used for averaging;
    ``correlated_px``: number of pixels over which noise is correlated.
    """

    data: FloatArray
    window_px: float
    correlated_px: float


def local_deviation(noise: Array, *, beams: bool = True) -> LocalDeviation:
    """Return the local standard deviation of a noise picture (Y, X) of any spectrum, or of n independent pictures.

    ``beams``: whether peaks that stand out of the spectrum count. Raises MetadataError if memory does not suffice.
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
    """Return whether no value differs from the median by more than noise may; False if there are no values.

    values, deviation: (n,); independent: how many of the values are independent. The limit is FAINT standard
    deviations, or more if noise alone would exceed that in more than CHANCE of all maps.
    """
    if not len(values):
        return False
    threshold = max(FAINT, float(-special.ndtri(CHANCE / 2 / max(independent, 1.0))))
    return bool((np.abs(values - np.median(values)) < threshold * deviation).all())


def _correlated_px(power: FloatArray, shape: tuple[int, ...], count: int) -> float:
    """Return the number of pixels over which noise is correlated: the sum of its squared autocorrelation.

    power: mean of the periodograms (half planes) of ``count`` pictures. The mean square of a periodogram is twice the
    square of the spectrum; for the mean of n periodograms it is 1 + 1/n times.
    """
    weights = np.full(power.shape[1], 2.0)
    weights[0] = 1.0
    if shape[1] % 2 == 0:
        weights[-1] = 1.0
    relative = power / max(float(power.max()), 1e-30)
    total, squares = ((relative**n).sum(axis=0, dtype=float) @ weights for n in (1, 2))
    return float(math.prod(shape) * squares / max((1 + 1 / count) * total**2, 1e-30))


def _scale_beams_down(spectrum: ComplexArray, ring: IndexArray) -> None:
    """Scale lattice beams that leak through the overlapping filters down to the mean of their ring.

    Noise power is exponentially distributed, with mean = median / ln 2; a beam exceeds ten times that.
    """
    power = np.abs(spectrum) ** 2
    nonzero = power > EMPTY * power.max()
    mean = _ring_medians(ring[nonzero], power[nonzero], int(ring.max()) + 1) / math.log(2)
    bright = nonzero & (power > BRIGHT * mean[ring]) & (mean[ring] > 0)
    spectrum[bright] *= np.sqrt(mean[ring[bright]] / power[bright])


def _ring_medians(ring: IndexArray, values: FloatArray, count: int) -> FloatArray:
    """Return the median of each ring's values; 0 for rings with too few."""
    sorted_by_ring = values[np.argsort(ring, kind="stable")]  # counting sort: linear time
    out, end = np.zeros(count, dtype=np.float32), 0
    for number, size in enumerate(np.bincount(ring, minlength=count)):
        begin, end = end, end + int(size)
        if size >= FEW:
            out[number] = np.median(sorted_by_ring[begin:end])
    return out


def _rings(shape: tuple[int, ...]) -> IndexArray:
    """Return the ring number of each frequency of a real transform; the longer side sets the number of rings."""
    distance = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None])
    return np.asarray(np.rint(distance * max(shape)), dtype=np.uint16)
