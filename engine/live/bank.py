"""The filter bank: every linear map is sum_n W_n(Q) c_hat_n(Q). It knows no map by name (live-maths, section 4).

Coefficients are kept, so a refresh is a transform along the columns and one contraction per map: exact to single
precision, and filters may change at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import fft

from ptylive.engine.live.band import Band
from ptylive.engine.live.placement import Placement
from ptylive.engine.live.rows import RowTransforms
from ptylive.engine.live.setting import Setting
from ptylive.engine.live.splat import spread_planes
from ptylive.engine.live.store import Store
from ptylive.schema.maps import RingQuality
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, FloatArray


@dataclass(frozen=True, eq=False)
class Picture:
    """One map as its method makes it: pixels, unit, and what was done."""

    name: str
    data: Array
    units: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: RingQuality | None = None


@dataclass(frozen=True, eq=False)
class Spectra:
    """Fourier transforms of all coefficients over the scan at one moment.

    Unvisited points hold the mean of the visited (mean fill, live-maths section 9); coefficients are divided by the
    mean pattern sum, so that patterns have unit sum on average.
    """

    setting: Setting
    visited: BoolArray
    mean: DoubleArray
    """(N,) mean coefficients of the visited points, patterns of unit sum."""
    planes: ComplexArray
    """(padded rows * (padded cols // 2 + 1), N): half planes, the mean removed; the other half is the conjugate."""
    scale: float
    """Factor from stored coefficients to those of patterns of unit sum."""
    shifted_planes: ComplexArray | None = None
    """The same half a sampling frequency away, for points that are no regular grid; else it is read from ``planes``."""

    @classmethod
    def of(cls, store: Store, setting: Setting, rows: RowTransforms | None = None) -> Spectra:
        """Transform what the store holds now; ``rows`` remembers what has not changed since it was used last."""
        if setting.placement is not None:
            return cls._of_placed(store, setting, setting.placement)
        scale = 1.0 / mean_intensity(store)
        visited = store.visited
        kept = RowTransforms() if rows is None else rows
        mean = kept.update(store, setting.padded)
        planes = kept.planes(mean, visited.astype(np.float32))
        return cls(setting, visited, mean * scale, planes.reshape(-1, planes.shape[-1]), scale)

    @classmethod
    def _of_placed(cls, store: Store, setting: Setting, placement: Placement) -> Spectra:
        mean, scale = mean_bins(store), 1.0 / mean_intensity(store)
        visited = placement.gridded(np.zeros((store.frames.size, 0)), store.visited.ravel())[1]
        planes, shifted = (
            spread_planes(store, placement, setting.padded, mean / scale, alternate=alternate).reshape(-1, len(mean))
            for alternate in (False, True)
        )
        return cls(setting, visited, mean, planes, scale, shifted)

    def contract(self, band: Band, weights: ComplexArray) -> ComplexArray:
        """sum_n W_n(Q) c_hat_n(Q) at the frequencies of a band: (nb,), weights (nb, N)."""
        from ptylive.engine.backend.bank_numba import contract

        out = np.empty(len(weights), dtype=np.complex64)
        contract(weights, self.planes, *band.kept, np.float32(self.scale), out)
        return out

    def contract_with_noise(self, band: Band, weights: ComplexArray) -> tuple[ComplexArray, ComplexArray]:
        """The same, and once more with every c_hat taken half a sampling frequency away.

        No signal survives that shift: the second is noise (real-data, section 1).
        """
        from ptylive.engine.backend.bank_numba import contract_pair

        out, noise = np.empty(len(weights), dtype=np.complex64), np.empty(len(weights), dtype=np.complex64)
        if self.shifted_planes is not None:
            return self.contract(band, weights), replace(self, planes=self.shifted_planes).contract(band, weights)
        shifted = band.kept_half_a_sample_away
        contract_pair(weights, self.planes, *band.kept, *shifted, np.float32(self.scale), out, noise)
        return out, noise

    def image(self, band: Band, spectrum: ComplexArray) -> FloatArray:
        """A real map from its values (nb,) on a half plane: (rows * upsample, cols * upsample)."""
        rows, cols = self.visited.shape
        upsample = band.grid.upsample
        made = fft.irfft2(band.spread(spectrum), s=band.grid.size)[: rows * upsample, : cols * upsample]
        return np.asarray(made * np.float32(upsample**2), dtype=np.float32)

    def complex_image(self, band: Band, spectrum: ComplexArray) -> ComplexArray:
        """A complex map from its values (nb,) on a whole plane: (rows, cols)."""
        rows, cols = self.visited.shape
        return np.asarray(fft.ifft2(band.spread(spectrum))[:rows, :cols])

    @cached_property
    def visited_share(self) -> float:
        """Share of the scan that was visited."""
        return float(self.visited.mean())


def mean_intensity(store: Store) -> float:
    """Mean pattern sum of the visited points, counts."""
    seen = store.visited.ravel()
    return max(float(store.per_frame(store.moments)[seen, 0].mean()), 1e-12) if seen.any() else 1.0


def mean_bins(store: Store) -> DoubleArray:
    """Mean coefficients (N,) of the visited points, for patterns of unit sum."""
    seen = store.visited.ravel()
    if not seen.any():
        return np.zeros(store.reduction.basis.count)
    mean = store.per_frame(store.bins)[seen].mean(axis=0, dtype=np.float64)
    return np.asarray(mean / mean_intensity(store))
