"""Spectra of several maps on the field that they have in common, ring by ring.

A frequency of a tapered field is not independent of its neighbours: n of them count as m = n (sum w^2)^2 / (N sum w^4)
(Welch 1967, for the overlap of windows; here for the variance of a sum over frequencies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from ptylive.schema.maps import LiveMap, RingQuality
from ptylive.schema.model import Array, ComplexArray, DoubleArray, IndexArray

TAPER = 0.3
"""Share of each side over which the Tukey window falls to 0."""
LEAST_SIDE_PX = 16
MOST_GAIN = 5.0
"""Largest factor by which a ring of a map is raised or lowered to match the transfer of the first one."""


def window(shape: tuple[int, int], share: float = TAPER) -> DoubleArray:
    """Return a Tukey window over a field (rows, cols), 0 nowhere; ``share`` of each side is not 1."""

    def line(count: int) -> DoubleArray:
        place = np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / (count + 1)
        return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.minimum(2 * place / share, 1.0)))

    return np.outer(line(shape[0]), line(shape[1]))


def without_ramp(picture: Array) -> DoubleArray:
    """Return a picture (rows, cols) without its mean and ramp, which carry no information about the place."""
    values = np.asarray(picture, dtype=np.float64)
    row, col = (np.linspace(-1.0, 1.0, n) for n in values.shape)
    values = values - values.mean()
    values -= (row @ values.mean(axis=1) / (row @ row)) * row[:, None]
    return np.asarray(values - (col @ values.mean(axis=0) / (col @ col)) * col)


def ring_of(shape: tuple[int, int], sampling_A: tuple[float, float], quality: RingQuality) -> IndexArray:
    """Return the ring of each frequency of a real transform (rows, cols // 2 + 1); the number of rings if beyond."""
    row, col = fft.fftfreq(shape[0], sampling_A[0]), fft.rfftfreq(shape[1], sampling_A[1])
    spacing = quality.frequency_invA[1] - quality.frequency_invA[0]
    ring = (np.hypot(row[:, None], col) / spacing).astype(np.int64)
    ring[fft.fftfreq(shape[0]) < 0, 0] = len(quality.frequency_invA)  # conjugates of others
    return np.asarray(np.minimum(ring, len(quality.frequency_invA)))


def common_rings(maps: Sequence[LiveMap]) -> int:
    """Return how many rings all maps can show; beyond, there is only leakage, equal in all of them."""
    return min(_quality(live_map).rings_shown for live_map in maps)


@dataclass(frozen=True, eq=False)
class RingPowers:
    """Mean products of the spectra of n scans, by ring.

    products (rings, n, n): Re <F_j F_k*>, with powers on the diagonal; independent (rings,): number of independent
    frequencies averaged in each; frequency_invA (rings,); area_A2: effective area of the common field.
    """

    products: DoubleArray
    independent: DoubleArray
    frequency_invA: DoubleArray
    area_A2: float

    def of_first(self, count: int) -> RingPowers:
        """Return the powers of the first scans only, on the same field."""
        return RingPowers(self.products[:, :count, :count], self.independent, self.frequency_invA, self.area_A2)

    @property
    def signal(self) -> DoubleArray:
        """(rings,) signal common to different scans: the mean product of two of them."""
        count = self.products.shape[1]
        diagonal = np.trace(self.products, axis1=1, axis2=2)
        return np.asarray((self.products.sum(axis=(1, 2)) - diagonal) / (count * (count - 1)))

    @property
    def noise(self) -> DoubleArray:
        """(rings,) noise: the part specific to each scan."""
        power = np.trace(self.products, axis1=1, axis2=2) / self.products.shape[1]
        return np.asarray(np.maximum(power - np.maximum(self.signal, 0.0), 1e-6 * power))

    @property
    def quality(self) -> RingQuality:
        """Quality of the sum of all scans: correlation of its halves, each of half of the scans.

        For two or more scans; r = K S / (K S + 2 N) for K scans with common power S and noise power N each. For two
        scans it is their Fourier ring correlation.
        """
        signal, count = self.products.shape[1] * self.signal, self.products.shape[1]
        total = np.maximum(count * self.signal + 2 * self.noise, 1e-30)
        correlation = np.where(self.noise > 0, signal / total, 0.0)
        share = np.clip(signal / np.maximum(signal + self.noise, 1e-30), 0.0, 1.0)
        return RingQuality(self.frequency_invA, share, correlation)


@dataclass(frozen=True, eq=False)
class CommonField:
    """Spectra (n, frequencies) of n maps on their common field, and the ring of each frequency."""

    spectra: ComplexArray
    ring: IndexArray
    frequency_px: DoubleArray
    """(frequencies, 2), cycles per pixel."""
    frequency_invA: DoubleArray
    """(rings,) middle of each ring."""
    area_A2: float
    share: float
    """Share of independent frequencies."""

    @classmethod
    def of(cls, maps: Sequence[LiveMap], shifts_px: Sequence[DoubleArray]) -> CommonField | None:
        """Make it from maps of one shape; ``shifts_px`` (2,): how much further on each shows what the first shows.

        Whole pixels are cropped, fractions are removed in Fourier space. None if the common field is too small.
        """
        rounded = [np.rint(shift).astype(int) for shift in shifts_px]
        start = -np.min([*rounded, np.zeros(2, int)], axis=0)
        stop: Array = np.asarray(maps[0].data.shape) - np.max([*rounded, np.zeros(2, int)], axis=0)
        if (stop - start < LEAST_SIDE_PX).any():
            return None
        shape = (int(stop[0] - start[0]), int(stop[1] - start[1]))
        first, taper = _quality(maps[0]), window(shape)
        rings = common_rings(maps)
        ring = np.minimum(ring_of(shape, _sampling(maps[0]), first), rings).ravel()
        chosen = np.flatnonzero(ring < rings)
        q = np.stack(np.broadcast_arrays(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])), -1).reshape(-1, 2)
        spectra, white = [], _whitening(maps[0], rings)
        for live_map, cut, shift in zip(maps, rounded, shifts_px, strict=True):
            corner = start + cut
            flat = _flattened(live_map, white * _levelled(live_map, first, rings), first.frequency_invA[:rings])
            part = flat[corner[0] : corner[0] + shape[0], corner[1] : corner[1] + shape[1]]
            ramp = np.exp(2j * np.pi * (q[chosen] @ (np.asarray(shift) - cut)))
            spectrum = fft.rfft2(without_ramp(part) * taper).ravel()[chosen]
            spectra.append(spectrum * ramp)
        share = float((taper**2).mean() ** 2 / (taper**4).mean())
        area = float(np.prod(_sampling(maps[0]))) * taper.size * share
        return cls(np.stack(spectra), ring[chosen], q[chosen], first.frequency_invA[:rings], area, share)

    def powers(self) -> RingPowers:
        """Return the products of the spectra, ring by ring."""
        rings, scans = len(self.frequency_invA), len(self.spectra)
        order, count = np.argsort(self.ring, kind="stable"), np.bincount(self.ring, minlength=rings)
        products = np.zeros((rings, scans, scans))
        for number, last in enumerate(np.cumsum(count)):
            part = self.spectra[:, order[last - count[number] : last]]
            products[number] = (part @ part.conj().T).real / max(int(count[number]), 1)
        independent = np.maximum(count * self.share, 1e-3)
        return RingPowers(products, independent, self.frequency_invA, self.area_A2)


