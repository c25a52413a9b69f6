"""The filter bank: every linear map is sum_n W_n(Q) c_hat_n(Q). It knows no map by name (live-maths, section 4).

Coefficients are kept, so a refresh is one FFT of every coefficient and one contraction per map: exact to single
precision, and filters may change at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import fft

from ptylive.engine.live.setting import Setting
from ptylive.engine.live.store import Store
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, IndexArray


@dataclass(frozen=True, eq=False)
class Picture:
    """One map as its method makes it: pixels, unit, and what was done."""

    name: str
    data: Array
    units: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Spectra:
    """Fourier transforms of all coefficients over the scan at one moment.

    Unvisited points hold the mean of the visited (mean fill, live-maths section 9); coefficients are divided by the
    mean pattern sum, so that patterns have unit sum on average.
    """

    setting: Setting
    visited: BoolArray
    mean: DoubleArray
    """(bins,) mean coefficients of the visited points."""
    spectra: ComplexArray
    """(bins, padded rows * padded cols), the mean removed."""

    @classmethod
    def of(cls, store: Store, setting: Setting) -> Spectra:
        """Transform what the store holds now."""
        visited = store.visited
        scale = np.float32(1.0 / mean_intensity(store))
        mean = mean_bins(store)
        bins = store.per_frame(store.bins) * scale
        centred = np.where(visited.reshape(-1, 1), bins - mean.astype(np.float32), np.float32(0))
        cube = np.ascontiguousarray(centred.T).reshape(-1, *visited.shape)
        spectra = fft.fft2(cube, s=setting.padded, overwrite_x=True).reshape(len(cube), -1)
        return cls(setting, visited, mean, spectra.astype(np.complex64, copy=False))

    @property
    def points(self) -> int:
        """Visited scan points."""
        return int(self.visited.sum())

    def contract(self, weights: ComplexArray, upsample: int = 1, *, half_sample_shift: bool = False) -> ComplexArray:
        """sum_n W_n(Q) c_hat_n(Q) on the grid of frequencies of ``upsample``: (rows, cols) of the padded scan.

        With ``half_sample_shift`` every c_hat is taken half a sampling frequency away: no signal survives that, so
        what remains is noise (real-data, section 1).
        """
        from ptylive.engine.backend.filters_numba import contract

        rows, cols = self.setting.padded
        out = np.empty(rows * cols * upsample**2, dtype=np.complex64)
        contract(weights, self.spectra, self._alias_index(upsample, half_sample_shift), out)
        return out.reshape(rows * upsample, cols * upsample)

    def _alias_index(self, upsample: int, half: bool) -> IndexArray:
        """Which stored frequency each frequency of the finer grid aliases to (c_hat repeats with 1/step)."""
        rows, cols = self.setting.padded
        row = (np.arange(rows * upsample) + (rows // 2 if half else 0)) % rows
        col = (np.arange(cols * upsample) + (cols // 2 if half else 0)) % cols
        return np.asarray((row[:, None] * cols + col[None]).ravel(), dtype=np.int64)

    def image(self, spectrum: ComplexArray, upsample: int = 1) -> ComplexArray:
        """Back to the scan: (rows * upsample, cols * upsample), complex."""
        rows, cols = self.visited.shape
        return np.asarray(fft.ifft2(spectrum)[: rows * upsample, : cols * upsample] * upsample**2)

    @cached_property
    def visited_share(self) -> float:
        """Share of the scan that was visited."""
        return float(self.visited.mean())


def mean_intensity(store: Store) -> float:
    """Mean pattern sum of the visited points, counts."""
    seen = store.visited.ravel()
    return max(float(store.per_frame(store.moments)[seen, 0].mean()), 1e-12) if seen.any() else 1.0


def mean_bins(store: Store) -> DoubleArray:
    """Mean bin sums (bins,) of the visited points, for patterns of unit sum."""
    seen = store.visited.ravel()
    if not seen.any():
        return np.zeros(store.reduction.basis.count)
    mean = store.per_frame(store.bins)[seen].mean(axis=0, dtype=np.float64)
    return np.asarray(mean / mean_intensity(store))
