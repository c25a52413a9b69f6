"""Optimum bright field with a radial Wiener filter: the default phase map.

numerator = B^H C^-1 c_hat, E = B^H C^-1 B (the signal-to-noise ratio per frequency);
phi_hat = numerator / (E + floor/S), S the phase power and floor the noise power of each ring of |Q|, both measured:
the floor is the same numerator with every c_hat taken half a sampling frequency away.
Ooe et al. 2021 (OBF); docs/theory/live-maps.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.bank import Picture, Spectra
from ptylive.engine.imaging.declaration import (
    DEPTH,
    UPSAMPLE,
    MapSetting,
    MapWords,
    Method,
    Needs,
    in_use,
    live_map,
    with_deviation,
)
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.noise.rings import (
    TRUSTED_SHARE,
    WEAKEST,
    RingSignal,
    WeightedRings,
    power_of,
    ring_mean,
    ring_quality,
    rings,
)
from ptylive.pictures.colours import ColourMap
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

LEVELS = 24
"""Levels of information, a third apart, at which the noise gain is computed; interpolated linearly in the logarithm."""
LEAST_SIGNAL = 0.02
"""Lower limit of the signal power as a share of the noise, so that empty rings fade instead of diverging."""


@live_map(
    Method(
        "obf",
        title="the optimum bright field",
        needs=Needs.FILTERS,
        linear=True,
        maps=with_deviation(
            MapWords(
                "obf",
                label="phase (OBF)",
                units="rad",
                shows="the phase, each frequency weighted by its signal and its measured noise",
                trust="on thin specimens, once the defocus is right; noise limits the resolution",
                colours=ColourMap.MAGMA,
                place=10,
            )
        ),
        order=10,
        finer=True,
        settings={
            "upsample": UPSAMPLE,
            "depth_A": DEPTH,
            "noise": MapSetting(1.0, 0.01, 1000, "factor on the measured noise: less sharpens, more smooths"),
        },
    )
)
@dataclass(frozen=True, eq=False)
class OptimumBrightField:
    """Filters: weights (nb, N) = B^H C^-1, information E (nb,), ring (nb,) of each frequency."""

    band: Band
    weights: ComplexArray
    information: DoubleArray
    ring: IndexArray

    @classmethod
    def build(
        cls, conditions: ImagingConditions, mean: DoubleArray, upsample: float | None = None
    ) -> OptimumBrightField:
        """Make filters for the given conditions; ``mean`` (N,): mean coefficients of patterns of unit sum.

        ``upsample``: sampling relative to the scan; None: as the conditions allow.
        """
        per_noise = conditions.basis.per_noise(mean)

        def matched(q: DoubleArray) -> tuple[ComplexArray, ComplexArray]:
            transfer = conditions.transfer(q)
            return per_noise(transfer).conj(), transfer

        band = conditions.band(conditions.finer("obf") if upsample is None else upsample)
        weights, information = band.evaluate_with_response(matched)
        return cls(band, weights, np.maximum(information, 0.0), rings(band.q, conditions.step_A))

    def pictures(self, spectra: Spectra) -> Iterator[Picture]:
        """Make the map ``obf``: phase in rad."""
        numerator, shifted = spectra.contract_with_noise(self.band, self.weights)
        noise = spectra.conditions.settings.get("obf.noise", 1.0)
        power = power_of(shifted)
        floor = self._rings.floor(power)
        signal = self._rings.signal(self._rings.sum(power_of(numerator)) - floor, floor, spectra.independent_share)
        gain = self._gain(spectra.visited_share, signal, noise)
        final_gain = (gain / spectra.density).astype(np.float32)
        phase = spectra.image(self.band, numerator * final_gain)
        measured = self._rings.noise(power, floor)
        quality = ring_quality(numerator, shifted, self.ring, spectra.conditions.step_A, measured)
        quality = replace(quality, transfer=ring_mean(self.ring, self.information * gain))
        method = "optimum bright field, radial Wiener"
        settings = in_use("obf", spectra.conditions.settings, upsample=self.band.grid.upsample, noise=noise)
        yield Picture(
            "obf",
            phase,
            "rad",
            method,
            settings,
            quality,
            noise=lambda: spectra.image(
                self.band,
                self._rings.noise_alone(shifted, floor) * self._noise_gain(spectra, signal, gain),
            ),
            finer=self.band.grid.finer,
            even=partial(self._even, spectra, numerator, shifted),
        )

    def _even(self, spectra: Spectra, numerator: ComplexArray, shifted: ComplexArray) -> tuple[FloatArray, FloatArray]:
        """Return the map with equal noise at all frequencies that carry information, and its noise."""
        e = self.information
        weight = np.where(e > WEAKEST * e.max(), 1 / np.sqrt(np.maximum(e, 1e-30)), 0.0).astype(np.float32)
        return spectra.image(self.band, numerator * weight), spectra.image(self.band, shifted * weight)

    def image(self, spectra: Spectra) -> FloatArray:
        """Return the phase in rad, (rows, cols) times ``upsample``."""
        return next(self.pictures(spectra)).data

    @cached_property
    def _rings(self) -> WeightedRings:
        return WeightedRings(self.ring, self.information)

    def _gain(self, visited_share: float, signal: RingSignal, noise: float = 1.0) -> DoubleArray:
        """Return the gain applied to the numerator at every frequency: 1 / (E + noise × measured / signal)."""
        e = self.information
        if visited_share < TRUSTED_SHARE:
            # one filter for all rings: flat noise, with the scale of the strongest frequency
            return np.asarray(1.0 / (np.sqrt(np.maximum(e, WEAKEST * e.max())) * np.sqrt(e.max())))
        return 1.0 / (e + noise * self._noise_to_signal(signal))

    def _noise_gain(self, spectra: Spectra, signal: RingSignal, gain: DoubleArray) -> FloatArray:
        """Return the gain for noise alone that reproduces the map's scatter between scans, ``gain`` included."""
        if spectra.visited_share < TRUSTED_SHARE:
            return np.asarray(gain / spectra.density, dtype=np.float32)
        information, repeats = self.information, signal.repeats()
        believed = np.maximum(signal.believed_of(repeats), LEAST_SIGNAL)
        mean = self._mean_information[:, None, None]
        levels = np.geomspace(WEAKEST, 1.0, LEVELS) * information.max()
        noise = spectra.conditions.settings.get("obf.noise", 1.0)
        table = repeats.noise_gain(1 / (levels + noise * (mean / believed)[..., None]), levels / mean)
        place = np.log(np.maximum(information / max(levels[0], 1e-30), 1.0)) * ((LEVELS - 1) / -np.log(WEAKEST))
        noise_gain = np.where(signal.measured[self.ring], between(table, self.ring, place), gain)
        return np.asarray(noise_gain / spectra.density, dtype=np.float32)

    @cached_property
    def _mean_information(self) -> DoubleArray:
        """Mean information of the usable frequencies of each ring."""
        return np.asarray(np.maximum(self._rings.variance, 1e-30) / np.maximum(self._rings.count, 1))

    def _noise_to_signal(self, signal: RingSignal) -> DoubleArray:
        """Return noise over phase power at every frequency, from ring sums over frequencies that carry information."""
        believed = np.maximum(signal.believed(signal.observed), LEAST_SIGNAL)
        ratio = np.where(signal.measured, self._mean_information / believed, 0.0)
        # rings without information fade like the noisiest ring that has any
        return np.where(signal.measured | signal.pure, ratio, max(float(ratio.max()), 1.0))[self.ring]


def between(table: DoubleArray, row: IndexArray, place: DoubleArray) -> DoubleArray:
    """Interpolate linearly in a table (rows, columns), in row (n,) and at fractional column ``place`` (n,)."""
    below = np.minimum(place.astype(np.intp), table.shape[1] - 2)
    part = place - below
    return np.asarray(table[row, below] * (1 - part) + table[row, below + 1] * part)
