"""Signal and noise per spatial frequency, measured on the data themselves (docs/theory/live-maps.md).

A map made with every c_hat taken half a sampling frequency away holds no signal, only noise: its ring power is the
noise floor, beam fluctuations and correlated detector pixels included. The Poisson value is several times too low on
real detectors.

What was visited must not bring the signal back: the transform of a chessboard half repeats half a sampling frequency
away along both axes, and all of its signal would be taken for noise. Then the shift goes along one axis only, or by a
quarter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import fft

from ptylive.schema.maps import RingQuality
from ptylive.schema.model import BoolArray, ComplexArray, DoubleArray, FloatArray, IndexArray

TRUSTED_SHARE = 0.15
"""Share of visited points from which ring powers are trusted."""
RINGS = 14
"""Rings of |Q| up to the scan's Nyquist frequency."""
Shift = tuple[int, int]
"""Quarters of the sampling frequency along rows and columns of the scan."""
HALVES: tuple[Shift, ...] = ((2, 2), (2, 0), (0, 2))
SHIFTS: tuple[Shift, ...] = (*HALVES, (1, 1), (2, 1), (1, 2))
ALIASED = 0.3
"""Share of another place's signal to noise below which a frequency of the scan is only its alias there."""
OUTSTANDING = 20.0
"""Signal to noise from which a frequency has aliases: noise alone has it once in a thousand million frequencies."""
WEAKEST = 1e-3
"""Frequencies whose variance is below this share of the largest tell nothing about signal or noise."""
PLAUSIBLE, CAUTION = 0.45, 1 / 3
"""Of the phase power that rings further in show, and of its standard error: what half of all rings exceed. A filter
believes as if it were that share of this: noise that is shown costs a map more than a ring that is left out.
"""
UNTOLD, LEAST_PLAUSIBLE = 3.0, 1e-4
"""Standard errors of a ring that are plausible where nothing is further in, and those below which nothing is."""
NEAR = 1.5
"""Rings that those further in are away, as a Gaussian's standard deviation, to tell something."""
BEAM = 4.0
"""Times a ring's floor above which a power is taken for a beam's: noise alone is there once in fifty frequencies."""
SURELY_PLAUSIBLE = 0.9
"""Of the phase power that rings further in show for sure, a standard error less: what half of all rings exceed where a
filter passes what it sees. Whatever more is taken for plausible of nothing, it passes too.
"""
REACH, PLACES, FINDINGS = 5.0, 24, 9
"""Standard errors up to which a ring's true signal is looked for, at how many places, and how many findings of each."""
TABLE = 80
"""Findings of a ring whose believed signal is reckoned; between them it is straight."""
LEAK = 0.1
"""Amplitude of the signal that a shift may bring along, as a share, before another one is taken."""


def quiet_shift(visited: BoolArray, shifts: tuple[Shift, ...] = SHIFTS) -> Shift:
    """The first of some shifts at which the visited points (rows, cols) hardly repeat, or do so least.

    Half the sampling frequency along both axes where nothing forbids it: the farthest from the signal.
    """
    counts = np.array([[visited[i::4, j::4].sum() for j in range(4)] for i in range(4)], dtype=float)
    turn = np.exp(0.5j * np.pi * np.arange(4))
    leaks = {shift: abs(turn ** shift[0] @ counts @ turn ** shift[1]) for shift in shifts}
    quiet = [shift for shift in shifts if leaks[shift] <= LEAK * counts.sum()]
    return quiet[0] if quiet else min(shifts, key=lambda shift: leaks[shift])


def rings(q: DoubleArray, step_A: tuple[float, float]) -> IndexArray:
    """Ring (nq,) of each frequency q (nq, 2)."""
    nyquist = 0.5 / min(step_A)
    return np.asarray(np.hypot(q[:, 0], q[:, 1]) / nyquist * RINGS, dtype=np.int64)


def power_of(spectrum: ComplexArray) -> DoubleArray:
    """Squared modulus of every value, without the roots that ``abs`` takes."""
    return np.asarray(spectrum.real**2 + spectrum.imag**2, dtype=np.float64)


