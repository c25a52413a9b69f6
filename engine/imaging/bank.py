"""The filter bank: every linear map is sum_n W_n(Q) c_hat_n(Q). Independent of any map (docs/theory/live-maps.md).

All coefficients are stored, so a refresh is a transform along the columns and one contraction per map, exact to single
precision, and filters may change at any moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import fft, ndimage

from ptylive.engine.backend.imaging.bank import CompiledContraction, Contraction
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.band import Band
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.noise.outstanding import Shares
from ptylive.engine.imaging.noise.rings import quiet_shift
from ptylive.engine.imaging.nufft import spread_planes
from ptylive.schema.maps import RingQuality
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, FloatArray

WHOLE = 1e-6
"""Rounding tolerance, in pixels, of a picture's size."""
POINTS_AT_ONCE = 65536
"""Number of points whose coefficients are summed together: some MB, however large the scan."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One map as its method makes it: pixels, unit, and a description of the method."""

    name: str
    data: Array
    """(Y, X): the scan's rows and columns, or more if the map is finer."""
    units: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    quality: RingQuality | None = None
    noise: Callable[[], Array] | None = None
    """Returns the same map made of noise alone, (Y, X) or several (n, Y, X) (:mod:`.noise.deviation`).

    None if noise is not measured.
    """
    finer: tuple[float, float] | None = None
    """Pixels per scan point along rows and columns; None: the ratio of its size to that of the scan."""
    even: Callable[[], tuple[FloatArray, FloatArray]] | None = None
    """Returns map and noise (Y, X) with equal noise at all frequencies, from which ring qualities are determined."""
    share_of_strongest: Shares | None = None
    """Tells aliases of a map finer than the scan from true frequencies (:mod:`.equivalents`)."""


