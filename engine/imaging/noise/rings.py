"""Signal and noise per spatial frequency, measured on the data themselves (docs/theory/live-maps.md).

A map made with every c_hat taken half a sampling frequency away holds no signal, only noise. The power of its rings is
the noise floor, including beam fluctuations and correlated detector pixels. The Poisson value is several times too low
on real detectors.

The set of visited points must not bring the signal back: the transform of a chessboard half repeats half a sampling
frequency away along both axes, so all of its signal would count as noise. In that case the shift is along one axis
only, or by a quarter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import fft

from ptylive.engine.imaging.noise.outstanding import Shares, aliases, beams
from ptylive.schema.maps import RingQuality
from ptylive.schema.model import BoolArray, ComplexArray, DoubleArray, FloatArray, IndexArray

TRUSTED_SHARE = 0.15
"""Share of visited points from which ring powers are trusted."""
RINGS = 14
"""Number of rings of |Q| up to the scan's Nyquist frequency."""
Shift = tuple[int, int]
"""Quarters of the sampling frequency along rows and columns of the scan."""
HALVES: tuple[Shift, ...] = ((2, 2), (2, 0), (0, 2))
"""Shifts by half of it: no further from any frequency of the map than necessary. Preferred, in this order."""
SHIFTS: tuple[Shift, ...] = (*HALVES, (1, 1), (2, 1), (1, 2))
WEAKEST = 1e-3
"""Share of the largest variance below which frequencies carry no information about signal or noise."""
PLAUSIBLE, CAUTION = 0.45, 1 / 3
"""Median ring signal, as a share of the phase power of rings further in plus one standard error. A filter assumes
CAUTION times that, because noise that is shown costs a map more than a ring that is left out.
"""
WITHOUT_INNER_RING, LEAST_PLAUSIBLE = 3.0, 1e-4
"""Plausible signal in standard errors of a ring: if there is no ring further in, and the least value used."""
NEAR = 1.5
"""Standard deviation, in rings, of the Gaussian by which rings further in are weighted."""
BEAM = 4.0
"""Multiple of a ring's floor from which power counts as a beam's; noise alone is there once in fifty frequencies."""
SURELY_PLAUSIBLE = 0.9
"""Median ring signal of a filter that passes what it sees, as a share of the phase power of rings further in less one
standard error. Any larger value would count chance as plausible, and such a filter passes chance, too.
"""
REACH, PLACES, FINDINGS = 5.0, 24, 9
"""Range of a ring's true signal in standard errors, number of values tried, and number of findings for each."""
TABLE = 80
"""Number of findings of a ring for which the believed signal is computed; values between are interpolated linearly."""
LEAK = 0.1
"""Largest share of the signal's amplitude that a shift may bring along before another shift is used."""


def quiet_shift(visited: BoolArray, shifts: tuple[Shift, ...] = SHIFTS) -> Shift:
    """Return the first shift at which the pattern of visited points (rows, cols) hardly repeats, or repeats least.

    Half the sampling frequency along both axes is preferred, being the furthest from the signal.
    """
    counts = np.array([[visited[i::4, j::4].sum() for j in range(4)] for i in range(4)], dtype=float)
    phase = np.exp(0.5j * np.pi * np.arange(4))
    leaks = {shift: abs(phase ** shift[0] @ counts @ phase ** shift[1]) for shift in shifts}
    quiet = [shift for shift in shifts if leaks[shift] <= LEAK * counts.sum()]
    return quiet[0] if quiet else min(shifts, key=lambda shift: leaks[shift])


def rings(q: DoubleArray, step_A: tuple[float, float]) -> IndexArray:
    """Return the ring (nq,) of each frequency q (nq, 2)."""
    nyquist = 0.5 / min(step_A)
    return np.asarray(np.hypot(q[:, 0], q[:, 1]) / nyquist * RINGS, dtype=np.int64)


def power_of(spectrum: ComplexArray) -> DoubleArray:
    """Return the squared modulus of every value, of the same shape, without the square roots of ``abs``."""
    return np.asarray(spectrum.real**2 + spectrum.imag**2, dtype=np.float64)


