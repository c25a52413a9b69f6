"""Optimum bright field with a radial Wiener filter: the default phase map.

numerator = B^H C^-1 c_hat, E = B^H C^-1 B (the signal-to-noise ratio per frequency);
phi_hat = numerator / (E + floor/S), S the phase power and floor the noise power of each ring of |Q|, both measured:
the floor is the same numerator with every c_hat taken half a sampling frequency away.
Ooe et al. 2021 (OBF); live-maths, section 3; real-data, section 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.live.bank import Spectra
from ptylive.engine.live.setting import Setting
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray, IndexArray

RINGS = 14
WEAKEST = 1e-3
"""Frequencies whose E is below this share of the largest tell nothing about signal or noise."""
FLAT_BELOW = 0.15
"""Share of visited points below which rings are not yet trusted and flat-noise weights are used."""
LEAST_SIGNAL = 0.02
"""Signal power is never taken below this share of the noise, so that empty rings fade instead of exploding."""


@dataclass(frozen=True, eq=False)
class OptimumBrightField:
    """Filters: weights (bins, nq) = B* / C, information E (nq,), ring (nq,) of each frequency."""

    weights: ComplexArray
    information: DoubleArray
    ring: IndexArray

    @classmethod
    def build(cls, setting: Setting, mean: DoubleArray) -> OptimumBrightField:
        """Filters for a setting; ``mean`` (bins,) mean coefficients of patterns of unit sum (the Poisson variance)."""
        q = setting.frequencies()
        transfer = setting.transfer(q)
        variance = np.maximum(mean, 1e-6 * mean.max()).astype(np.float32)
        weights = transfer.conj() / variance[:, None]
        information = np.einsum("nq,nq->q", weights, transfer).real.astype(float)
        radius = np.hypot(q[:, 0], q[:, 1])
        nyquist = 0.5 / min(setting.step_A)
        ring = np.minimum((radius / nyquist * RINGS).astype(np.int64), int(RINGS * np.sqrt(2)))
        return cls(weights, information, ring)

    def image(self, spectra: Spectra) -> FloatArray:
        """Phase in rad, (rows, cols)."""
        numerator = spectra.contract(self.weights)
        e = self.information.reshape(numerator.shape)
        if spectra.visited_share < FLAT_BELOW:
            # one filter for every ring: flat noise, the scale of the strongest frequency
            spectrum = numerator / (np.sqrt(np.maximum(e, WEAKEST * e.max())) * np.sqrt(e.max()))
        else:
            shifted = spectra.contract(self.weights, half_sample_shift=True)
            spectrum = numerator / (e + self._noise_to_signal(numerator, shifted).reshape(e.shape))
        return spectra.image(spectrum.astype(np.complex64)).real.astype(np.float32)

    def _noise_to_signal(self, numerator: ComplexArray, shifted: ComplexArray) -> DoubleArray:
        """Floor / S of every frequency, from ring sums over the frequencies that carry information."""
        e = self.information
        use = e > WEAKEST * e.max()
        safe = np.where(use, e, 1.0)

        def ring_sum(values: DoubleArray) -> DoubleArray:
            return np.asarray(np.bincount(self.ring[use], values[use], minlength=int(self.ring.max()) + 1), dtype=float)

        floor = ring_sum(np.abs(shifted.ravel()) ** 2 / safe)
        power = ring_sum(np.abs(numerator.ravel()) ** 2 / safe)
        signal = np.maximum(power - floor, LEAST_SIGNAL * floor) / np.maximum(ring_sum(e), 1e-30)
        count = np.maximum(ring_sum(np.ones_like(e)), 1.0)
        ratio = np.where(signal > 0, floor / count / np.maximum(signal, 1e-30), np.inf)
        weakest = np.nanmax(np.where(np.isfinite(ratio), ratio, 0.0), initial=0.0)
        return np.where(np.isfinite(ratio), ratio, max(weakest, 1.0))[self.ring]
