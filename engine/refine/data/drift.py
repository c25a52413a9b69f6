"""Drift of a scan from the double-overlap geometry of its strongest frequencies, before anything is reconstructed.

The pattern at scan frequency q holds two overlaps of the aperture A with itself, and they lie where the *true* q puts
them, whatever the object is. So the lattice of the scan (4 numbers: how far its slow and fast axis went astray),
defocus and focal spread are fitted by making the weak-phase model explain as much as it can:

    maximise  sum_q |<W(q), G(q)>|^2 / (<W, W> + floor),    G: transform of the patterns over the scan
    W(K, q) = A*(K) A(K - q) e(K, K - q) - A(K) A*(K + q) e(K, K + q)
    e(K, L) = exp(-(pi lam sigma_f)^2 (K^2 - L^2)^2 / 2)

No object is iterated, so none can absorb the drift. A beam cannot drift much within one line, so stretch and rotation
found along the fast axis are errors of the method and are taken from the slow axis too. Two fits, with and without a
Hann window over the scan, err independently: their mean is the drift, half their difference its uncertainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema.model import Array, DoubleArray, FloatArray

FREQUENCIES = 400
FURTHEST, NEAREST = 1.9, 2.5
"""Frequencies used: below 1.9 semi-angles, above 2.5 periods in the scan."""
ENERGY_FLOOR = 0.02
"""Share of the aperture's energy added to <W, W>: frequencies without overlap cannot win."""
FIRST_STEP = 0.024
"""First trial of a displacement, as a share of the scan's length."""
FIRST_FOCUS_A, FIRST_SPREAD_A = 20.0, 20.0
EVALUATIONS = 300
GATE = 1.5
"""Drift is applied where it exceeds so many times its uncertainty."""
HARMLESS = 0.1
"""Drift below this share of the resolution (wavelength over semi-angle) is left alone, however certain."""
REGULAR = 0.02
"""Largest deviation of nominal positions from a lattice, in steps."""
LARGEST_BYTES = 1 << 29
"""Bright-field pixels are thinned out until their transform fits."""
SMALLEST_SCAN = 16


@dataclass(frozen=True)
class Drift:
    """What was found; vectors along (slow, fast) axis of the scan, Å over the whole acquisition."""

    drift_A: tuple[float, float]
    uncertainty_A: tuple[float, float]
    defocus_A: float
    focal_spread_A: float
    applied: bool
    reason: str


@dataclass(frozen=True)
class Lattice:
    """A scan on a lattice: position = first + row * slow + col * fast, Å in the detector frame."""

    shape: tuple[int, int]
    slow: DoubleArray
    fast: DoubleArray

    @classmethod
    def of(cls, dataset: Dataset) -> Lattice | None:
        """The lattice of the nominal positions; None where they do not form one or the scan is tiny."""
        rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
        if min(dataset.scan_shape) < SMALLEST_SCAN:
            return None
        design = np.column_stack([np.ones(len(rows)), rows, columns])
        solution, _, rank, _ = np.linalg.lstsq(design, dataset.positions_A, rcond=None)
        step = min(np.hypot(*solution[1]), np.hypot(*solution[2]))
        if rank < 3 or np.abs(design @ solution - dataset.positions_A).max() > REGULAR * step:
            return None
        return cls(dataset.scan_shape, solution[1], solution[2])

    @property
    def lengths_A(self) -> tuple[float, float]:
        """Extent along both axes."""
        return self.shape[0] * float(np.hypot(*self.slow)), self.shape[1] * float(np.hypot(*self.fast))

    @property
    def axes(self) -> DoubleArray:
        """Columns: unit vectors of the slow and the fast axis in the detector frame."""
        return np.column_stack([self.slow / np.hypot(*self.slow), self.fast / np.hypot(*self.fast)])

    def strained(self, slow_A: DoubleArray, fast_A: DoubleArray) -> Lattice:
        """The lattice with its ends displaced by vectors given along its own axes."""
        slow = self.slow + self.axes @ slow_A / self.shape[0]
        return Lattice(self.shape, slow, self.fast + self.axes @ fast_A / self.shape[1])

    def frequencies(self, orders: DoubleArray) -> DoubleArray:
        """Scan frequencies (n, 2), 1/Å, of orders (n, 2) in cycles per scan."""
        cycles = orders / np.asarray(self.shape)
        return np.asarray(cycles @ np.linalg.inv(np.column_stack([self.slow, self.fast])))