@dataclass(frozen=True, eq=False)
class Spectra:
    """Fourier transforms of all coefficients over the scan at one moment.

    Unvisited points hold the mean of the visited ones (mean fill). Coefficients are divided by the mean pattern sum, so
    that patterns have unit sum on average.
    """

    conditions: ImagingConditions
    visited: BoolArray
    mean: DoubleArray
    """(N,) mean coefficients of the visited points, for patterns of unit sum."""
    planes: ComplexArray
    """((padded cols // 2 + 1) * padded rows, N), column by column: half planes, with the mean removed.

    The other half plane is the conjugate.
    """
    scale: float
    """Factor from stored coefficients to coefficients of patterns of unit sum."""
    contraction: Contraction = field(default_factory=CompiledContraction)
    shifted_planes: ComplexArray | None = None
    """Planes half a sampling frequency away, for points off a regular grid; otherwise they are read from ``planes``."""

    @classmethod
    def of(
        cls,
        store: Store,
        conditions: ImagingConditions,
        rows: RowTransforms | None = None,
        contraction: Contraction | None = None,
    ) -> Spectra:
        """Transform the present content of the store.

        ``rows`` caches whatever has not changed since its last use; ``contraction``: on a GPU, or compiled.
        """
        contractor = CompiledContraction() if contraction is None else contraction
        scale, visited = 1.0 / mean_intensity(store), store.visited
        if conditions.placement is not None:
            mean, is_visited = mean_bins(store), visited.ravel()
            on_grid = conditions.placement.gridded(np.zeros((len(is_visited), 0)), is_visited)[1]
            signs = (None, conditions.placement.alternating(is_visited))
            planes, shifted = (
                spread_planes(store, conditions.placement, conditions.padded, mean / scale, sign) for sign in signs
            )
            pair = (planes.reshape(-1, len(mean)), shifted.reshape(-1, len(mean)))
            return cls(conditions, on_grid, mean, pair[0], scale, contractor, pair[1])
        transforms = RowTransforms() if rows is None else rows
        mean = transforms.update(store, conditions.padded)
        planes = transforms.planes(mean, visited.astype(np.float32))
        flat = planes.reshape(-1, planes.shape[-1])
        return cls(conditions, visited, mean * scale, flat, scale, contractor)

    def contract(self, band: Band, weights: ComplexArray) -> ComplexArray:
        """Return sum_n W_n(Q) c_hat_n(Q) at the frequencies of a band: (nb,), weights (nb, N)."""
        return self.contraction.contract(weights, self.planes, band.kept, self.scale)

    def contract_noise(self, band: Band, weights: ComplexArray) -> ComplexArray:
        """Return the contraction (nb,) of weights (nb, N) with every c_hat half a sampling frequency away: noise."""
        if self.shifted_planes is not None:
            return self.contraction.contract(weights, self.shifted_planes, band.kept, self.scale)
        return self.contraction.contract(weights, self.planes, band.kept_away(quiet_shift(self.visited)), self.scale)

    def contract_with_noise(self, band: Band, weights: ComplexArray) -> tuple[ComplexArray, ComplexArray]:
        """Return the contraction (nb,), and the contraction with every c_hat taken half a sampling frequency away.

        No signal survives that shift, so the second is noise (docs/theory/live-maps.md). Another shift is used if the
        pattern of visited points itself repeats half a sampling frequency away.
        """
        if self.shifted_planes is not None:
            return self.contract(band, weights), self.contract_noise(band, weights)
        shifted = band.kept_away(quiet_shift(self.visited))
        return self.contraction.contract_pair(weights, self.planes, band.kept, shifted, self.scale)

    def image(self, band: Band, spectrum: ComplexArray) -> FloatArray:
        """Return a real map from half-plane values (nb,): (rows, cols) times ``band.grid.finer``, rounded up."""
        rows, cols = self.visited.shape
        finer = band.grid.finer
        height, width = (math.ceil(n * factor - WHOLE) for n, factor in zip((rows, cols), finer, strict=True))
        values = fft.irfft2(band.spread(spectrum), s=band.grid.size)[:height, :width]
        return np.asarray(values * np.float32(math.prod(finer)), dtype=np.float32)

    def complex_image(self, band: Band, spectrum: ComplexArray) -> ComplexArray:
        """Return a complex map (rows, cols) from values (nb,) on a whole plane."""
        rows, cols = self.visited.shape
        return np.asarray(fft.ifft2(band.spread(spectrum))[:rows, :cols])

    @cached_property
    def visited_share(self) -> float:
        """Share of the scan points visited so far."""
        return float(self.visited.mean())

    @property
    def independent_share(self) -> float:
        """Share of independent frequencies: those of a padded scan are not all independent."""
        return float(self.visited.sum() / math.prod(self.conditions.padded))

    @cached_property
    def density(self) -> float:
        """Share of points visited within the area scanned so far; phases are weaker by this factor."""
        return density(self.visited) if self.shifted_planes is None else 1.0


def density(visited: BoolArray) -> float:
    """Return the share of points visited within the scanned area (rows, cols): 1 for whole rows, 0.5 for a chessboard
    half.

    Gaps of one point hold the mean, as if there were no specimen, so a map of features wider than a gap is too weak by
    this factor.
    """
    if visited.all() or not visited.any():
        return 1.0
    dilated = ndimage.maximum_filter(visited.astype(np.uint8), 3, mode="constant", cval=0)
    closed = ndimage.minimum_filter(dilated, 3, mode="constant", cval=1)
    return float(visited.sum() / np.maximum(closed, visited).sum())


def mean_intensity(store: Store) -> float:
    """Return the mean pattern sum of the visited points, counts."""
    visited = store.visited.ravel()
    return max(float(store.per_frame(store.moments)[visited, 0].mean()), 1e-12) if visited.any() else 1.0


def mean_bins(store: Store) -> DoubleArray:
    """Return the mean coefficients (N,) of the visited points, for patterns of unit sum."""
    visited, count = store.visited.ravel(), store.reduction.basis.count
    if not visited.any():
        return np.zeros(count)
    bins, total = store.coefficients(), np.zeros(count)
    for first in range(0, len(bins), POINTS_AT_ONCE):
        part = slice(first, first + POINTS_AT_ONCE)
        total += bins[part][visited[part]].sum(axis=0, dtype=np.float64)
    return np.asarray(total / (np.count_nonzero(visited) * mean_intensity(store)))