def ring_sum(ring: IndexArray, values: DoubleArray, use: BoolArray | None = None) -> DoubleArray:
    """Sum of ``values`` over each ring, restricted to frequencies where ``use`` is true."""
    return np.asarray(np.bincount(ring, values if use is None else np.where(use, values, 0.0)), dtype=float)


def ring_mean(ring: IndexArray, values: DoubleArray) -> DoubleArray:
    """Mean of ``values`` over each ring; 0 on empty ones."""
    return ring_sum(ring, values) / np.maximum(np.bincount(ring), 1)


def ring_floor(ring: IndexArray, noise: DoubleArray, use: BoolArray) -> DoubleArray:
    """Noise power of each ring, summed over the frequencies where ``use`` is true.

    Noise power is exponentially distributed, its mean the median / ln 2. Bright beams of a lattice that reach the
    shifted map, where they are no noise, move the mean by up to 19 times and the median hardly.
    """
    return _floor(by_ring(ring, use), ring_count(ring, use), noise, ring_sum(ring, noise, use))


def ring_count(ring: IndexArray, use: BoolArray) -> IndexArray:
    """How many frequencies of each ring are of use."""
    return np.asarray(np.bincount(ring[use], minlength=int(ring.max()) + 1))


def by_ring(ring: IndexArray, use: BoolArray) -> IndexArray:
    """Places of the frequencies of use, ring after ring."""
    members = np.flatnonzero(use)
    order = np.argsort(ring[members].astype(np.uint16), kind="stable")  # sorted by counting, in linear time
    return np.asarray(members[order], dtype=np.int64)


