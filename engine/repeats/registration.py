"""Shift between two maps, and whether they show the same place.

Peaks of the cross-correlation, normalised by the common area (Padfield 2012: a fixed window would draw them to zero
shift), are found after a filter that divides every ring by its power and weights it by its signal. Single bright beams
are limited, so that a lattice, which repeats, does not decide alone. Of its many peaks the one is chosen at which the
two maps differ least beyond their noise, and it is moved to where their phases agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from ptylive.engine.repeats.field import CommonField, RingPowers, common_rings, ring_of, window, without_ramp
from ptylive.schema.maps import LiveMap, RingQuality
from ptylive.schema.model import DoubleArray

FARTHEST = 0.25
"""Largest shift searched, as a share of the sides: a place that is scanned again drifts by less."""
SURE = 0.5
"""Correlation of halves that a ring hardly ever has by chance, but beams of a lattice often have."""
BRIGHTEST = 4.0
"""Modulus of a spectrum, relative to its ring's root mean square, to which single frequencies are limited."""
BORDER = 0.05
"""Share of each side, at either end, where a filtered map is ignored because it depends on what lies outside."""
MOST_PEAKS = 12
LOWEST_PEAK = 0.75
"""Share of the highest peak from which peaks are examined: a lattice has many that are almost equal."""
STEPS = 5
"""Newton steps to the place between pixels."""
MOST_EXPECTED = 0.9
"""Largest expected correlation: the border of the field, which differs between maps, accounts for the rest."""
LEAST_SIGNIFICANCE = 5.0
"""Standard errors by which the agreement must exceed 0: by noise, among some hundred shifts, once in 10^4."""
LEAST_AGREEMENT, LENIENT = 0.87, 1.5
"""Correlation, relative to that expected from the signal of both, from which two maps show the same place; and standard
errors by which it may fall below. Different places of one crystal agree by half to three quarters."""


@dataclass(frozen=True, eq=False)
class Registration:
    """``shift_px`` (2,): what the first shows at p, the second shows at p + shift.

    ``agreement``: correlation relative to that of two scans of one unchanged place, and its standard error.
    """

    shift_px: DoubleArray
    agreement: float
    uncertainty: float

    @property
    def is_sure(self) -> bool:
        """Whether the two have anything in common."""
        return self.agreement >= LEAST_SIGNIFICANCE * self.uncertainty

    @property
    def is_same_place(self) -> bool:
        """Whether the agreement is sufficient for the same place."""
        return self.is_sure and self.agreement >= LEAST_AGREEMENT - LENIENT * self.uncertainty


def signal_share(quality: RingQuality) -> DoubleArray:
    """Return the share of signal in a map's power in each ring, from its two halves.

    A mean over three rings is used if they agree by less than SURE: one ring alone may do so by chance. Two halves that
    correlate by r make a whole of which 2 r / (1 + r) is signal (Rosenthal and Henderson 2003).
    """
    mean = np.convolve(np.pad(quality.half_data_correlation, 1, mode="edge"), np.ones(3) / 3, "valid")
    mean = np.where(quality.half_data_correlation > SURE, quality.half_data_correlation, mean).clip(0.0, 0.99)
    return np.asarray(2 * mean / (1 + mean))


def register(first: LiveMap, second: LiveMap, scans: int = 1) -> Registration | None:
    """Return the shift between two maps of one shape and known quality; None if they have no ring in common.

    ``scans``: number of scans averaged in ``first``; its quality is that of one.
    """
    if first.quality is None or second.quality is None:
        raise ValueError("maps whose quality was not measured cannot be registered")
    rings = common_rings([first, second])
    single = signal_share(first.quality)[:rings]
    shares = scans * single / (scans * single + 1 - single), signal_share(second.quality)[:rings]
    weight = np.sqrt(shares[0] * shares[1])
    if not weight[1:].any():
        return None
    pair = [_filtered(live_map, first.quality, np.append(np.sqrt(weight), 0.0)) for live_map in (first, second)]
    return _best((first, second), shares, _peaks(*pair))


def _filtered(live_map: LiveMap, quality: RingQuality, weight: DoubleArray) -> DoubleArray:
    """Return a map (rows, cols) with rings of equal power times ``weight`` (rings + 1,) and bright beams limited."""
    if live_map.sampling_A is None:
        raise ValueError("maps without a scale cannot be registered")
    shape = (int(live_map.data.shape[0]), int(live_map.data.shape[1]))
    spectrum = fft.rfft2(without_ramp(live_map.data) * window(shape, 2 * BORDER))
    ring = np.minimum(ring_of(shape, live_map.sampling_A, quality), len(weight) - 1)
    count = np.maximum(np.bincount(ring.ravel(), minlength=len(weight)), 1)
    level = np.sqrt(np.bincount(ring.ravel(), np.abs(spectrum.ravel()) ** 2, minlength=len(weight)) / count)
    spectrum = spectrum / np.maximum(level, 1e-300)[ring] * weight[ring]
    spectrum *= np.minimum(1.0, BRIGHTEST * weight[ring] / np.maximum(np.abs(spectrum), 1e-300))
    return np.asarray(fft.irfft2(spectrum, s=shape))


