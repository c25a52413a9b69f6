"""Strain of a scan's lattice, from the double overlaps at its strongest frequencies.

The pattern at scan frequency q contains two overlaps of the aperture A with itself, and their place is set by the
*true* q, whatever the object is. With G(q), the transform of the patterns over the scan, and the weak-phase model

    W(K, q) = A*(K) A(K - q) e(K, K - q) - A(K) A*(K + q) e(K, K + q)
    e(K, L) = exp(-(pi lam)^2 tau (K^2 - L^2)^2 / 2),    tau: variance of the focus

the share of the energy of G that W explains is x(q) = |<W, G>|^2 / (<W, W> + floor) / <G, G>, and

    -sum_q ln(1 - x(q))

is the likelihood with a separate object value and noise level for each frequency: a strong frequency that multiple
scattering removes from the model counts no more than one that is lost in noise. Lattice (4 numbers), defocus and tau
are found at its maximum, by Newton's method with Levenberg-Marquardt damping; derivatives are differences by the four
numbers that W depends on. The covariance is H^-1 (sum_q g g^T) H^-1 (White's, 1982): it uses the actual scatter of the
frequencies, so it also holds for a model that is not quite right. G(-q) = G(q)*: half of the frequencies suffice.

Phases of W vary by 2 pi lam C K.q, so out of focus they determine the product of the lattice's strain and the matrix of
defocus and astigmatism C far better than either: a shear is confused with astigmatism, and vice versa. Only the place
of the overlaps separates them. If the astigmatism was not given, it is therefore found with the lattice; the maps
found theirs as if there were no drift, and an error below their uncertainty looks like a drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.overlaps.spectra import AT_ONCE, half_spectra
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema.model import Array, DoubleArray, FloatArray

FREQUENCIES, CANDIDATES = 200, 4000
"""Number of fitted frequencies, and of the most energetic ones from which they are chosen."""
LEAST_FREQUENCIES = 12
"""Twice the number of unknowns, not counting astigmatism."""
FURTHEST, NEAREST = 1.9, 2.5
"""Frequencies used: below 1.9 semi-angles, above 2.5 periods in the scan."""
ENERGY_FLOOR = 0.02
"""Share of the aperture's energy added to <W, W>, so that frequencies without overlap are not chosen."""
FIRST_SPREAD_A = 20.0  # focal spread that the fit begins with: at zero its derivative vanishes
MOST_PIXELS = 1000
"""Bright-field pixels: others are dropped at random; the scatter of the frequencies sets the uncertainty."""
LARGEST_BYTES, BYTES_EACH = 1 << 29, 32
"""Fewer pixels if the transforms over the scan, with this many bytes per pixel and point, would take more memory."""
CHUNK = 64
"""Number of frequencies that fit in the cache."""
MOST_EXPLAINED = 1 - 1e-6  # of a frequency's energy: a logarithm of the rest is taken
FREQUENCY_STEP, PHASE_STEP = 0.01, 0.1
"""Steps of differences: of a frequency, in semi-angles; of focus and focal spread, in radians at the aperture's rim."""
ITERATIONS, ENOUGH = 15, 1e-4
"""Largest number of Newton steps; iteration ends when one gains less than this share."""
EVERY = 4
"""One frequency in four is fitted first, which covers most of the distance in a quarter of the time."""
DAMPING, MOST_DAMPING = 1e-3, 1e4  # of Levenberg-Marquardt steps: at first, and that at which none is tried any more


@dataclass(frozen=True)
class _Side:
    """One of the two overlaps at frequencies (n,) and pixels."""

    sign: int
    aperture: Array
    """A(K +- q) with its sign in W."""
    away_squared: Array
    """((K +- q)^2 - K^2)^2."""
    turn: Array | None
    """Phase of all aberrations except defocus."""


@dataclass(frozen=True)
class _Geometry:
    """The focus-independent part of the overlaps."""

    q: Array
    """(n, 2)."""
    along: Array
    """K.q (n, pixels)."""
    q_squared: Array
    sides: tuple[_Side, ...]