def _floor(members: IndexArray, count: IndexArray, noise: DoubleArray, total: DoubleArray) -> DoubleArray:
    """Noise power of each ring from its median, and at most its sum ``total``; ``members`` and ``count`` of rings."""
    noise_by_ring = noise[members]
    middle = np.zeros(len(count))
    for filled, last in zip(np.flatnonzero(count), np.cumsum(count)[count > 0], strict=True):
        size = count[filled]
        halves = ((size - 1) // 2, size // 2)
        middle[filled] = np.partition(noise_by_ring[last - size : last], halves)[list(halves)].mean()
    return np.asarray(np.minimum(count * middle / np.log(2), total))


class WeightedRings:
    """Rings of frequencies that noise reaches unevenly: what is theirs at every refresh, found once for a filter.

    Frequencies whose variance is below WEAKEST of the largest are of no use. Powers of the others are divided by their
    variances before they are compared.
    """

    def __init__(self, ring: IndexArray, variance: DoubleArray) -> None:
        """Ring (nq,) of each frequency; variance (nq,) of each by noise, up to a factor for each ring."""
        self.ring, self._use = ring, variance > WEAKEST * variance.max()
        self._inverse = np.where(self._use, 1 / np.where(self._use, variance, 1.0), 0.0)
        self._members, self.count = by_ring(ring, self._use), ring_count(ring, self._use)
        self.variance = ring_sum(ring, variance, self._use)
        """Sum of each ring, over the frequencies of use."""
        self._near = _nearness(len(self.count))

    def sum(self, power: DoubleArray) -> DoubleArray:
        """Sum of power / variance over the frequencies of use of each ring; power (nq,)."""
        return ring_sum(self.ring, power * self._inverse)

    def floor(self, noise: DoubleArray) -> DoubleArray:
        """:func:`ring_floor` of noise / variance; noise (nq,) power."""
        even = noise * self._inverse
        return _floor(self._members, self.count, even, ring_sum(self.ring, even))

    def signal(self, excess: DoubleArray, floor: DoubleArray, independent: float) -> RingSignal:
        """Of rings whose power over variance exceeds their floor by ``excess`` (rings,), what is their signal.

        independent: share of the frequencies that are. A specimen's power hardly grows outwards: what the rings
        further in show of it, the nearest and the surest of them most, tells how much is plausible. Those at the end of
        the transfer, where that is weak, would need many times as much to show above their noise.
        """
        known, count = (floor > 0) & (self.count > 0), np.maximum(self.count * independent, 1.0)
        seen, error = _over(excess, floor, known), _error(0.0, count)
        shown = _shown_further_in(self._near, seen, floor / np.maximum(self.variance, 1e-30), error, known)
        plausible = np.where(shown.told, PLAUSIBLE * (shown.power + shown.error), UNTOLD * error)
        pure = (floor <= 0) & (self.count > 0) & (excess > 0)
        return RingSignal(seen, count, np.maximum(plausible, LEAST_PLAUSIBLE * error), known, pure)

    def noise(self, noise: DoubleArray, floor: DoubleArray) -> DoubleArray:
        """Noise power of each ring, of which the floor of noise / variance is known; noise (nq,) power."""
        level = floor / np.maximum(self.count, 1)
        return np.asarray(level * self.variance + ring_sum(self.ring, noise, ~self._use))

    def noise_alone(self, shifted: ComplexArray, floor: DoubleArray) -> ComplexArray:
        """A map of noise (nq,) at the level of its floor, without the beams of a lattice that reach it.

        No power over its variance stays above BEAM times the floor's, and each ring has the floor's power: a beam
        that is cut leaks beside its frequency.
        """
        even = power_of(shifted) * self._inverse
        kept = np.minimum(even, BEAM * (floor / np.maximum(self.count, 1))[self.ring])
        level = floor / np.maximum(ring_sum(self.ring, kept), 1e-30)
        scale = np.where(even > 0, kept / np.where(even > 0, even, 1.0) * level[self.ring], 1.0)
        return np.asarray(shifted * np.sqrt(scale).astype(np.float32))


def passed_signal(
    excess: DoubleArray, floor: DoubleArray, independent: DoubleArray, response: DoubleArray
) -> RingSignal:
    """Of rings that a filter passes as far as they exceed their floor, what is their signal.

    independent (rings,): number of frequencies that are; response (rings,): summed squares of the transfer, by which
    rings further in tell what is plausible.
    """
    known, count = (floor > 0) & (response > 0), np.maximum(independent, 1.0)
    seen, error = _over(excess, floor, known), _error(0.0, count)
    level = floor / np.maximum(response, 1e-30)
    shown = _shown_further_in(_nearness(len(floor)), seen, level, error, known)
    plausible = np.where(shown.told, SURELY_PLAUSIBLE * (shown.power - shown.error), UNTOLD * error)
    return RingSignal(seen, count, np.maximum(plausible, LEAST_PLAUSIBLE * error), known, np.zeros_like(known))


class _Shown(NamedTuple):
    """What rings further in show of the phase, in units of each ring's noise; its error; and where there are some."""

    power: DoubleArray
    error: DoubleArray
    told: BoolArray


def _shown_further_in(
    near: DoubleArray, seen: DoubleArray, level: DoubleArray, error: DoubleArray, known: BoolArray
) -> _Shown:
    """By what each ring shows over its noise, its error, and the level (rings,) of phase that is as much as noise.

    near (rings, rings): how much the second tells of the first.
    """
    near = np.where(known, near, 0.0) / np.where(known, level * error, 1.0) ** 2
    total = near.sum(axis=1)
    share = near / np.where(total > 0, total, 1.0)[:, None]
    here = np.where(known, level, 1.0)
    power, doubt = np.maximum(share @ (level * seen), 0.0), np.sqrt(share**2 @ (level * error) ** 2)
    return _Shown(power / here, doubt / here, known & (total > 0))


def _nearness(count: int) -> DoubleArray:
    """How much rings further in, the nearest most, tell of each: (count, count)."""
    apart = np.subtract.outer(np.arange(count), np.arange(count))
    return np.where(apart > 0, np.exp(-0.5 * (apart / NEAR) ** 2), 0.0)


def _over(excess: DoubleArray, floor: DoubleArray, known: BoolArray) -> DoubleArray:
    """Excess over the floor, where there is one."""
    return np.where(known, excess / np.maximum(floor, 1e-30), 0.0)


@dataclass(frozen=True, eq=False)
class RingSignal:
    """What rings show beyond their noise, and what of it is believed. Powers are over those of the rings' noise.

    seen (rings,); count (rings,) of independent frequencies; plausible (rings,): what half of all such rings exceed;
    measured (rings,): where there is noise; pure (rings,): where there is signal alone.
    """

    seen: DoubleArray
    count: DoubleArray
    plausible: DoubleArray
    measured: BoolArray
    pure: BoolArray

    def believed(self, seen: DoubleArray) -> DoubleArray:
        """Mean of the signal that may be behind what is seen (rings, ...).

        What is sure stays as it is, and chance is next to nowhere. A filter that follows the signal it measures would
        pass the noise of a ring whose transfer is weak as the strongest detail of the picture.
        """
        true, likely = self._behind(seen, CAUTION * self.plausible)
        return np.asarray((true * likely).sum(axis=-1))

    def believed_of(self, repeats: Repeats) -> DoubleArray:
        """The same (rings, J, K) of what other scans find, read from a table that is finest where least is found."""
        found = repeats.found.reshape(len(self.seen), -1)
        low, high = found.min(axis=1, keepdims=True), found.max(axis=1, keepdims=True)
        places = low + (high - low) * np.linspace(0.0, 1.0, TABLE) ** 3
        told = map(np.interp, found, places, self.believed(places))
        return np.array(list(told)).reshape(repeats.found.shape)

    def repeats(self) -> Repeats:
        """What other scans would find."""
        return Repeats.around(*self._behind(self.seen, self.plausible), self.count)

    def _behind(self, seen: DoubleArray, scale: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Signal (..., J) that may be behind what is seen (rings, ...), and how likely each is.

        Before anything is seen the density at x is s / (s^2 + x^2), s the scale (rings,): half of all signals are less,
        and the rest is anything.
        """
        rings = (-1, *[1] * seen.ndim)
        scale, count = scale.reshape(rings), self.count.reshape(rings)
        parts = scale * np.tan(0.5 * np.pi * (np.arange(PLACES) + 0.5) / PLACES)
        true, told = _places(seen, count, parts)
        likely = told * scale / (scale**2 + true**2)
        return true, likely / likely.sum(axis=-1, keepdims=True)


def _error(true: DoubleArray | float, count: DoubleArray) -> DoubleArray:
    """Standard error of what rings show, of a true signal.

    The power of n frequencies of signal x and noise 1 scatters by sqrt((1 + 2 x) / n), their floor by sqrt(1 / n).
    """
    return np.asarray(np.sqrt((2.0 + 2.0 * true) / count))


def _places(seen: DoubleArray, count: DoubleArray, low: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Signals (..., J) around what is seen (...,) and at ``low`` (..., K), and how well each explains what is seen.

    count (..., 1): independent frequencies. The second holds the width that each of the signals stands for.
    """
    found = np.maximum(seen, 0.0)[..., None]
    around = np.maximum(found + np.linspace(-REACH, REACH, PLACES) * _error(found, count), 0.0)
    true = np.sort(np.concatenate([np.broadcast_to(low, around.shape), around], axis=-1), axis=-1)
    errors = _error(true, count)
    told = -0.5 * ((seen[..., None] - true) / errors) ** 2
    told -= told.max(axis=-1, keepdims=True)
    return true, np.asarray(np.exp(told) / errors * np.gradient(true, axis=-1))


@dataclass(frozen=True, eq=False)
class Repeats:
    """What other scans of the same would find of rings, as far as one scan tells. Powers are over that of the noise.

    true (rings, J): excess that a ring may have; likely (rings, J): how likely that is; found (rings, J, K): what scans
    find of it, chance (K,): how often.
    """

    true: DoubleArray
    likely: DoubleArray
    found: DoubleArray
    chance: DoubleArray

    @classmethod
    def around(cls, true: DoubleArray, likely: DoubleArray, count: DoubleArray) -> Repeats:
        """Of signals (rings, J) that rings of ``count`` independent frequencies (rings,) may have."""
        nodes, chance = np.polynomial.hermite_e.hermegauss(FINDINGS)
        found = true[:, :, None] + _error(true, count[:, None])[:, :, None] * nodes
        return cls(true, likely, found, chance / chance.sum())

    def noise_gain(self, gain: DoubleArray, signal: DoubleArray | float = 1.0) -> DoubleArray:
        """Gain (rings, L) that gives noise alone the variance that signal and noise have over all these scans.

        gain (rings, J, K, L) at what they find; signal (rings, 1, L): power of the signal over the ring's excess.
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
    """What a map carries on each ring; ``shifted`` is the same map with every c_hat half a sampling frequency away.

    The maps of the even and the odd points of a checkerboard (or of rows, columns) are the sum and the difference of
    the two. ``noise``: power of each ring, where it is known from :class:`WeightedRings`: beams of a lattice that reach
    the shifted map are not taken for noise then.
    """
    whole, alias = spectrum.ravel(), shifted.ravel()
    power = ring_sum(ring, power_of(whole))
    frequency = (np.arange(len(power)) + 0.5) * 0.5 / min(step_A) / RINGS
    if noise is not None:
        share = np.clip(1.0 - noise / np.maximum(power, 1e-30), 0.0, 1.0)
        return RingQuality(frequency, share, (power - noise) / np.maximum(power + noise, 1e-30))
    even, odd = whole + alias, whole - alias
    share = np.clip(1.0 - ring_sum(ring, np.abs(alias) ** 2) / np.maximum(power, 1e-30), 0.0, 1.0)
    halves = ring_sum(ring, np.abs(even) ** 2) * ring_sum(ring, np.abs(odd) ** 2)
    correlation = ring_sum(ring, (even * odd.conj()).real) / np.sqrt(np.maximum(halves, 1e-30))
    return RingQuality(frequency, share, correlation)


def picture_quality(
    quality: RingQuality, picture: FloatArray, noise: FloatArray, pixel_A: tuple[float, float], finer: int = 1
) -> RingQuality:
    """The same with the halves compared as pictures (Y, X), on the field of the scan, under a window.

    noise: the same map of noise alone; both before rings are weighted, or strong ones would leak into those that a map
    leaves out. Without a window beams of a lattice leak into every ring, in both halves alike.
    ``finer``: times finer than the scan. One of its frequencies then shows up at finer^2 places; where a place has less
    than ALIASED of the signal to noise that another one of the same has, it is that one's alias, and counts as noise.
    """
    axes = [np.fft.fftfreq(n, size) for n, size in zip(picture.shape, pixel_A, strict=True)]
    count, width = len(quality.frequency_invA), 2 * quality.frequency_invA[0]
    ring = np.minimum(np.hypot(*np.meshgrid(*axes, indexing="ij")) / width, count).astype(np.int64).ravel()
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in picture.shape)).astype(np.float32)
    seen = (np.bincount(ring, minlength=count)[:count] / 2) * float((window**2).mean() ** 2 / (window**4).mean())
    seen[quality.frequency_invA >= 0.5 / max(pixel_A)] = 0.0  # corners: no whole rings
    power, floor = (np.abs(fft.fft2((one - np.average(one, weights=window)) * window)) ** 2 for one in (picture, noise))
    level = ring_floor(ring, floor.ravel().astype(float), np.ones(ring.size, dtype=bool))
    alias = np.zeros(picture.shape, dtype=bool)
    if finer > 1:
        each = np.maximum(level / np.maximum(np.bincount(ring, minlength=len(level)), 1), 1e-30)[ring]
        rows, cols = (n // finer for n in picture.shape)
        to_noise = (power / each.reshape(power.shape)).reshape(finer, rows, finer, cols)
        most = to_noise.max(axis=(0, 2), keepdims=True)
        alias = ((to_noise < ALIASED * most) & (most > OUTSTANDING)).reshape(picture.shape)
    whole, wrong = (
        ring_sum(ring, values.ravel().astype(float))[:count] for values in (power, np.where(alias, power, 0))
    )
    lost = level[:count] + wrong
    correlation = (whole - lost) / np.maximum(whole + lost, 1e-30)
    return replace(quality, half_data_correlation=correlation, independent=seen)