def _peaks(first: DoubleArray, second: DoubleArray) -> list[DoubleArray]:
    """Return shifts (2,) in whole pixels within FARTHEST at which two filtered maps are most alike; at least one.

    The significance of a correlation grows with the common part, by whose root it is weighted.
    """
    shape = first.shape
    border = [int(np.ceil(BORDER * n)) for n in shape]
    inside = np.zeros(shape)
    inside[border[0] : shape[0] - border[0], border[1] : shape[1] - border[1]] = 1.0
    size = [fft.next_fast_len(2 * n, real=True) for n in shape]

    def spectrum_of_inside(values: DoubleArray) -> DoubleArray:
        return np.asarray(fft.rfft2(values * inside, s=size))

    def by_shift(first_spectrum: DoubleArray, second_spectrum: DoubleArray) -> DoubleArray:
        return np.asarray(fft.irfft2(first_spectrum.conj() * second_spectrum, s=size))

    mask, powers = spectrum_of_inside(np.ones(shape)), (spectrum_of_inside(first**2), spectrum_of_inside(second**2))
    common = np.maximum(by_shift(mask, mask), 1.0)
    norm = np.sqrt(np.maximum(by_shift(powers[0], mask), 0) * np.maximum(by_shift(mask, powers[1]), 0))
    correlation = (
        by_shift(spectrum_of_inside(first), spectrum_of_inside(second))
        / np.maximum(norm, 1e-12 * norm.max())
        * np.sqrt(common)
    )
    lags = [np.rint(fft.fftfreq(n) * n).astype(int) for n in size]
    in_range = np.outer(*(np.abs(lag) <= FARTHEST * n for lag, n in zip(lags, shape, strict=True)))
    correlation = np.where(in_range, correlation, -np.inf)
    is_peak = (correlation >= LOWEST_PEAK * correlation.max()) & (
        correlation >= ndimage.maximum_filter(correlation, 3, mode="wrap")
    )
    places = np.flatnonzero(is_peak)
    places = places[np.argsort(-correlation.ravel()[places], kind="stable")][:MOST_PEAKS]
    return [
        np.array([lags[0][row], lags[1][col]], float)
        for row, col in zip(*np.unravel_index(places, correlation.shape), strict=True)
    ]


def _best(
    pair: tuple[LiveMap, LiveMap], shares: tuple[DoubleArray, DoubleArray], shifts: list[DoubleArray]
) -> Registration | None:
    """Return the shift at which both differ least beyond their noise; among almost equal ones the shortest."""
    tried = []
    for start in shifts:
        shift, powers = _between_pixels(pair, shares, start)
        if powers is None:
            continue
        powers_of_maps = np.diagonal(powers.products, axis1=1, axis2=2)
        noise = np.maximum(powers_of_maps[:, 0] * (1 - shares[0]) + powers_of_maps[:, 1] * (1 - shares[1]), 1e-300)
        misfit = (powers_of_maps.sum(axis=1) - 2 * powers.products[:, 0, 1]) / noise
        counted = np.where((shares[0] > 0) & (shares[1] > 0), powers.independent, 0.0)
        count = max(float(counted[1:].sum()), 1e-300)
        registration = Registration(shift, *agreement(powers, [np.sqrt(shares[0] * shares[1])]))
        tried.append((float(counted[1:] @ misfit[1:]) / count, count, registration))
    if not tried:
        return None
    least = min(mean_misfit for mean_misfit, _, _ in tried)
    equal = [
        registration for mean_misfit, count, registration in tried if mean_misfit <= least * (1 + 3 / np.sqrt(count))
    ]
    return min(equal, key=lambda registration: float(np.hypot(*registration.shift_px)))


def _between_pixels(
    pair: tuple[LiveMap, LiveMap], shares: tuple[DoubleArray, DoubleArray], shift: DoubleArray
) -> tuple[DoubleArray, RingPowers | None]:
    """Return the shift at which the phases of both agree, at most STEPS pixels away, and the powers there.

    Newton's method for the highest sum of Re F1* F2 exp(2 pi i q shift), every ring divided by its noise.
    """
    powers = None
    for step in range(STEPS + 1):
        common = CommonField.of(pair, [np.zeros(2), shift])
        if common is None:
            return shift, None
        powers = common.powers()
        if step == STEPS:
            break
        powers_of_maps = np.diagonal(powers.products, axis1=1, axis2=2)
        noise = np.maximum(powers_of_maps[:, 0] * (1 - shares[0]) + powers_of_maps[:, 1] * (1 - shares[1]), 1e-300)
        weight = np.where(np.arange(len(noise)) > 0, np.sqrt(shares[0] * shares[1]) / noise, 0.0)[common.ring]
        product = common.spectra[0].conj() * common.spectra[1] * weight
        phase = 2 * np.pi * common.frequency_px
        hessian = (phase * product.real[:, None]).T @ phase
        if np.linalg.eigvalsh(hessian)[0] <= 1e-9 * np.abs(hessian).max():
            break  # no maximum
        shift = shift - np.clip(np.linalg.solve(hessian, phase.T @ product.imag), -1.0, 1.0)
    return shift, powers


def agreement(powers: RingPowers, common: Sequence[DoubleArray]) -> tuple[float, float]:
    """Return the correlation of the last of several maps with the others, relative to expectation, and its error.

    ``common`` (rings,) for each of the others: the correlation expected from the signal in it and in the last one.
    Rings are weighted by it; the first one, which holds little but the shape of the field, is left out.
    """
    products, independent = powers.products[1:], powers.independent[1:]
    measured = expected = 0.0
    for number, expected_correlation in enumerate(common):
        power = np.sqrt(np.maximum(products[:, number, number] * products[:, -1, -1], 1e-300))
        weight = independent * np.minimum(expected_correlation[1:], MOST_EXPECTED)
        measured += float(weight @ (products[:, number, -1] / power))
        expected += float(weight @ np.minimum(expected_correlation[1:], MOST_EXPECTED))
    spread = np.sqrt(expected / 2)  # of chance correlations, whose variance is 1 / 2n for n frequencies
    return measured / max(expected, 1e-300), float(spread / max(expected, 1e-300))
