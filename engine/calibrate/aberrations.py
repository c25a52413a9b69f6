"""Defocus, astigmatism and rotation from the bright field itself (live-maths, section 6; real-data, section 3).

Two criteria on the brightest spatial frequencies of the coefficients over the scan. J1 is the power of the aligned
bright field: sharp far from focus, blind in focus. J2 is the energy a weak phase object explains: exact in and out of
focus, with many false maxima. So: a grid over defocus and rotation by J1, its best points polished by J1, the winner
polished by J2. On sparse scans both are biased, in opposite directions, and their weighted mean is used.

(rotation + 180, -C10, -C12, -phase) is an exact symmetry of weak phase objects: the half turn is settled elsewhere
(`calibrate/sign.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import fft, ndimage, optimize

from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.live.bank import mean_bins, mean_intensity
from ptylive.engine.live.setting import Setting
from ptylive.engine.live.store import Store
from ptylive.engine.probe import Probe
from ptylive.schema.model import Array, BoolArray, ComplexArray, DoubleArray, FloatArray
from ptylive.schema.scan import rotation_matrix

GRID_FREQUENCIES, FIT_FREQUENCIES = 80, 180
GRID_CYCLES = 0.5
"""Defocus step of the grid: phase at the disc's rim, in cycles, for the highest frequency."""
ROTATION_STEP_DEG = 6.0
STARTS = 3
TAPER = 0.15
"""Share of each edge that is faded out, so that the frame of the scan makes no frequencies."""
PADDING = 1.25
FIELD_SHARE = 0.25
"""Largest geometric probe radius looked for, as a share of the visited field."""
ASTIGMATISM_SHARE = 0.3
"""Largest |C12| in |C10|: without a bound a transposed detector is fitted perfectly by astigmatism alone."""
ASTIGMATISM_GAIN = 0.02
"""Share of J2 that astigmatism must add on dense scans to be believed."""
REGULARISATION = 0.02
SPARSE_SCAN = 0.4
"""Scan Nyquist frequency in aperture radii below which J1 and J2 are averaged."""
POWER_ERROR = 0.03
"""Bias of J1 on sparse scans, in 1/(lam Q^2) of the highest frequency: 0.02 to 0.04 for defoci of 200 Å to 13 µm."""
ENERGY_ERROR = 0.04
"""Bias of J2 where the object is no pure phase, as a share of the defocus (real-data, section 3)."""


@dataclass(frozen=True)
class AberrationFit:
    """What explains the scan best: Krivanek coefficients in Å, rotation in degrees (mod 180), and how it was found.

    explained: share of the energy of the brightest frequencies; runner_up: J1 of the grid's second peak in the first's.
    """

    aberrations: dict[str, float]
    rotation_deg: float
    uncertainty_A: float
    rotation_uncertainty_deg: float
    explained: float
    runner_up: float

    def turned(self) -> AberrationFit:
        """The other member of the pair that a weak phase object cannot tell apart."""
        reversed_signs = {name: -value for name, value in self.aberrations.items()}
        return replace(self, aberrations=reversed_signs, rotation_deg=self.rotation_deg + 180.0)


@dataclass(frozen=True, eq=False)
class Modulation:
    """The brightest frequencies of the coefficients over the scan, chosen ring by ring of |Q|.

    On sparse scans each ring is scaled to unit power, lest edges and large particles decide (real-data, section 3).
    Dense scans show a lattice: there scaling would let weak, dynamical beams move the fitted plane (measured on
    10 nm of SrTiO3: 166 Å instead of 136 Å, between entrance at 100 Å and mid-plane at 150 Å).
    """

    q_scan: DoubleArray
    """(nq, 2) along the scan axes, 1/Å, brightest first."""
    spectra: ComplexArray
    """(N, nq)."""
    mean: DoubleArray
    """(N,) mean coefficients of patterns of unit sum."""
    field_A: float
    """Longer side of the visited field."""

    @classmethod
    def of(cls, store: Store, step_A: tuple[float, float], semiangle_invA: float) -> Modulation | None:
        """From what a store holds; None while too little was visited."""
        sparse, q_max = is_sparse(step_A, semiangle_invA), 2 * semiangle_invA
        visited = store.visited
        rows = np.flatnonzero(visited.any(axis=1))
        if len(rows) < 6 or visited.sum() < 200:
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
        power = (np.abs(fft.fft2(cube, s=shape)) ** 2).mean(axis=0)
        if not sparse:
            peak, shift = _peaks(power)
            use, q = use & peak, q + shift / (np.array(shape) * step_A)
        power = power.ravel()
        ring = (radius * span).astype(int)
        ring_power = np.bincount(ring, power) / np.maximum(np.bincount(ring), 1)
        white = np.where(use, power / np.maximum(ring_power[ring], 1e-30), 0.0)
        chosen = np.argsort(white)[::-1][: min(FIT_FREQUENCIES, int(use.sum()))]
        scale = 1.0 / np.sqrt(np.maximum(ring_power[ring[chosen]], 1e-30)) if sparse else np.ones(len(chosen))
        spectra = _transform(cube, q[chosen] * step_A) * scale
        field = max(cube.shape[1] * step_A[0], cube.shape[2] * step_A[1])
        return cls(q[chosen], spectra.astype(np.complex64), mean_bins(store), float(field))


