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
from ptylive.schema.maps import RingQuality
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, FloatArray, IndexArray


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
    """(bins,) mean coefficients of the visited points."""
    spectra: ComplexArray
    """(N, padded rows * (padded cols // 2 + 1)): half planes, the mean removed; the other half is the conjugate."""

    @classmethod
    def of(cls, store: Store, setting: Setting) -> Spectra:
        """Transform what the store holds now."""
        visited = store.visited
        scale = np.float32(1.0 / mean_intensity(store))
        mean = mean_bins(store)
        bins = store.per_frame(store.bins) * scale
        centred = np.where(visited.reshape(-1, 1), bins - mean.astype(np.float32), np.float32(0))
        cube = np.ascontiguousarray(centred.T).reshape(-1, *visited.shape)
        spectra = np.asarray(fft.rfft2(cube, s=setting.padded)).reshape(len(cube), -1)
        return cls(setting, visited, mean, spectra.astype(np.complex64, copy=False))

    def contract(self, weights: ComplexArray, upsample: int = 1, *, half_sample_shift: bool = False) -> ComplexArray:
        """sum_n W_n(Q) c_hat_n(Q) of a real map: the half plane (rows, cols // 2 + 1) of the ``upsample``d grid.

        With ``half_sample_shift`` every c_hat is taken half a sampling frequency away: no signal survives that, so
        what remains is noise (real-data, section 1).
        """
        rows, cols = self.setting.padded
        shape = (rows * upsample, cols * upsample // 2 + 1)
        return self._contract(weights, shape, half_sample_shift)

    def contract_whole(self, weights: ComplexArray) -> ComplexArray:
        """The same of a complex map: the whole plane (rows, cols)."""
        return self._contract(weights, self.setting.padded, False)

    def _contract(self, weights: ComplexArray, shape: tuple[int, int], half_sample_shift: bool) -> ComplexArray:
        from ptylive.engine.backend.filters_numba import contract

        out = np.empty(shape[0] * shape[1], dtype=np.complex64)
        contract(weights, self.spectra, *self._aliases(shape, half_sample_shift), out)
        return out.reshape(shape)

    def _aliases(self, shape: tuple[int, int], half_sample_shift: bool) -> tuple[IndexArray, FloatArray]:
        """Stored frequency of each frequency of a grid, and the sign of its imaginary part.

        c_hat repeats with 1/step, and its other half plane is the conjugate of the stored one at -Q.
        """
        rows, cols = self.setting.padded
        row = (np.arange(shape[0]) + (rows // 2 if half_sample_shift else 0)) % rows
        col = (np.arange(shape[1]) + (cols // 2 if half_sample_shift else 0)) % cols
        mirrored = col > cols // 2
        rows_of = np.where(mirrored[None], (-row[:, None]) % rows, row[:, None])
        index = rows_of * (cols // 2 + 1) + np.where(mirrored, cols - col, col)[None]
        sign = np.broadcast_to(np.where(mirrored, -1.0, 1.0), shape).astype(np.float32)
        return np.asarray(index.ravel(), dtype=np.int64), sign.ravel()

    def image(self, spectrum: ComplexArray, upsample: int = 1) -> FloatArray:
        """A real map from its half plane: (rows * upsample, cols * upsample)."""
        rows, cols = self.visited.shape
        size = (self.setting.padded[0] * upsample, self.setting.padded[1] * upsample)
        made = fft.irfft2(spectrum, s=size)[: rows * upsample, : cols * upsample]
        return np.asarray(made * upsample**2, dtype=np.float32)

    def complex_image(self, spectrum: ComplexArray) -> ComplexArray:
        """A complex map from its whole plane: (rows, cols)."""
        rows, cols = self.visited.shape
        return np.asarray(fft.ifft2(spectrum)[:rows, :cols])

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