def ring_sum(ring: IndexArray, values: DoubleArray, use: BoolArray | None = None) -> DoubleArray:
    """Return the sum (rings,) of ``values`` (nq,) over each ring, restricted to frequencies where ``use`` is true.

    ``ring`` (nq,): number of each frequency's ring, here and below.
    """
    return np.asarray(np.bincount(ring, values if use is None else np.where(use, values, 0.0)), dtype=float)


def ring_mean(ring: IndexArray, values: DoubleArray) -> DoubleArray:
    """Return the mean (rings,) of ``values`` (nq,) over each ring; 0 on empty ones."""
    return ring_sum(ring, values) / np.maximum(np.bincount(ring), 1)


def ring_floor(ring: IndexArray, noise: DoubleArray, use: BoolArray) -> DoubleArray:
    """Return the noise power (rings,) of each ring, summed over the frequencies where ``use`` is true.

    Noise power is exponentially distributed, with mean = median / ln 2. Bright lattice beams that reach the shifted
    map are not noise; they change the mean by up to 19 times but hardly the median.
    """
    return _floor(by_ring(ring, use), ring_count(ring, use), noise, ring_sum(ring, noise, use))


def ring_count(ring: IndexArray, use: BoolArray) -> IndexArray:
    """Return the number (rings,) of usable frequencies of each ring."""
    return np.asarray(np.bincount(ring[use], minlength=int(ring.max()) + 1))


def by_ring(ring: IndexArray, use: BoolArray) -> IndexArray:
    """Return the indices (n,) of the usable frequencies, ring by ring."""
    members = np.flatnonzero(use)
    order = np.argsort(ring[members].astype(np.uint16), kind="stable")  # counting sort: linear time
    return np.asarray(members[order], dtype=np.int64)