def find_drift(dataset: Dataset, window: ScanWindow, probe: Probe) -> Drift | None:
    """The drift of a scan of a thin specimen; None where the positions are no lattice."""
    lattice = Lattice.of(dataset)
    if lattice is None:
        return None
    fits = [OverlapFit(dataset, window, probe, lattice, hann=hann).fit() for hann in (True, False)]
    drifts = np.array([fit[:2] for fit in fits])
    mean, uncertainty = drifts.mean(axis=0), np.abs(drifts[0] - drifts[1]) / 2
    ratio = float(np.hypot(*mean) / max(np.hypot(*uncertainty), 1e-9))
    words = f"drift ({mean[0]:.2f}, {mean[1]:.2f}) Å along slow and fast axis, {ratio:.1f} times its uncertainty"
    focus = np.mean([fit[2:] for fit in fits], axis=0)
    applied = ratio > GATE and np.hypot(*mean) > HARMLESS / probe.semiangle_invA
    return Drift(
        drift_A=(float(mean[0]), float(mean[1])),
        uncertainty_A=(float(uncertainty[0]), float(uncertainty[1])),
        defocus_A=float(focus[0]),
        focal_spread_A=float(focus[1]),
        applied=bool(applied),
        reason=f"{words}: {'applied' if applied else 'left alone'}",
    )


def without_drift(dataset: Dataset, drift: Drift) -> Dataset:
    """The data set with positions that drift linearly in time; the mean of the positions stays."""
    lattice = Lattice.of(dataset)
    if lattice is None:
        return dataset
    time = acquisition_time(dataset)
    moved = np.outer(time - time.mean(), lattice.axes @ np.asarray(drift.drift_A))
    return replace(dataset, positions_A=dataset.positions_A + moved)


def acquisition_time(dataset: Dataset) -> DoubleArray:
    """When each pattern was taken (N,), as a share of the scan, gaps included; rows may run to and fro."""
    rows, columns = np.divmod(dataset.point, dataset.scan_shape[1])
    width = dataset.scan_shape[1]
    backwards = np.zeros(dataset.scan_shape[0], dtype=bool)
    along = np.diff(columns)[np.diff(rows) == 0]
    backwards[rows[:-1][np.diff(rows) == 0][along < 0]] = True
    within = np.where(backwards[rows], width - 1 - columns, columns)
    return np.asarray((rows * width + within + 0.5) / (dataset.scan_shape[0] * width))


