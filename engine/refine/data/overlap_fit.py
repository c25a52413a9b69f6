"""How a scan's lattice is strained, by the double overlaps of its strongest frequencies.

The pattern at scan frequency q holds two overlaps of the aperture A with itself, and they lie where the *true* q puts
them, whatever the object is. With G(q), the transform of the patterns over the scan, and the weak-phase model

    W(K, q) = A*(K) A(K - q) e(K, K - q) - A(K) A*(K + q) e(K, K + q)
    e(K, L) = exp(-(pi lam)^2 tau (K^2 - L^2)^2 / 2),    tau: variance of the focus

the share of its energy that W explains is x(q) = |<W, G>|^2 / (<W, W> + floor) / <G, G>, and

    -sum_q ln(1 - x(q))

is its likelihood with an object and a noise level of its own for each frequency: a strong frequency that multiple
scattering takes from the model counts no more than one that is lost in noise. The lattice (4 numbers), defocus and tau
make it largest: Newton's method, damped as Levenberg and Marquardt do, its derivatives by differences of the four
numbers that W depends on. The covariance is H^-1 (sum_q g g^T) H^-1 (White's, 1982): it takes the scatter of the
frequencies as it is, so it holds for a model that is not quite right. G(-q) = G(q)*: half of the frequencies tell all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema.model import Array, DoubleArray, FloatArray

FREQUENCIES, CANDIDATES = 200, 4000
"""Frequencies fitted, and the most energetic ones among which they are chosen."""
LEAST_FREQUENCIES = 12
"""Twice the numbers that are found."""
FURTHEST, NEAREST = 1.9, 2.5
"""Frequencies used: below 1.9 semi-angles, above 2.5 periods in the scan."""
ENERGY_FLOOR = 0.02
"""Share of the aperture's energy added to <W, W>: frequencies without overlap cannot win."""
FIRST_SPREAD_A = 20.0
MOST_PIXELS = 1000
"""Of the bright field: further ones are left out by chance; the scatter of the frequencies sets the uncertainty."""
LARGEST_BYTES, BYTES_EACH = 1 << 29, 32
"""Fewer still where the transforms over the scan, this many bytes for each pixel and point, would take more."""
AT_ONCE, CHUNK = 64, 64
"""Pixels that are transformed together; frequencies that stay in the cache."""
MOST_EXPLAINED = 1 - 1e-6
FREQUENCY_STEP, PHASE_STEP = 0.01, 0.1
"""Differences: of a frequency, in semi-angles; of the focus and its spread, in radians at the rim of the aperture."""
ITERATIONS, ENOUGH = 15, 1e-4
"""Newton steps at most; the last one gained less than this share."""
EVERY = 4
"""One frequency in four is climbed by first: most of the way is made in a quarter of the time."""
DAMPING, MOST_DAMPING = 1e-3, 1e4


@dataclass(frozen=True)
class _Side:
    """One of the two overlaps at frequencies (n,) and pixels."""

    sign: int
    aperture: Array
    """A(K +- q) with the sign it enters by."""
    away_squared: Array
    """((K +- q)^2 - K^2)^2."""
    turn: Array | None
    """Phase of all aberrations but defocus."""


@dataclass(frozen=True)
class _Geometry:
    """What overlaps are made of, whatever the focus."""

    along: Array
    """K.q (n, pixels)."""
    q_squared: Array
    sides: tuple[_Side, ...]


@dataclass(frozen=True)
class Strain:
    """What was found; the ends of a scan's axes are displaced by these, each along (slow, fast) axis."""

    ends_A: DoubleArray
    """(4,): of the slow axis, then of the fast one."""
    covariance_A2: DoubleArray
    """(4, 4)."""
    defocus_A: float
    focal_spread_A: float
    is_maximum: bool
    """Whether the likelihood has its maximum there; otherwise the covariance says nothing."""