def _floor(members: IndexArray, count: IndexArray, noise: DoubleArray, total: DoubleArray) -> DoubleArray:
    """Return each ring's noise power from its median, at most its sum ``total``; ``members`` and ``count`` of rings."""
    noise_by_ring = noise[members]
    middle = np.zeros(len(count))
    for filled, last in zip(np.flatnonzero(count), np.cumsum(count)[count > 0], strict=True):
        size = count[filled]
        halves = ((size - 1) // 2, size // 2)
        middle[filled] = np.partition(noise_by_ring[last - size : last], halves)[list(halves)].mean()
    return np.asarray(np.minimum(count * middle / np.log(2), total))


class WeightedRings:
    """Rings of frequencies with uneven noise: quantities used at every refresh, computed once for a filter.

    Frequencies whose variance is below WEAKEST of the largest are not used. Powers of the others are divided by their
    variances before they are compared.
    """

    def __init__(self, ring: IndexArray, variance: DoubleArray) -> None:
        """Store the ring (nq,) and the noise variance (nq,) of each frequency; the latter up to a factor per ring."""
        self.ring, self._use = ring, variance > WEAKEST * variance.max()
        self._inverse = np.where(self._use, 1 / np.where(self._use, variance, 1.0), 0.0)
        self._members, self.count = by_ring(ring, self._use), ring_count(ring, self._use)
        self.variance = ring_sum(ring, variance, self._use)
        """Sum of the variance over the usable frequencies of each ring."""
        self._near = _nearness(len(self.count))

    def sum(self, power: DoubleArray) -> DoubleArray:
        """Return the sum of power / variance over the usable frequencies of each ring; power (nq,)."""
        return ring_sum(self.ring, power * self._inverse)

    def floor(self, noise: DoubleArray) -> DoubleArray:
        """Return :func:`ring_floor` of noise / variance; noise (nq,) power."""
        even = noise * self._inverse
        return _floor(self._members, self.count, even, ring_sum(self.ring, even))

    def signal(self, excess: DoubleArray, floor: DoubleArray, independent: float) -> RingSignal:
        """Return the signal of rings whose power over variance exceeds their floor by ``excess`` (rings,).

        independent: share of independent frequencies. A specimen's power hardly grows outwards, so the power of rings
        further in, the nearest and best measured ones above all, determines how much is plausible. At the end of the
        transfer, where it is weak, a ring would need many times that power to show above its noise.
        """
        known, count = (floor > 0) & (self.count > 0), np.maximum(self.count * independent, 1.0)
        excess_ratio, error = _relative_excess(excess, floor, known), _error(0.0, count)
        inner = _inner_signal(self._near, excess_ratio, floor / np.maximum(self.variance, 1e-30), error, known)
        plausible = np.where(inner.known, PLAUSIBLE * (inner.power + inner.error), WITHOUT_INNER_RING * error)
        pure = (floor <= 0) & (self.count > 0) & (excess > 0)
        return RingSignal(excess_ratio, count, np.maximum(plausible, LEAST_PLAUSIBLE * error), known, pure)

    def noise(self, noise: DoubleArray, floor: DoubleArray) -> DoubleArray:
        """Return the noise power of each ring, given the floor of noise / variance; noise (nq,) power."""
        level = floor / np.maximum(self.count, 1)
        return np.asarray(level * self.variance + ring_sum(self.ring, noise, ~self._use))

    def noise_alone(self, shifted: ComplexArray, floor: DoubleArray) -> ComplexArray:
        """Return a map of noise (nq,) at the level of its floor, without lattice beams that reach it.

        Power over variance is capped at BEAM times the floor, and each ring is scaled to the floor's power, since a
        capped beam leaks into neighbouring frequencies.
        """
        even = power_of(shifted) * self._inverse
        limited = np.minimum(even, BEAM * (floor / np.maximum(self.count, 1))[self.ring])
        level = floor / np.maximum(ring_sum(self.ring, limited), 1e-30)
        scale = np.where(even > 0, limited / np.where(even > 0, even, 1.0) * level[self.ring], 1.0)
        return np.asarray(shifted * np.sqrt(scale).astype(np.float32))


def passed_signal(
    excess: DoubleArray, floor: DoubleArray, independent: DoubleArray, response: DoubleArray
) -> RingSignal:
    """Return the signal of rings that a filter passes to the extent that they exceed their floor.

    independent (rings,): number of independent frequencies; response (rings,): summed squares of the transfer, used to
    scale the plausible signal from rings further in.
    """
    known, count = (floor > 0) & (response > 0), np.maximum(independent, 1.0)
    excess_ratio, error = _relative_excess(excess, floor, known), _error(0.0, count)
    level = floor / np.maximum(response, 1e-30)
    inner = _inner_signal(_nearness(len(floor)), excess_ratio, level, error, known)
    plausible = np.where(inner.known, SURELY_PLAUSIBLE * (inner.power - inner.error), WITHOUT_INNER_RING * error)
    return RingSignal(excess_ratio, count, np.maximum(plausible, LEAST_PLAUSIBLE * error), known, np.zeros_like(known))


class _InnerSignal(NamedTuple):
    """Phase power shown by rings further in, in units of each ring's noise; its error; and where it is known."""

    power: DoubleArray
    error: DoubleArray
    known: BoolArray


def _inner_signal(
    near: DoubleArray, excess_ratio: DoubleArray, level: DoubleArray, error: DoubleArray, known: BoolArray
) -> _InnerSignal:
    """Return this from each ring's excess over noise, its error, and the phase ``level`` (rings,) equal to noise.

    near (rings, rings): weight of the second ring for the first.
    """
    near = np.where(known, near, 0.0) / np.where(known, level * error, 1.0) ** 2
    total = near.sum(axis=1)
    share = near / np.where(total > 0, total, 1.0)[:, None]
    own_level = np.where(known, level, 1.0)
    power, deviation = np.maximum(share @ (level * excess_ratio), 0.0), np.sqrt(share**2 @ (level * error) ** 2)
    return _InnerSignal(power / own_level, deviation / own_level, known & (total > 0))


def _nearness(count: int) -> DoubleArray:
    """Return the weight of rings further in for each ring, largest for the nearest: (count, count)."""
    distance = np.subtract.outer(np.arange(count), np.arange(count))
    return np.where(distance > 0, np.exp(-0.5 * (distance / NEAR) ** 2), 0.0)


def _relative_excess(excess: DoubleArray, floor: DoubleArray, known: BoolArray) -> DoubleArray:
    """Return the excess over the floor, 0 for rings without a floor."""
    return np.where(known, excess / np.maximum(floor, 1e-30), 0.0)


@dataclass(frozen=True, eq=False)
class RingSignal:
    """Excess of rings over their noise, and the part believed to be signal. Powers are relative to each ring's noise.

    observed (rings,): the excess; count (rings,): number of independent frequencies; plausible (rings,): median signal
    of such rings; measured (rings,): where there is noise; pure (rings,): where there is signal alone.
    """

    observed: DoubleArray
    count: DoubleArray
    plausible: DoubleArray
    measured: BoolArray
    pure: BoolArray

    def believed(self, observed: DoubleArray) -> DoubleArray:
        """Return the mean of the signal that may underlie the observed excess (rings, ...).

        A certain signal is unchanged and chance is reduced to almost nothing. A filter that followed the measured
        signal would pass the noise of a ring with weak transfer as the strongest detail of the picture.
        """
        true, likely = self._underlying(observed, CAUTION * self.plausible)
        return np.asarray((true * likely).sum(axis=-1))

    def believed_of(self, repeats: Repeats) -> DoubleArray:
        """Return that mean (rings, J, K) for findings of other scans, from a table that is finest at small values."""
        found = repeats.found.reshape(len(self.observed), -1)
        low, high = found.min(axis=1, keepdims=True), found.max(axis=1, keepdims=True)
        places = low + (high - low) * np.linspace(0.0, 1.0, TABLE) ** 3
        believed = map(np.interp, found, places, self.believed(places))
        return np.array(list(believed)).reshape(repeats.found.shape)

    def repeats(self) -> Repeats:
        """Return what other scans of the same specimen would find."""
        return Repeats.around(*self._underlying(self.observed, self.plausible), self.count)

    def _underlying(self, observed: DoubleArray, scale: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return signals (..., J) that may underlie the observed excess (rings, ...), and their probabilities.

        The prior density at x is s / (s^2 + x^2), s the scale (rings,): half of all signals are below s, with a long
        tail above.
        """
        rings = (-1, *[1] * observed.ndim)
        scale, count = scale.reshape(rings), self.count.reshape(rings)
        parts = scale * np.tan(0.5 * np.pi * (np.arange(PLACES) + 0.5) / PLACES)
        true, likelihood = _signals_tried(observed, count, parts)
        likely = likelihood * scale / (scale**2 + true**2)
        return true, likely / likely.sum(axis=-1, keepdims=True)


def _error(true: DoubleArray | float, count: DoubleArray) -> DoubleArray:
    """Return the standard error of the observed excess of rings with a given true signal.

    The power of n frequencies of signal x and noise 1 scatters by sqrt((1 + 2 x) / n), their floor by sqrt(1 / n).
    """
    return np.asarray(np.sqrt((2.0 + 2.0 * true) / count))


def _signals_tried(observed: DoubleArray, count: DoubleArray, low: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Return signals (..., J) around the observed excess (...,) and at ``low`` (..., K), and the likelihood of each.

    count (..., 1): independent frequencies. The likelihood includes the interval that each signal represents.
    """
    found = np.maximum(observed, 0.0)[..., None]
    around = np.maximum(found + np.linspace(-REACH, REACH, PLACES) * _error(found, count), 0.0)
    true = np.sort(np.concatenate([np.broadcast_to(low, around.shape), around], axis=-1), axis=-1)
    errors = _error(true, count)
    log_likelihood = -0.5 * ((observed[..., None] - true) / errors) ** 2
    log_likelihood -= log_likelihood.max(axis=-1, keepdims=True)
    return true, np.asarray(np.exp(log_likelihood) / errors * np.gradient(true, axis=-1))


@dataclass(frozen=True, eq=False)
class Repeats:
    """What other scans of the same specimen would find in rings, as far as one scan shows. Powers are over the noise.

    true (rings, J): possible excess of a ring; likely (rings, J): its probability; found (rings, J, K): findings of
    scans with that excess; chance (K,): their probabilities.
    """

    true: DoubleArray
    likely: DoubleArray
    found: DoubleArray
    chance: DoubleArray

    @classmethod
    def around(cls, true: DoubleArray, likely: DoubleArray, count: DoubleArray) -> Repeats:
        """Return the findings for signals (rings, J) of rings of ``count`` independent frequencies (rings,)."""
        nodes, chance = np.polynomial.hermite_e.hermegauss(FINDINGS)
        found = true[:, :, None] + _error(true, count[:, None])[:, :, None] * nodes
        return cls(true, likely, found, chance / chance.sum())

    def noise_gain(self, gain: DoubleArray, signal: DoubleArray | float = 1.0) -> DoubleArray:
        """Return the gain (rings, L) that gives noise alone the variance of signal and noise over all these scans.

        gain (rings, J, K, L) at each finding; signal (rings, 1, L): power of the signal over the ring's excess.
        """
        mean, square = (np.einsum("rjkl,k->rjl", power, self.chance) for power in (gain, gain**2))
        variance = square + np.maximum(square - mean**2, 0.0) * self.true[:, :, None] * signal
        return np.asarray(np.sqrt(np.einsum("rjl,rj->rl", variance, self.likely)))


def ring_quality(
    spectrum: ComplexArray,
    shifted: ComplexArray,
    ring: IndexArray,
    step_A: tuple[float, float],
    noise: DoubleArray | None = None,
) -> RingQuality:
    """Return the quality of a map on each ring; ``shifted`` is the map with every c_hat half a sampling frequency away.

    The maps of the even and the odd points of a checkerboard (or of rows, columns) are the sum and the difference of
    the two. ``noise``: power of each ring, if known from :class:`WeightedRings`; lattice beams that reach the shifted
    map then do not count as noise.
    """
    flat, alias = spectrum.ravel(), shifted.ravel()
    power = ring_sum(ring, power_of(flat))
    frequency = (np.arange(len(power)) + 0.5) * 0.5 / min(step_A) / RINGS
    if noise is not None:
        share = np.clip(1.0 - noise / np.maximum(power, 1e-30), 0.0, 1.0)
        return RingQuality(frequency, share, (power - noise) / np.maximum(power + noise, 1e-30))
    even, odd = flat + alias, flat - alias
    share = np.clip(1.0 - ring_sum(ring, np.abs(alias) ** 2) / np.maximum(power, 1e-30), 0.0, 1.0)
    halves = ring_sum(ring, np.abs(even) ** 2) * ring_sum(ring, np.abs(odd) ** 2)
    correlation = ring_sum(ring, (even * odd.conj()).real) / np.sqrt(np.maximum(halves, 1e-30))
    return RingQuality(frequency, share, correlation)


def window_of(shape: tuple[int, ...]) -> FloatArray:
    """Return the window under which pictures (Y, X) are compared."""
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in shape)).astype(np.float32)