def _tapered(store: Store, visited: BoolArray, rows: slice) -> FloatArray:
    """Coefficients (N, rows, cols) of the visited rows, the mean removed, edges faded out."""
    bins = store.per_frame(store.bins) * np.float32(1.0 / mean_intensity(store))
    cube = np.where(visited[..., None], bins.reshape(*visited.shape, -1) - mean_bins(store).astype(np.float32), 0)[rows]
    window = _taper(cube.shape[0])[:, None] * _taper(cube.shape[1])[None]
    return np.ascontiguousarray((cube * window[..., None]).transpose(2, 0, 1), dtype=np.float32)


def _peaks(power: DoubleArray) -> tuple[BoolArray, DoubleArray]:
    """Local maxima (n,) of a power spectrum (rows, cols), and how far (n, 2) each lies from its grid point, in points.

    A lattice has its power between the grid points: on a few rows the nearest one is off by several degrees.
    """
    peak = power == ndimage.maximum_filter(power, size=3, mode="wrap")
    log_power = np.log(np.maximum(power, 1e-30))
    shift = []
    for axis in (0, 1):
        before, after = np.roll(log_power, 1, axis), np.roll(log_power, -1, axis)
        bend = np.minimum(before + after - 2 * log_power, -1e-12)
        shift.append(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
    return peak.ravel(), np.stack(shift, -1).reshape(-1, 2)


def _transform(cube: FloatArray, cycles: DoubleArray) -> ComplexArray:
    """Fourier sums (N, nq) of (N, rows, cols) at any frequencies (nq, 2), in cycles per scan point."""
    row, col = (np.exp(-2j * np.pi * np.outer(np.arange(n), c)) for n, c in zip(cube.shape[1:], cycles.T, strict=True))
    col_pair = np.ascontiguousarray(col.astype(np.complex64)).view(np.float32)
    out = np.empty((len(cube), len(cycles)), dtype=np.complex64)
    for n, plane in enumerate(cube):
        along = (plane @ col_pair).view(np.complex64)
        out[n] = np.einsum("yq,yq->q", along, row.astype(np.complex64))
    return out


def _taper(n: int) -> Array:
    """Ones with raised-cosine edges."""
    edge = np.clip(np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1) / max(TAPER * n, 1.0), 0, 1)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * edge), dtype=np.float32)