class OverlapFit:
    """Explained energy of the strongest scan frequencies as a function of lattice, defocus and focal spread."""

    def __init__(self, dataset: Dataset, window: ScanWindow, probe: Probe, lattice: Lattice, *, hann: bool) -> None:
        self._probe, self._lattice = probe, lattice
        lit = window.measured & (window.k_radius < probe.semiangle_invA + window.pixel_invA)
        pixels = np.argwhere(lit)
        thinned = math.ceil(len(pixels) * np.prod(lattice.shape) * 8 / LARGEST_BYTES)
        pixels = pixels[::thinned]
        self._k = np.stack([window.k_row[tuple(pixels.T)], window.k_col[tuple(pixels.T)]]).astype(np.float32)
        self._aperture = probe.aperture(*self._k.astype(float)).astype(np.float32)
        self._defocus_A, self._rest = _split_defocus(probe)
        spectrum = _scan_spectrum(dataset, window, pixels, hann=hann)
        self._choose(spectrum)

    def _choose(self, spectrum: Array) -> None:
        """Keep the frequencies that the nominal geometry explains best, each as the alias that does."""
        rows, columns = self._lattice.shape
        folded = np.meshgrid(np.fft.fftfreq(rows) * rows, np.fft.fftfreq(columns) * columns, indexing="ij")
        orders = np.stack(folded, -1).reshape(-1, 2)
        best = np.full(len(orders), -1.0)
        chosen = orders.copy()
        for alias in np.ndindex(3, 3):
            trial = orders + (np.asarray(alias) - 1) * np.asarray(self._lattice.shape)
            q = np.hypot(*self._lattice.frequencies(trial).T)
            allowed = (q < FURTHEST * self._probe.semiangle_invA) & (q > NEAREST / min(self._lattice.lengths_A))
            energy = np.full(len(trial), -1.0)
            picked = np.flatnonzero(allowed)
            energy[picked] = self._energy(self._lattice, trial[picked], spectrum[picked], self._defocus_A, 0.0)
            better = energy > best
            best[better], chosen[better] = energy[better], trial[better]
        strongest = np.argsort(-best)[: min(FREQUENCIES, int((best > 0).sum()))]
        self._orders, self._spectrum = chosen[strongest], spectrum[strongest]
        self._scale = max(float(best[strongest].sum()), 1e-30)

    def fit(self) -> tuple[float, float, float, float]:
        """Drift along slow and fast axis (Å), defocus (Å), focal spread (Å)."""
        from scipy.optimize import minimize

        slow_length, fast_length = self._lattice.lengths_A
        steps = np.array([FIRST_STEP * slow_length] * 4 + [FIRST_FOCUS_A, FIRST_SPREAD_A])
        start = np.array([0, 0, 0, 0, self._defocus_A, FIRST_SPREAD_A])
        simplex = np.vstack([start, start + np.diag(steps)])
        options: dict[str, Any] = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-6, "maxfev": EVALUATIONS}
        search: Any = minimize  # its stubs know no initial_simplex
        found = search(lambda v: -self.explained(v), start, method="Nelder-Mead", options=options).x
        slow, fast = complex(found[1], found[0]), complex(found[3], found[2])  # fast + i slow
        drift = slow - fast * 1j * (slow_length / fast_length)
        return drift.imag, drift.real, float(found[4]), abs(float(found[5]))

    def explained(self, values: DoubleArray) -> float:
        """Share of the energy explained by (slow end (2), fast end (2), defocus, focal spread), over the start's."""
        lattice = self._lattice.strained(values[:2], values[2:4])
        energy = self._energy(lattice, self._orders, self._spectrum, float(values[4]), float(values[5]))
        return float(energy.sum()) / self._scale

    def _energy(
        self, lattice: Lattice, orders: DoubleArray, spectrum: Array, defocus_A: float, spread_A: float
    ) -> DoubleArray:
        """|<W, G>|^2 / (<W, W> + floor) of every order (n,)."""
        q = lattice.frequencies(orders).astype(np.float32)
        floor = ENERGY_FLOOR * float((self._aperture**2).sum())
        out = np.empty(len(q))
        for first in range(0, len(q), 64):  # a chunk stays in the cache
            part = slice(first, first + 64)
            overlap = self._overlap(q[part], defocus_A, spread_A)
            product = np.abs(np.einsum("nk,nk->n", overlap.conj(), spectrum[part])) ** 2
            out[part] = product / ((overlap.real**2 + overlap.imag**2).sum(axis=1) + floor)
        return out

    def _overlap(self, q: FloatArray, defocus_A: float, spread_A: float) -> Array:
        """W (n, pixels).

        Defocus enters as exp(-2 i f K.q) (A(K-q) exp(i f q^2) - A(K+q) exp(-i f q^2)), f = pi lam df.
        """
        focus = np.float32(math.pi * self._probe.wavelength_A * defocus_A)
        damping = np.float32(-0.5 * (math.pi * self._probe.wavelength_A * spread_A) ** 2)
        along = q @ self._k
        q_squared = (q**2).sum(axis=1, keepdims=True)
        sides = []
        for sign in (-1, 1):
            moved = [self._k[axis] + sign * q[:, axis : axis + 1] for axis in (0, 1)]
            away = q_squared + sign * 2 * along  # (K +- q)^2 - K^2
            side = self._aperture_at(moved) * np.exp(damping * away**2)
            turn = -sign * focus * q_squared
            if self._rest is not None:
                turn = turn + sign * (self._rest.chi(*moved) - self._rest.chi(*self._k)).astype(np.float32)
            sides.append(side * np.exp(1j * turn))
        return np.asarray(self._aperture * np.exp(-2j * focus * along) * (sides[0] - sides[1]))

    def _aperture_at(self, k: list[Array]) -> Array:
        distance = np.float32(self._probe.semiangle_invA) - np.sqrt(k[0] ** 2 + k[1] ** 2)
        return np.asarray(np.clip(distance / np.float32(self._probe.edge_invA) + np.float32(0.5), 0, 1))


def _split_defocus(probe: Probe) -> tuple[float, Probe | None]:
    """Defocus (Å, underfocus positive) and a probe with all other aberrations, None where there are none.

    chi of defocus is -pi lam df (k_row^2 + k_col^2): the mean of the two quadratic coefficients.
    """
    quadratic = (probe.chi_polynomial[2, 0] + probe.chi_polynomial[0, 2]) / 2
    rest = probe.chi_polynomial.copy()
    rest[2, 0] -= quadratic
    rest[0, 2] -= quadratic
    defocus = -quadratic / (math.pi * probe.wavelength_A)
    return float(defocus), replace(probe, chi_polynomial=rest) if np.abs(rest).max() > 0 else None


def _scan_spectrum(dataset: Dataset, window: ScanWindow, pixels: Array, *, hann: bool) -> Array:
    """Transform over the scan of the chosen detector pixels, (scan frequencies, pixels) complex64."""
    import scipy.fft

    rows, columns = dataset.scan_shape
    signal = np.zeros((rows * columns, len(pixels)), np.float32)
    for first in range(0, len(dataset.point), 256):
        part = slice(first, first + 256)
        signal[dataset.point[part]] = window.patterns[part][:, pixels[:, 0], pixels[:, 1]]
    arrived = np.zeros(rows * columns, dtype=bool)
    arrived[dataset.point] = True
    signal[arrived] -= signal[arrived].mean(axis=0)  # points that never arrived stay at the mean
    cube = signal.reshape(rows, columns, -1)
    if hann:
        taper = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1])
        cube *= taper[..., None].astype(np.float32)
    return np.asarray(scipy.fft.fft2(cube, axes=(0, 1), overwrite_x=True)).reshape(rows * columns, -1)