def picture_quality(
    quality: RingQuality,
    picture: FloatArray,
    noise: FloatArray,
    pixel_A: tuple[float, float],
    finer: int = 1,
    share_of_strongest: Shares | None = None,
) -> RingQuality:
    """Return the ring quality with the halves compared as pictures (Y, X), on the field of the scan, under a window.

    noise: the same map made of noise alone; both before rings are weighted, or strong rings would leak into those that
    the map leaves out. Without a window, lattice beams leak into every ring, in both halves alike.
    ``finer``: sampling relative to the scan; aliases (:func:`aliases`) count as noise.
    """
    axes = [np.fft.fftfreq(n, size) for n, size in zip(picture.shape, pixel_A, strict=True)]
    count, width = len(quality.frequency_invA), 2 * quality.frequency_invA[0]
    ring = np.minimum(np.hypot(*np.meshgrid(*axes, indexing="ij")) / width, count).astype(np.int64).ravel()
    window = window_of(picture.shape)
    independent = (np.bincount(ring, minlength=count)[:count] / 2) * float((window**2).mean() ** 2 / (window**4).mean())
    independent[quality.frequency_invA >= 0.5 / max(pixel_A)] = 0.0  # corners: no whole rings
    power, floor = (
        np.abs(fft.fft2((image - np.average(image, weights=window)) * window)) ** 2 for image in (picture, noise)
    )
    level = ring_floor(ring, floor.ravel().astype(float), np.ones(ring.size, dtype=bool))
    noise_level = np.maximum(level / np.maximum(np.bincount(ring, minlength=len(level)), 1), 1e-30)[ring]
    to_noise = power / noise_level.reshape(power.shape)
    alias = aliases(to_noise, finer, share_of_strongest)
    lines = beams(to_noise, alias, finer, ring.reshape(power.shape), count)
    whole, aliased = (
        ring_sum(ring, values.ravel().astype(float))[:count] for values in (power, np.where(alias, power, 0))
    )
    lost = level[:count] + aliased
    correlation = (whole - lost) / np.maximum(whole + lost, 1e-30)
    return replace(quality, half_data_correlation=correlation, independent=independent, beams=lines)