class Criteria:
    """J1 and J2 of trial optics on one scan. Parameters: C10, C12a, C12b in Å and rotation in rad."""

    def __init__(self, modulation: Modulation, setting: Setting) -> None:
        self.modulation, self._setting = modulation, setting
        self._dual = setting.basis.dual(modulation.spectra)

    def transposed(self) -> Criteria:
        """The same with the detector's axes swapped."""
        grid = self._setting.grid
        return Criteria(self.modulation, replace(self._setting, grid=DetectorGrid(grid.k_col, grid.k_row, grid.pixel)))

    def _trial(self, parameters: DoubleArray, count: int) -> tuple[Setting, DoubleArray]:
        c10, c12a, c12b, rotation = (float(p) for p in parameters)
        probe = self._setting.probe
        mrad = probe.semiangle_invA * probe.wavelength_A * 1e3
        aberrations = {"C10": c10, "C12a": c12a, "C12b": c12b}
        trial = self._setting.with_probe(Probe.of(probe.wavelength_A, mrad, probe.edge_invA, aberrations))
        return trial, self.modulation.q_scan[:count] @ rotation_matrix(math.degrees(rotation)).T

    def aligned_power(self, parameters: DoubleArray) -> float:
        """J1: power of the aligned bright field, normalised by the power of its own filter."""
        trial, q = self._trial(parameters, FIT_FREQUENCIES)
        weights, norm = trial.aligned_shifts_with_norm(q)
        image = np.einsum("nq,nq->q", weights, self.modulation.spectra)
        return float((np.abs(image) ** 2 / np.maximum(norm, 1e-12)).sum())

    def quick_power(self, c10_A: float, rotation: float) -> float:
        """J1 of a defocus (Å) and a rotation (rad) without its norm, on fewer frequencies: for the grid."""
        trial, q = self._trial(np.array([c10_A, 0.0, 0.0, rotation]), GRID_FREQUENCIES)
        image = np.einsum("nq,nq->q", trial.shift_sums(q), self._dual[:, : len(q)])
        return float((np.abs(image) ** 2).sum())

    def explained_energy(self, parameters: DoubleArray) -> float:
        """J2: energy that a weak phase object explains, its phase at each frequency being free."""
        trial, q = self._trial(parameters, FIT_FREQUENCIES)
        transfer = trial.transfer(q)
        weights = trial.basis.per_noise(transfer, self.modulation.mean).conj()
        image = np.einsum("nq,nq->q", weights, self.modulation.spectra)
        information = np.einsum("nq,nq->q", weights, transfer).real
        return float((np.abs(image) ** 2 / (information + REGULARISATION)).sum())

    def explained_share(self, parameters: DoubleArray) -> float:
        """J2 in the energy there is, weighted by noise alike."""
        spectra, mean = self.modulation.spectra, self.modulation.mean
        total = np.einsum("nq,nq->", self._setting.basis.per_noise(spectra, mean).conj(), spectra).real
        return self.explained_energy(parameters) / max(float(total), 1e-30)


@dataclass(frozen=True)
class Search:
    """What is looked for: the range of defocus, and the rotation where it is known (degrees)."""

    largest_defocus_A: float
    defocus_step_A: float
    rotation_deg: float | None
    power_error_A: float = 0.0
    """Bias of J1 to be expected on a sparse scan, Å."""
    c10_A: float | None = None

    @classmethod
    def of(cls, modulation: Modulation, setting: Setting, rotation_deg: float | None) -> Search:
        """Range and step for a scan: up to a probe as large as a quarter of the field."""
        alpha = setting.probe.semiangle_invA * setting.probe.wavelength_A
        highest = float(np.hypot(*modulation.q_scan.T).max())
        power_error_A = POWER_ERROR / (setting.probe.wavelength_A * highest**2)
        return cls(
            FIELD_SHARE * modulation.field_A / alpha, GRID_CYCLES / (alpha * highest), rotation_deg, power_error_A
        )

    def weight_of_power(self, c10_A: float) -> float:
        """Weight of what J1 says beside J2 at a defocus: both biased, by a length and by a share of the defocus."""
        energy_error_A = ENERGY_ERROR * abs(c10_A)
        total = self.power_error_A**2 + energy_error_A**2
        return energy_error_A**2 / total if total > 0 else 0.0

    def at_defocus(self, c10_A: float) -> Search:
        """The same with a known C10: then the half turn is no longer open."""
        return replace(self, c10_A=c10_A)

    @property
    def rotations_deg(self) -> DoubleArray:
        """Trial rotations: half a turn, the other half being the same with reversed defocus."""
        if self.rotation_deg is not None:
            return np.array([self.rotation_deg])
        return np.arange(0.0, 180.0 if self.c10_A is None else 360.0, ROTATION_STEP_DEG)

    @property
    def defoci_A(self) -> DoubleArray:
        """Trial values of C10."""
        if self.c10_A is not None:
            return np.array([self.c10_A])
        count = math.ceil(self.largest_defocus_A / self.defocus_step_A)
        return np.arange(-count, count + 1, dtype=float) * self.defocus_step_A