def pixels_fitted(lit: int, scan_shape: tuple[int, int]) -> int:
    """How many of the ``lit`` pixels of the bright field are fitted over a scan."""
    return min(lit, max(1, min(MOST_PIXELS, LARGEST_BYTES // (BYTES_EACH * math.prod(scan_shape)))))


class OverlapFit:
    """Likelihood of the strongest scan frequencies as a function of lattice, defocus and variance of the focus.

    ``spectra`` (n, s, pixels): of each frequency, under s windows over the scan; tapered and not, they err
    independently.
    """

    def __init__(self, dataset: Dataset, window: ScanWindow, probe: Probe, lattice: Lattice) -> None:
        self._probe, self._lattice = probe, lattice
        lit = window.measured & (window.k_radius < probe.semiangle_invA + window.pixel_invA)
        pixels = np.argwhere(lit)
        most = pixels_fitted(len(pixels), lattice.shape)
        pixels = pixels[np.sort(np.random.default_rng(0).permutation(len(pixels))[:most])]
        self._k = np.stack([window.k_row[tuple(pixels.T)], window.k_col[tuple(pixels.T)]]).astype(np.float32)
        self._aperture = probe.aperture(*self._k.astype(float)).astype(np.float32)
        self._floor = ENERGY_FLOOR * float((self._aperture**2).sum())
        self._defocus_A, self._rest = _split_defocus(probe)
        self._rest_here = 0.0 if self._rest is None else _polynomial(self._k[0], self._k[1], self._rest)
        self._choose(_half_spectra(dataset, window, pixels))

    def _choose(self, half: tuple[DoubleArray, Array]) -> None:
        """Keep the frequencies that the nominal geometry explains best, each as the alias that does."""
        orders, spectra = half
        parts = np.array_split(spectra, AT_ONCE)  # a copy of all of them would be as large
        energies = np.concatenate([(np.abs(each) ** 2).sum(axis=(1, 2)) for each in parts])
        energetic = np.argsort(-energies, kind="stable")[:CANDIDATES]
        orders, spectra = orders[energetic], spectra[energetic]
        best, chosen = np.full(len(orders), -1.0), orders.copy()
        for alias in np.ndindex(3, 3):
            trial = orders + (np.asarray(alias) - 1) * np.asarray(self._lattice.shape)
            q = self._lattice.frequencies(trial)
            radius = np.hypot(*q.T)
            allowed = radius < FURTHEST * self._probe.semiangle_invA
            allowed &= radius > NEAREST / min(self._lattice.lengths_A)
            energy = np.full(len(trial), -1.0)
            picked = np.flatnonzero(allowed)
            energy[picked] = self._energies(q[picked], spectra[picked], self._defocus_A, 0.0).sum(axis=1)
            better = energy > best
            best[better], chosen[better] = energy[better], trial[better]
        strongest = np.argsort(-best, kind="stable")[: min(FREQUENCIES, int((best > 0).sum()))]
        self._orders, self._spectra = chosen[strongest], spectra[strongest]
        self._totals = np.maximum((np.abs(self._spectra) ** 2).sum(axis=2), 1e-30)

    def fit(self) -> Strain | None:
        """The strain that explains most; None where frequencies are too few, or their patterns hold no numbers."""
        if len(self._orders) < LEAST_FREQUENCIES or not np.isfinite(self._totals).all():
            return None
        values = np.array([0, 0, 0, 0, self._defocus_A, FIRST_SPREAD_A**2])
        if len(self._orders) >= EVERY * LEAST_FREQUENCIES:
            values = max(values, self._highest_of_few(values), key=self._likelihood)
        return self._found(self._highest_from(values))

    def _highest_of_few(self, values: DoubleArray) -> DoubleArray:
        """The values at the maximum of some of the frequencies, weak and strong, that is reached from there."""
        everything = self._orders, self._spectra, self._totals
        self._orders, self._spectra, self._totals = (one[::EVERY] for one in everything)
        try:
            return self._highest_from(values)
        finally:
            self._orders, self._spectra, self._totals = everything

    def _highest_from(self, values: DoubleArray) -> DoubleArray:
        """The values at the maximum that is reached from there."""
        likelihood, damping = self._likelihood(values), DAMPING
        for _ in range(ITERATIONS):
            gradients, hessian, free = self._derivatives(values)
            while damping < MOST_DAMPING:
                trial = values.copy()
                trial[free] += _damped_step(gradients.sum(axis=0), hessian, damping)
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

    def _found(self, values: DoubleArray) -> Strain:
        gradients, hessian, _ = self._derivatives(values)
        scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-30))
        is_maximum = bool(np.linalg.eigvalsh(hessian * np.outer(scale, scale)).max() < 0)
        inverse = np.linalg.pinv(hessian)
        covariance = inverse @ (gradients.T @ gradients) @ inverse
        spread = math.sqrt(values[5])
        return Strain(values[:4], covariance[:4, :4], float(values[4]), spread, is_maximum)

    def _likelihood(self, values: DoubleArray) -> float:
        q = self._frequencies(values)
        return float(self._likelihoods(q, float(values[4]), float(values[5])).sum())

    def _frequencies(self, values: DoubleArray) -> DoubleArray:
        return self._lattice.strained(values[:2], values[2:4]).frequencies(self._orders)

    def _derivatives(self, values: DoubleArray) -> tuple[DoubleArray, DoubleArray, slice]:
        """Gradients (n, m) and the Hessian of the sum (m, m) by the m values that are free: no spread below 0."""
        first, second = self._local_derivatives(values)
        inner = np.zeros((len(self._orders), 4, 6))
        inner[:, 2, 4] = inner[:, 3, 5] = 1
        step = 1e-3 * min(self._lattice.lengths_A)
        for number, ahead in enumerate(step * np.eye(6)[:4]):
            difference = self._frequencies(values + ahead) - self._frequencies(values - ahead)
            inner[:, :2, number] = difference / (2 * step)
        gradients = np.einsum("na,nai->ni", first, inner)
        hessian = np.einsum("nai,nab,nbj->ij", inner, second, inner)
        free = slice(0, 6 if values[5] > 0 or gradients[:, 5].sum() > 0 else 5)
        return gradients[:, free], hessian[free, free], free

    def _local_derivatives(self, values: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """First (n, 4) and second (n, 4, 4) derivatives by the row and column of q, defocus and tau."""
        rim = self._probe.semiangle_invA
        radian_A = 1 / (math.pi * self._probe.wavelength_A * rim**2)
        steps = np.array([FREQUENCY_STEP * rim] * 2 + [PHASE_STEP * radian_A, (PHASE_STEP * radian_A) ** 2])
        q, defocus_A, tau = self._frequencies(values), float(values[4]), max(float(values[5]), steps[3])
        first, second = np.empty((len(q), 4)), np.empty((len(q), 4, 4))
        for begin in range(0, len(q), CHUNK):
            part = slice(begin, begin + CHUNK)
            around = _Around(self, q[part], self._spectra[part], self._totals[part])
            first[part], second[part] = around.derivatives(defocus_A, tau, steps)
        return first, second

    def _likelihoods(self, q: DoubleArray, defocus_A: float, tau: float) -> DoubleArray:
        """-ln(1 - x) of every frequency (n,), summed over the windows."""
        return _unexplained(self._energies(q, self._spectra, defocus_A, tau) / self._totals)

    def _energies(self, q: DoubleArray, spectra: Array, defocus_A: float, tau: float) -> DoubleArray:
        """|<W, G>|^2 / (<W, W> + floor) of every frequency and window (n, s)."""
        out = np.empty(spectra.shape[:2])
        for first in range(0, len(q), CHUNK):
            part = slice(first, first + CHUNK)
            out[part] = self.energies_at(self.geometry(q[part]), spectra[part], defocus_A, tau)
        return out

    def energies_at(self, geometry: _Geometry, spectra: Array, defocus_A: float, tau: float) -> DoubleArray:
        """The same of one chunk."""
        overlap = self._overlap(geometry, defocus_A, tau)
        product = np.abs(np.einsum("nk,nsk->ns", overlap.conj(), spectra)) ** 2
        return np.asarray(product / ((overlap.real**2 + overlap.imag**2).sum(axis=1) + self._floor)[:, None])

    def geometry(self, q: DoubleArray) -> _Geometry:
        """What the overlaps at frequencies (n, 2) are made of, whatever the focus."""
        single = q.astype(np.float32)
        along, q_squared = single @ self._k, (single**2).sum(axis=1, keepdims=True)
        sides = []
        for sign in (-1, 1):
            moved = [self._k[axis] + sign * single[:, axis : axis + 1] for axis in (0, 1)]
            away = q_squared + sign * 2 * along  # (K +- q)^2 - K^2
            turn = None
            if self._rest is not None:
                turn = sign * (_polynomial(moved[0], moved[1], self._rest) - self._rest_here)
            sides.append(_Side(sign, -sign * self._aperture_at(moved), away**2, turn))
        return _Geometry(along, q_squared, tuple(sides))

    def _overlap(self, geometry: _Geometry, defocus_A: float, tau: float) -> Array:
        """W (n, pixels).

        Defocus enters as exp(-2 i f K.q) (A(K-q) exp(i f q^2) - A(K+q) exp(-i f q^2)), f = pi lam df.
        """
        focus = np.float32(math.pi * self._probe.wavelength_A * defocus_A)
        damping = np.float32(-0.5 * (math.pi * self._probe.wavelength_A) ** 2 * tau)
        row: Any = 0.0
        column: Any = 0.0
        for one in geometry.sides:
            side = one.aperture * np.exp(damping * one.away_squared)
            turn: Any = -one.sign * focus * geometry.q_squared
            if one.turn is not None:
                turn = turn + one.turn
            row, column = row + side * np.cos(turn), column + side * np.sin(turn)
        # cosines and sines of single precision are many at a time; complex exponentials are not
        turn = -2 * focus * geometry.along
        cosine, sine = self._aperture * np.cos(turn), self._aperture * np.sin(turn)
        overlap = np.empty(turn.shape, np.complex64)
        overlap.real, overlap.imag = cosine * row - sine * column, cosine * column + sine * row
        return overlap

    def _aperture_at(self, k: list[Array]) -> Array:
        distance = np.float32(self._probe.semiangle_invA) - np.sqrt(k[0] ** 2 + k[1] ** 2)
        return np.asarray(np.clip(distance / np.float32(self._probe.edge_invA) + np.float32(0.5), 0, 1))


class _Around:
    """Likelihoods around the frequencies (n, 2) of a chunk: each is moved once, however often the focus is."""

    def __init__(self, fit: OverlapFit, q: DoubleArray, spectra: Array, totals: DoubleArray) -> None:
        self._fit, self._q, self._spectra, self._totals = fit, q, spectra, totals
        self._made: dict[tuple[float, float], _Geometry] = {}

    def derivatives(self, defocus_A: float, tau: float, steps: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """First (n, 4) and second (n, 4, 4) differences by the row and column of q, defocus and tau."""

        def at(away: DoubleArray) -> DoubleArray:
            geometry = self._moved((float(away[0]), float(away[1])))
            return self._likelihoods(geometry, defocus_A + float(away[2]), tau + float(away[3]))

        ahead = np.diag(steps)
        here, up, down = at(np.zeros(4)), [at(one) for one in ahead], [at(-one) for one in ahead]
        first = np.stack([(up[i] - down[i]) / (2 * steps[i]) for i in range(4)], axis=1)
        second = np.empty((len(self._q), 4, 4))
        for i in range(4):
            second[:, i, i] = (up[i] + down[i] - 2 * here) / steps[i] ** 2
            for j in range(i):
                both = at(ahead[i] + ahead[j]) + at(-ahead[i] - ahead[j]) + 2 * here
                mixed = (both - up[i] - down[i] - up[j] - down[j]) / (2 * steps[i] * steps[j])
                second[:, i, j] = second[:, j, i] = mixed
        return first, second

    def _moved(self, away: tuple[float, float]) -> _Geometry:
        if away not in self._made:
            self._made[away] = self._fit.geometry(self._q + np.array(away))
        return self._made[away]

    def _likelihoods(self, geometry: _Geometry, defocus_A: float, tau: float) -> DoubleArray:
        explained = self._fit.energies_at(geometry, self._spectra, defocus_A, tau) / self._totals
        return _unexplained(explained)


def _unexplained(shares: DoubleArray) -> DoubleArray:
    """-ln(1 - x) of every frequency (n,), summed over the windows."""
    return np.asarray(-np.log1p(-np.minimum(shares, MOST_EXPLAINED)).sum(axis=1))


def _damped_step(gradient: DoubleArray, hessian: DoubleArray, damping: float) -> DoubleArray:
    """Uphill, whatever the signs of the Hessian's eigenvalues; each value in units of its own curvature."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-30))
    values, vectors = np.linalg.eigh(hessian * np.outer(scale, scale))
    along = vectors.T @ (scale * gradient)
    return np.asarray(scale * (vectors @ (along / (np.maximum(np.abs(values), 1e-3) + damping))))


def _split_defocus(probe: Probe) -> tuple[float, FloatArray | None]:
    """Defocus (Å, underfocus positive), and the coefficients of chi without it, None where there are no others.

    chi of defocus is -pi lam df (k_row^2 + k_col^2): the mean of the two quadratic coefficients.
    """
    quadratic = (probe.chi_polynomial[2, 0] + probe.chi_polynomial[0, 2]) / 2
    rest = probe.chi_polynomial.copy()
    rest[2, 0] -= quadratic
    rest[0, 2] -= quadratic
    defocus = -quadratic / (math.pi * probe.wavelength_A)
    return float(defocus), rest.astype(np.float32) if np.abs(rest).max() > 0 else None


def _polynomial(row: Array, column: Array, coefficients: FloatArray) -> Array:
    """Sum of c[i, j] row^i column^j, without the powers that there are not."""
    powers: list[list[Any]] = [[np.float32(1.0)], [np.float32(1.0)]]
    for k, axis in enumerate((row, column)):
        for _ in range(int(np.argwhere(coefficients)[:, k].max())):
            powers[k].append(powers[k][-1] * axis)
    return np.asarray(sum(c * powers[0][i] * powers[1][j] for (i, j), c in np.ndenumerate(coefficients) if c))


def _read(patterns: Array, offsets_px: DoubleArray | None, pixels: Array) -> Array:
    """Counts (n, pixels) of patterns (n, P, P); between pixels where patterns lie beside their place."""
    if offsets_px is None:
        return np.asarray(patterns[:, pixels[:, 0], pixels[:, 1]])
    whole = np.floor(offsets_px).astype(int)
    part, size, number = offsets_px - whole, patterns.shape[-1], np.arange(len(patterns))[:, None]
    found = np.zeros((len(patterns), len(pixels)))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - part[:, :1]) * np.abs(1 - right - part[:, 1:])
            rows = (pixels[:, 0] + whole[:, :1] + down) % size  # zero frequency first
            found += weight * patterns[number, rows, (pixels[:, 1] + whole[:, 1:] + right) % size]
    return found


def _half_spectra(dataset: Dataset, window: ScanWindow, pixels: Array) -> tuple[DoubleArray, Array]:
    """Orders (n, 2) of half of the scan's frequencies, and the chosen pixels there (n, 2 windows, pixels) complex64."""
    import scipy.fft

    rows, columns = dataset.scan_shape
    signal = np.zeros((rows * columns, len(pixels)), np.float32)
    for first in range(0, len(dataset.point), 256):
        part = slice(first, first + 256)
        offsets = None if dataset.offsets_px is None else dataset.offsets_px[part]
        signal[dataset.point[part]] = _read(window.patterns[part], offsets, pixels)
    arrived = np.zeros(rows * columns, dtype=bool)
    arrived[dataset.point] = True
    signal[arrived] -= signal[arrived].mean(axis=0)  # points that never arrived stay at the mean
    cube = signal.reshape(rows, columns, -1)
    hann = np.outer(np.hanning(rows + 2)[1:-1], np.hanning(columns + 2)[1:-1]).astype(np.float32)
    orders = np.stack(np.meshgrid(np.fft.fftfreq(rows, 1 / rows), np.fft.fftfreq(columns, 1 / columns), indexing="ij"))
    flat = orders.reshape(2, -1).T
    half = (flat[:, 0] > 0) | ((flat[:, 0] == 0) & (flat[:, 1] > 0)) | (2 * flat[:, 0] == -rows)
    spectra = np.empty((np.count_nonzero(half), 2, len(pixels)), np.complex64)
    for number, taper in enumerate((np.ones_like(hann), hann / np.sqrt((hann**2).mean()))):
        for first in range(0, len(pixels), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            whole = scipy.fft.fft2(cube[..., some] * taper[..., None], axes=(0, 1), overwrite_x=True)
            spectra[:, number, some] = whole.reshape(rows * columns, -1)[half]
    return flat[half], spectra