def _whitening(live_map: LiveMap, rings: int) -> DoubleArray:
    """Return factors (rings,) that equalise the noise of all rings of a map.

    The map's filter suppresses rings that carry little; without these factors, leakage from strong beams, which are cut
    off at the border of the field like everything else, would exceed their content.
    """
    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in live_map.data.shape))
    ring = np.minimum(
        ring_of((int(taper.shape[0]), int(taper.shape[1])), _sampling(live_map), _quality(live_map)), rings
    ).ravel()
    power = np.bincount(ring, np.abs(fft.rfft2(without_ramp(live_map.data) * taper)).ravel() ** 2, minlength=rings + 1)
    mean = power[:rings] / np.maximum(np.bincount(ring, minlength=rings + 1)[:rings], 1)
    noise = mean * np.clip(1.0 - _quality(live_map).signal_share[:rings], 0.02, 1.0)
    return np.asarray(1 / np.sqrt(np.maximum(noise, 1e-8 * noise.max() + 1e-300)))


def _flattened(live_map: LiveMap, factor: DoubleArray, frequency_invA: DoubleArray) -> DoubleArray:
    """Return a map (rows, cols) with its frequencies multiplied by a factor given ring by ring.

    By a cosine transform, so that the map continues beyond its border as its mirror image, without a jump.
    """
    (rows, cols), step = live_map.data.shape, _sampling(live_map)
    q = np.hypot(np.arange(rows)[:, None] / (2 * rows * step[0]), np.arange(cols) / (2 * cols * step[1]))
    smooth = np.exp(np.interp(q, frequency_invA, np.log(factor)))
    return np.asarray(fft.idctn(fft.dctn(without_ramp(live_map.data)) * smooth))


def _levelled(live_map: LiveMap, first: RingQuality, rings: int) -> DoubleArray:
    """Return factors (rings,) that equalise a map's transfer of the phase with that of the first map."""
    transfer = _quality(live_map).transfer
    if transfer is not None and first.transfer is not None:
        gain = first.transfer[:rings] / np.maximum(transfer[:rings], 1e-12)
        return np.asarray(np.clip(gain, 1 / MOST_GAIN, MOST_GAIN))
    return np.ones(rings)


def _quality(live_map: LiveMap) -> RingQuality:
    if live_map.quality is None:
        raise ValueError(f"the quality of the map {live_map.name} was not measured")
    return live_map.quality


def _sampling(live_map: LiveMap) -> tuple[float, float]:
    if live_map.sampling_A is None:
        raise ValueError(f"the step of the map {live_map.name} is not known")
    return live_map.sampling_A
