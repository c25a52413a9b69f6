"""The spatial frequencies that dominate a scan, used by the fits of defocus, aberrations and rotation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, ndimage

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.bank import mean_bins, mean_intensity
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, FloatArray

FIT_FREQUENCIES = 180
"""Number of the brightest frequencies in a fit: its time grows with them, and the fainter one is, the noisier."""
TAPER = 0.15
"""Share of the field faded out at each edge, so that the frame of the scan adds no frequencies."""
PADDING = 1.25
"""Size of the transform over that of the field: a frequency is at most 0.4 cycles per field from a grid point."""
SPARSE_SCAN = 0.4
"""Scan Nyquist frequency in aperture radii below which a scan is sparse: J1 and J2 are averaged there."""
PEAKED, PEAKS = 5.0, 4
"""Least ratio of a lattice's brightest frequencies to the mean power of their ring: 6 to 16; 2 if amorphous."""
LEAST_ROWS, LEAST_POINTS = 5, 150
"""Fewest visited rows and points: smaller parts of a scan contain no usable frequencies."""


@dataclass(frozen=True, eq=False)
class Modulation:
    """The brightest frequencies of the coefficients over the scan, chosen ring by ring of |Q|.

    On sparse scans each ring is scaled to unit power, so that edges and large particles do not decide. Dense scans show
    a lattice: scaling would let weak, dynamical beams move the fitted plane (measured on 10 nm of SrTiO3: 166 Å instead
    of 136 Å, between entrance at 100 Å and mid-plane at 150 Å).
    """

    q_scan: DoubleArray
    """(nq, 2) along the scan axes, 1/Å, brightest first."""
    spectra: ComplexArray
    """(N, nq) Fourier coefficients."""
    mean: DoubleArray
    """(N,) mean coefficients of patterns of unit sum."""
    field_A: float
    """Longer side of the visited field."""
    peaked: bool = False
    """Whether a few frequencies stand out of their rings, as those of a lattice do."""

    @classmethod
    def of(cls, store: Store, step_A: tuple[float, float], semiangle_invA: float) -> Modulation | None:
        """Return the modulation of a store; None if too little was visited, or all patterns are the same."""
        sparse, q_max = is_sparse(step_A, semiangle_invA), 2 * semiangle_invA
        visited = store.visited
        rows = np.flatnonzero(visited.any(axis=1))
        if len(rows) < LEAST_ROWS or visited.sum() < LEAST_POINTS:
            return None
        cube = _tapered(store, visited, slice(rows[0], rows[-1] + 1))
        shape = (fft.next_fast_len(int(PADDING * cube.shape[1])), fft.next_fast_len(int(PADDING * cube.shape[2])))
        axes = np.meshgrid(fft.fftfreq(shape[0], step_A[0]), fft.fftfreq(shape[1], step_A[1]), indexing="ij")
        q = np.stack(axes, -1).reshape(-1, 2)
        radius = np.hypot(q[:, 0], q[:, 1])
        span = min(shape[0] * step_A[0], shape[1] * step_A[1])
        half = (q[:, 0] > 0) | ((q[:, 0] == 0) & (q[:, 1] > 0))
        use = half & (radius > 1.5 / span) & (radius < min(0.5 / max(step_A), q_max))
        if use.sum() < 20:
            return None
        power = _mean_power(cube, shape)
        if not power.any():
            return None
        if not sparse:
            peak, shift = _peaks(power)
            use, q = use & peak, q + shift / (np.array(shape) * step_A)
        power = power.ravel()
        ring = (radius * span).astype(int)
        ring_power = np.bincount(ring, power) / np.maximum(np.bincount(ring), 1)
        white = np.where(use, power / np.maximum(ring_power[ring], 1e-30), 0.0)
        count = min(FIT_FREQUENCIES, int(use.sum()))
        chosen = np.argpartition(-white, count - 1)[:count]
        chosen = chosen[np.argsort(-white[chosen])]
        scale = 1.0 / np.sqrt(np.maximum(ring_power[ring[chosen]], 1e-30)) if sparse else np.ones(len(chosen))
        spectra = _transform(cube, q[chosen] * step_A) * scale
        field = max(cube.shape[1] * step_A[0], cube.shape[2] * step_A[1])
        peaked = bool(len(chosen) >= PEAKS and white[chosen[PEAKS - 1]] > PEAKED)
        return cls(q[chosen], spectra.astype(np.complex64), mean_bins(store), float(field), peaked)

    def brightest(self, count: int) -> Modulation:
        """Return the first ``count`` frequencies only."""
        return replace(self, q_scan=self.q_scan[:count], spectra=self.spectra[:, :count])