@dataclass(frozen=True)
class Grid:
    """J1 over defocus and rotation without astigmatism: best starts, its maximum, and the second peak in the first."""

    starts: list[DoubleArray]
    best: float
    runner_up: float

    @classmethod
    def of(cls, criteria: Criteria, search: Search) -> Grid:
        """Try every point; starts are at least three grid points apart."""
        angles, defoci = np.deg2rad(search.rotations_deg), search.defoci_A
        power = np.array([[criteria.quick_power(float(c10), float(a)) for c10 in defoci] for a in angles])
        chosen: list[tuple[int, int]] = []
        for index in np.argsort(power.ravel())[::-1]:
            a, c = divmod(int(index), len(defoci))
            if all(abs(c - d) > 2 or min(abs(a - b), len(angles) - abs(a - b)) > 2 for b, d in chosen):
                chosen.append((a, c))
            if len(chosen) == STARTS:
                break
        starts = [np.array([defoci[c], 0.0, 0.0, angles[a]]) for a, c in chosen]
        best = float(power.max())
        second = float(power[chosen[1]]) / best if len(chosen) > 1 and best > 0 else 0.0
        return cls(starts, best, second)


def is_sparse(step_A: tuple[float, float], semiangle_invA: float) -> bool:
    """Whether the scan resolves much less than the aperture would allow."""
    return 0.5 / max(step_A) < SPARSE_SCAN * semiangle_invA


def fit_aberrations(criteria: Criteria, search: Search, grid: Grid, *, sparse: bool) -> AberrationFit:
    """The two-stage fit from the best points of a grid; see the module's text."""
    starts = grid.starts
    polished = [_climb(criteria.aligned_power, start, search) for start in starts]
    by_power = max(polished, key=criteria.aligned_power)
    by_energy = _climb(criteria.explained_energy, by_power, search)
    if not sparse:
        # few rows leave a valley between astigmatism and rotation: without a clear gain the probe is taken as round
        plain = _climb(criteria.explained_energy, by_energy * np.array([1, 0, 0, 1]), search, astigmatic=False)
        gain = criteria.explained_energy(by_energy) / criteria.explained_energy(plain) - 1
        by_energy = plain if gain < ASTIGMATISM_GAIN else by_energy
    weight = search.weight_of_power(float(by_energy[0])) if sparse else 0.0
    chosen = weight * by_power + (1 - weight) * by_energy
    spread = 0.5 * np.abs(by_power - by_energy)
    c10, c12a, c12b, rotation = (float(v) for v in chosen)
    return AberrationFit(
        aberrations={"C10": c10, "C12a": c12a, "C12b": c12b},
        rotation_deg=math.degrees(rotation),
        uncertainty_A=float(spread[0]),
        rotation_uncertainty_deg=math.degrees(float(spread[3])),
        explained=criteria.explained_share(chosen),
        runner_up=grid.runner_up,
    )


def _climb(
    criterion: Callable[[DoubleArray], float], start: DoubleArray, search: Search, *, astigmatic: bool = True
) -> DoubleArray:
    """Nelder-Mead from a start, astigmatism bounded or left out; a known rotation stays."""
    step = search.defocus_step_A
    sizes = np.array([step, step / 3, step / 3, math.radians(ROTATION_STEP_DEG / 2)])
    open_defocus = search.c10_A is None
    open_astigmatism = open_defocus and astigmatic
    free = np.array([open_defocus, open_astigmatism, open_astigmatism, search.rotation_deg is None])
    if not free.any():
        return start

    def cost(x: DoubleArray) -> float:
        parameters = start.copy()
        parameters[free] = x * sizes[free]
        bound = max(ASTIGMATISM_SHARE * abs(parameters[0]), 2 * step)
        excess = max(0.0, math.hypot(parameters[1], parameters[2]) / bound - 1.0)
        return float(-criterion(parameters) * (1.0 - min(excess, 0.5)))

    origin = (start / sizes)[free]
    simplex = np.vstack([origin, origin + np.eye(len(origin))])
    options: Any = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-12, "maxfev": 220}
    found = optimize.minimize(cost, np.asarray(origin, dtype=float), method="Nelder-Mead", options=options)
    best = start.copy()
    best[free] = np.asarray(found.x) * sizes[free]
    return best