@dataclass(frozen=True)
class Strain:
    """Result of the fit; displacements of the ends of the scan's axes, each along (slow, fast) axis."""

    ends_A: DoubleArray
    """(4,): end of the slow axis, then of the fast one."""
    covariance_A2: DoubleArray
    """(4, 4)."""
    defocus_A: float
    focal_spread_A: float
    is_maximum: bool
    """Whether the likelihood has its maximum there; otherwise the covariance is meaningless."""
    values: DoubleArray
    """All fitted values."""
    hessian: DoubleArray
    """Second derivatives of the likelihood by these values."""
    astigmatism_off: float = 0.0
    """Standard deviations between the fitted astigmatism and the probe's, if it was fitted."""


def pixels_fitted(lit: int, scan_shape: tuple[int, int]) -> int:
    """Number of the ``lit`` bright-field pixels that are fitted, for the size of the scan."""
    return min(lit, max(1, min(MOST_PIXELS, LARGEST_BYTES // (BYTES_EACH * math.prod(scan_shape)))))


class OverlapFit:
    """Likelihood of the strongest scan frequencies as a function of lattice, defocus and variance of the focus.

    ``spectra`` (n, s, pixels): of each frequency, under s windows over the scan; tapered and untapered ones have
    independent errors.
    """

    def __init__(self, dataset: Dataset, window: ScanWindow, probe: Probe, lattice: Lattice) -> None:
        self._probe, self._lattice = probe, lattice
        bright = window.measured & (window.k_radius < probe.semiangle_invA + window.pixel_invA)
        pixels = np.argwhere(bright)
        count = pixels_fitted(len(pixels), lattice.shape)
        pixels = pixels[np.sort(np.random.default_rng(0).permutation(len(pixels))[:count])]
        self._k = np.stack([window.k_row[tuple(pixels.T)], window.k_col[tuple(pixels.T)]]).astype(np.float32)
        self._aperture = probe.aperture(*self._k.astype(float)).astype(np.float32)
        self._floor = ENERGY_FLOOR * float((self._aperture**2).sum())
        self._defocus_A, self._rest = _split_defocus(probe)
        self._rest_phase = 0.0 if self._rest is None else _polynomial(self._k[0], self._k[1], self._rest)
        self._choose(half_spectra(dataset, window, pixels))

    def _choose(self, half: tuple[DoubleArray, Array]) -> None:
        """Keep the frequencies that the nominal geometry explains best, each with its best alias."""
        orders, spectra = half
        parts = np.array_split(spectra, AT_ONCE)  # a copy of all would be as large
        energies = np.concatenate([(np.abs(each) ** 2).sum(axis=(1, 2)) for each in parts])
        energetic = np.argsort(-energies, kind="stable")[:CANDIDATES]
        orders, spectra = orders[energetic], spectra[energetic]
        best, chosen = np.full(len(orders), -1.0), orders.copy()
        optics = np.array([self._defocus_A, 0.0])
        for alias in np.ndindex(3, 3):
            trial = orders + (np.asarray(alias) - 1) * np.asarray(self._lattice.shape)
            q = self._lattice.frequencies(trial)
            radius = np.hypot(*q.T)
            allowed = radius < FURTHEST * self._probe.semiangle_invA
            allowed &= radius > NEAREST / min(self._lattice.lengths_A)
            energy = np.full(len(trial), -1.0)
            indices = np.flatnonzero(allowed)
            energy[indices] = self._energies(q[indices], spectra[indices], optics).sum(axis=1)
            better = energy > best
            best[better], chosen[better] = energy[better], trial[better]
        strongest = np.argsort(-best, kind="stable")[: min(FREQUENCIES, int((best > 0).sum()))]
        self._orders, self._spectra = chosen[strongest], spectra[strongest]
        self._totals = np.maximum((np.abs(self._spectra) ** 2).sum(axis=2), 1e-30)

    def fit(self, *, stated: bool = True) -> Strain | None:
        """Fit the strain; None if there are too few frequencies, or their patterns are not finite.

        ``stated``: the astigmatism is that of the probe; otherwise it is fitted, too.
        """
        if len(self._orders) < LEAST_FREQUENCIES or not np.isfinite(self._totals).all():
            return None
        return self._strain(self._maximum(np.eye(6 if stated else 8)))

    def share_of(self, strain: Strain, ends: DoubleArray) -> float:
        """Loss of likelihood when the ends are confined to directions (4, k), relative to the expected loss.

        Expected is the loss of the parabola at the maximum: 1 if the likelihood is that parabola. It is less, or zero,
        if there are other maxima of similar height, which the covariance does not account for.
        """
        count = len(strain.values)
        free = np.zeros((count, ends.shape[1] + count - 4))
        free[:4, : ends.shape[1]], free[4:, ends.shape[1] :] = ends, np.eye(count - 4)
        bent = -strain.hessian @ np.concatenate([strain.ends_A, np.zeros(count - 4)])
        inner = bent[:4] @ strain.ends_A - bent @ free @ np.linalg.pinv(free.T @ -strain.hessian @ free) @ (bent @ free)
        loss = self._likelihood(strain.values) - self._likelihood(self._maximum(free))
        return 2 * loss / inner if inner > 0 else 1.0

    def _maximum(self, directions: DoubleArray) -> DoubleArray:
        """The values at the maximum reached from the nominal ones along directions (m, k)."""
        values = np.array([0, 0, 0, 0, self._defocus_A, FIRST_SPREAD_A**2, 0, 0])[: len(directions)]
        if len(self._orders) >= EVERY * LEAST_FREQUENCIES:
            values = max(values, self._maximum_of_few(values, directions), key=self._likelihood)
        return self._maximum_from(values, directions)

    def _maximum_of_few(self, values: DoubleArray, directions: DoubleArray) -> DoubleArray:
        """The values at the maximum reached from there with some of the frequencies, weak and strong."""
        full = self._orders, self._spectra, self._totals
        self._orders, self._spectra, self._totals = (array[::EVERY] for array in full)
        try:
            values = self._maximum_from(values, directions)
        finally:
            self._orders, self._spectra, self._totals = full
        return values

    def _maximum_from(self, values: DoubleArray, directions: DoubleArray) -> DoubleArray:
        """The values at the maximum reached from there."""
        likelihood, damping = self._likelihood(values), DAMPING
        for _ in range(ITERATIONS):
            gradients, hessian, may_blur = self._derivatives(values)
            free = directions if may_blur else directions[:, directions[5] == 0]
            gradient, curvature = gradients.sum(axis=0) @ free, free.T @ hessian @ free
            while damping < MOST_DAMPING:
                trial = values + free @ _damped_step(gradient, curvature, damping)
                trial[5] = max(trial[5], 0.0)
                gained = self._likelihood(trial) - likelihood
                if gained >= 0:
                    break
                damping *= 10
            else:
                break
            values, likelihood, damping = trial, likelihood + gained, max(damping / 10, DAMPING / 10)
            if gained < ENOUGH * likelihood:
                break
        return values

    def _strain(self, values: DoubleArray) -> Strain:
        gradients, hessian, may_blur = self._derivatives(values)
        free = np.array([number for number in range(len(values)) if may_blur or number != 5])
        slopes, curvature = gradients[:, free], hessian[np.ix_(free, free)]
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(curvature)), 1e-30))
        is_maximum = bool(np.linalg.eigvalsh(curvature * np.outer(scale, scale)).max() < 0)
        inverse = np.linalg.pinv(curvature)
        covariance = inverse @ (slopes.T @ slopes) @ inverse
        spread, off = math.sqrt(values[5]), values[6:]
        off_covariance = covariance[len(free) - len(off) :, len(free) - len(off) :]
        deviations = math.sqrt(max(float(off @ np.linalg.pinv(off_covariance) @ off), 0.0)) if len(off) else 0.0
        return Strain(values[:4], covariance[:4, :4], float(values[4]), spread, is_maximum, values, hessian, deviations)

    def _likelihood(self, values: DoubleArray) -> float:
        q = self._frequencies(values)
        return float(_unexplained(self._energies(q, self._spectra, values[4:]) / self._totals).sum())

    def _frequencies(self, values: DoubleArray) -> DoubleArray:
        return self._lattice.strained(values[:2], values[2:4]).frequencies(self._orders)

    def _derivatives(self, values: DoubleArray) -> tuple[DoubleArray, DoubleArray, bool]:
        """Gradients (n, m), the Hessian of the sum (m, m), and whether the spread is free (it cannot go below 0)."""
        first, second = self._local_derivatives(values)
        inner = np.zeros((len(self._orders), len(values) - 2, len(values)))
        inner[:, 2:, 4:] = np.eye(len(values) - 4)
        step = 1e-3 * min(self._lattice.lengths_A)
        for number, shift in enumerate(step * np.eye(len(values))[:4]):
            difference = self._frequencies(values + shift) - self._frequencies(values - shift)
            inner[:, :2, number] = difference / (2 * step)
        gradients = np.einsum("na,nai->ni", first, inner)
        hessian = np.einsum("nai,nab,nbj->ij", inner, second, inner)
        return gradients, hessian, bool(values[5] > 0 or gradients[:, 5].sum() > 0)

    def _local_derivatives(self, values: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """First (n, m) and second (n, m, m) derivatives by the row and column of q and the optics."""
        rim = self._probe.semiangle_invA
        step_A = PHASE_STEP / (math.pi * self._probe.wavelength_A * rim**2)
        steps = np.array([FREQUENCY_STEP * rim] * 2 + [step_A, step_A**2, step_A, step_A])[: len(values) - 2]
        q, optics = self._frequencies(values), values[4:].copy()
        optics[1] = max(optics[1], steps[3])
        first, second = np.empty((len(q), len(steps))), np.empty((len(q), len(steps), len(steps)))
        for begin in range(0, len(q), CHUNK):
            part = slice(begin, begin + CHUNK)
            around = _Around(self, q[part], self._spectra[part], self._totals[part])
            first[part], second[part] = around.derivatives(optics, steps)
        return first, second

    def _energies(self, q: DoubleArray, spectra: Array, optics: DoubleArray) -> DoubleArray:
        """|<W, G>|^2 / (<W, W> + floor) of every frequency and window (n, s).

        ``optics``: defocus, tau and, if it is fitted, the difference of C12a and C12b from the probe's.
        """
        energies = np.empty(spectra.shape[:2])
        for start in range(0, len(q), CHUNK):
            part = slice(start, start + CHUNK)
            energies[part] = self.energies_at(self.geometry(q[part]), spectra[part], optics)
        return energies

    def energies_at(self, geometry: _Geometry, spectra: Array, optics: DoubleArray) -> DoubleArray:
        """|<W, G>|^2 / (<W, W> + floor) of one chunk."""
        overlap = self._overlap(geometry, optics)
        product = np.abs(np.einsum("nk,nsk->ns", overlap.conj(), spectra)) ** 2
        return np.asarray(product / ((overlap.real**2 + overlap.imag**2).sum(axis=1) + self._floor)[:, None])

    def geometry(self, q: DoubleArray) -> _Geometry:
        """The focus-independent part of the overlaps at frequencies (n, 2)."""
        single = q.astype(np.float32)
        along, q_squared = single @ self._k, (single**2).sum(axis=1, keepdims=True)
        sides = []
        for sign in (-1, 1):
            moved = [self._k[axis] + sign * single[:, axis : axis + 1] for axis in (0, 1)]
            away = q_squared + sign * 2 * along  # (K +- q)^2 - K^2
            turn = None
            if self._rest is not None:
                turn = sign * (_polynomial(moved[0], moved[1], self._rest) - self._rest_phase)
            sides.append(_Side(sign, -sign * self._aperture_at(moved), away**2, turn))
        return _Geometry(single, along, q_squared, tuple(sides))

    def _overlap(self, geometry: _Geometry, optics: DoubleArray) -> Array:
        """W (n, pixels).

        Defocus enters as exp(-2 i f K.q) (A(K-q) exp(i f q^2) - A(K+q) exp(-i f q^2)), f = pi lam df; with astigmatism
        f q is the vector pi lam (df - ((a, b), (b, -a))) q.
        """
        per_A = math.pi * self._probe.wavelength_A
        focus, damping = np.float32(per_A * optics[0]), np.float32(-0.5 * per_A**2 * optics[1])
        along: Array = focus * geometry.along
        q_squared: Array = focus * geometry.q_squared
        if len(optics) > 2:
            a, b = -per_A * optics[2:]
            bent = geometry.q @ np.array([[a, b], [b, -a]], np.float32)
            along = along + bent @ self._k
            q_squared = q_squared + (bent * geometry.q).sum(axis=1, keepdims=True)
        row: Any = 0.0
        column: Any = 0.0
        for side in geometry.sides:
            amplitude = side.aperture * np.exp(damping * side.away_squared)
            turn: Any = -side.sign * q_squared
            if side.turn is not None:
                turn = turn + side.turn
            row, column = row + amplitude * np.cos(turn), column + amplitude * np.sin(turn)
        # cosines and sines are vectorised in single precision; complex exponentials are not
        turn = -2 * along
        cosine, sine = self._aperture * np.cos(turn), self._aperture * np.sin(turn)
        overlap = np.empty(turn.shape, np.complex64)
        overlap.real, overlap.imag = cosine * row - sine * column, cosine * column + sine * row
        return overlap

    def _aperture_at(self, k: list[Array]) -> Array:
        distance = np.float32(self._probe.semiangle_invA) - np.sqrt(k[0] ** 2 + k[1] ** 2)
        return np.asarray(np.clip(distance / np.float32(self._probe.edge_invA) + np.float32(0.5), 0, 1))


class _Around:
    """Likelihoods around the frequencies (n, 2) of a chunk: each shift is computed once for all changes of focus."""

    def __init__(self, fit: OverlapFit, q: DoubleArray, spectra: Array, totals: DoubleArray) -> None:
        self._fit, self._q, self._spectra, self._totals = fit, q, spectra, totals
        self._geometries: dict[tuple[float, float], _Geometry] = {}

    def derivatives(self, optics: DoubleArray, steps: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """First (n, m) and second (n, m, m) differences by the row and column of q and the optics."""

        def at(away: DoubleArray) -> DoubleArray:
            return self._likelihoods(self._moved((float(away[0]), float(away[1]))), optics + away[2:])

        shifts, count = np.diag(steps), len(steps)
        centre, ahead, behind = at(np.zeros(count)), [at(shift) for shift in shifts], [at(-shift) for shift in shifts]
        first = np.stack([(ahead[i] - behind[i]) / (2 * steps[i]) for i in range(count)], axis=1)
        second = np.empty((len(self._q), count, count))
        for i in range(count):
            second[:, i, i] = (ahead[i] + behind[i] - 2 * centre) / steps[i] ** 2
            for j in range(i):
                corners = at(shifts[i] + shifts[j]) + at(-shifts[i] - shifts[j]) + 2 * centre
                mixed = (corners - ahead[i] - behind[i] - ahead[j] - behind[j]) / (2 * steps[i] * steps[j])
                second[:, i, j] = second[:, j, i] = mixed
        return first, second

    def _moved(self, away: tuple[float, float]) -> _Geometry:
        if away not in self._geometries:
            self._geometries[away] = self._fit.geometry(self._q + np.array(away))
        return self._geometries[away]

    def _likelihoods(self, geometry: _Geometry, optics: DoubleArray) -> DoubleArray:
        explained = self._fit.energies_at(geometry, self._spectra, optics) / self._totals
        return _unexplained(explained)


def _unexplained(shares: DoubleArray) -> DoubleArray:
    """-ln(1 - x) of every frequency (n,), summed over the windows."""
    return np.asarray(-np.log1p(-np.minimum(shares, MOST_EXPLAINED)).sum(axis=1))


def _damped_step(gradient: DoubleArray, hessian: DoubleArray, damping: float) -> DoubleArray:
    """A step uphill, whatever the signs of the Hessian's eigenvalues; each value in units of its own curvature."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-30))
    values, vectors = np.linalg.eigh(hessian * np.outer(scale, scale))
    components = vectors.T @ (scale * gradient)
    return np.asarray(scale * (vectors @ (components / (np.maximum(np.abs(values), 1e-3) + damping))))


def _split_defocus(probe: Probe) -> tuple[float, FloatArray | None]:
    """Defocus (Å, underfocus positive), and the coefficients of chi without it, None if all others are 0.

    chi of defocus is -pi lam df (k_row^2 + k_col^2): the mean of the two quadratic coefficients.
    """
    quadratic = (probe.chi_polynomial[2, 0] + probe.chi_polynomial[0, 2]) / 2
    rest = probe.chi_polynomial.copy()
    rest[2, 0] -= quadratic
    rest[0, 2] -= quadratic
    defocus = -quadratic / (math.pi * probe.wavelength_A)
    return float(defocus), rest.astype(np.float32) if np.abs(rest).max() > 0 else None


def _polynomial(row: Array, column: Array, coefficients: FloatArray) -> Array:
    """Sum of c[i, j] row^i column^j, without unused powers."""
    powers: list[list[Any]] = [[np.float32(1.0)], [np.float32(1.0)]]
    for k, axis in enumerate((row, column)):
        for _ in range(int(np.argwhere(coefficients)[:, k].max())):
            powers[k].append(powers[k][-1] * axis)
    return np.asarray(sum(c * powers[0][i] * powers[1][j] for (i, j), c in np.ndenumerate(coefficients) if c))