def _tapered(store: Store, visited: BoolArray, rows: slice) -> FloatArray:
    """Return coefficients (N, rows, cols) of the visited rows, with the mean removed and edges faded out.

    Row by row: for a large scan there is memory for the result, but not for intermediate arrays.
    """
    scale, mean = np.float32(1.0 / mean_intensity(store)), mean_bins(store).astype(np.float32)
    bins = store.coefficients().reshape(*visited.shape, -1)[rows]
    seen, col_taper = visited[rows, :, None], edge_taper(bins.shape[1])[:, None]
    cube = np.empty((bins.shape[2], *bins.shape[:2]), np.float32)
    for row, row_taper in enumerate(edge_taper(len(bins))):
        cube[:, row] = (np.where(seen[row], bins[row] * scale - mean, 0) * (row_taper * col_taper)).T
    return cube


def _mean_power(cube: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Return the mean power spectrum (rows, cols) of planes (N, ...) padded to a shape, computed plane by plane."""
    half_cols = shape[1] // 2 + 1
    half = np.zeros((shape[0], half_cols), np.float32)
    for plane in cube:
        half += np.abs(fft.rfft2(plane, s=shape)) ** 2
    mirrored = np.roll(half[::-1], 1, axis=0)[:, shape[1] - half_cols : 0 : -1]
    return np.asarray(np.concatenate([half, mirrored], axis=1) / np.float32(len(cube)))


def _peaks(power: FloatArray) -> tuple[BoolArray, DoubleArray]:
    """Return local maxima (n,) of a power spectrum (rows, cols), and their offsets (n, 2) from grid points, in points.

    A lattice's frequencies lie between the grid points: on a few rows the nearest one is off by several degrees.
    """
    peak = power == ndimage.maximum_filter(power, size=3, mode="wrap")
    log_power = np.log(np.maximum(power, 1e-30))
    shift = []
    for axis in (0, 1):
        before, after = np.roll(log_power, 1, axis), np.roll(log_power, -1, axis)
        curvature = np.minimum(before + after - 2 * log_power, -1e-12)
        shift.append(np.clip(0.5 * (before - after) / curvature, -0.5, 0.5))
    return peak.ravel(), np.stack(shift, -1).reshape(-1, 2)


def _transform(cube: FloatArray, cycles: DoubleArray) -> ComplexArray:
    """Return Fourier sums (N, nq) of (N, rows, cols) at any frequencies (nq, 2), in cycles per scan point."""
    row, col = (np.exp(-2j * np.pi * np.outer(np.arange(n), c)) for n, c in zip(cube.shape[1:], cycles.T, strict=True))
    col_pair = np.ascontiguousarray(col.astype(np.complex64)).view(np.float32)
    out = np.empty((len(cube), len(cycles)), dtype=np.complex64)
    for n, plane in enumerate(cube):
        along = (plane @ col_pair).view(np.complex64)
        out[n] = np.einsum("yq,yq->q", along, row.astype(np.complex64))
    return out


def edge_taper(n: int) -> Array:
    """Return ones (n,) with raised-cosine edges."""
    edge = np.clip(np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1) / max(TAPER * n, 1.0), 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * edge), dtype=np.float32)


def is_sparse(step_A: tuple[float, float], semiangle_invA: float) -> bool:
    """Return whether the scan resolves much less than the aperture would allow."""
    return 0.5 / max(step_A) < SPARSE_SCAN * semiangle_invA
