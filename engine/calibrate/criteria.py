"""How well trial optics explain a scan (docs/theory/calibration.md).

J1 is the power of the aligned bright field: sharp far from focus, blind in focus. J2 is the energy that a weak phase
object explains: exact in and out of focus, with many false maxima. A scan with steps longer than half the resolution
shows frequencies of the object beyond its own Nyquist limit: each observed frequency may be any of its aliases that the
bright field can carry, and is assigned to the one that explains most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from ptylive.engine.bases.protocol import Weighting
from ptylive.engine.calibrate.modulation import FIT_FREQUENCIES, Modulation
from ptylive.engine.calibrate.sign import ranked
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import ImagingConditions, Part
from ptylive.engine.probe import Probe
from ptylive.schema.model import ComplexArray, DoubleArray, IndexArray
from ptylive.schema.scan import rotation_matrix

GRID_FREQUENCIES = 80
"""Number of the brightest frequencies on which J1 is evaluated all over the grid; climbs use all of them."""
ALIASED_FREQUENCIES = 16
"""The same for J3: each frequency is examined at up to ``TOO_MANY`` aliases."""
UNDERSAMPLED, TOO_MANY = 1.5, 40
"""Aliases per frequency, on average, from which a scan is undersampled, and from which they carry no information."""
MOST_ALIASES, LEAST_FREQUENCIES = 1500, 60
"""Number of aliases of the brightest frequencies examined together, and least number of these frequencies."""
FINEST_A = 1.0
"""Shortest period of an alias of a lattice: lattices show hardly anything beyond. For atoms at arbitrary places, as
much lies beyond as the aperture transmits."""
REGULARISATION = 0.02
"""Added to the information about a frequency, which is at most of the order of 1: optics that transfer next to nothing
of it would otherwise explain its noise."""
LEAST_LEFT = 1e-6
"""Lower limit of the unexplained share of a frequency's energy, of which logarithms are taken."""
CLEAR_OF_NOISE = 6.5
"""Standard deviations above what a single trial explains of noise."""


@dataclass(frozen=True, eq=False)
class Aliases:
    """Possible true values of a scan's frequencies: each itself, and shifted by whole sampling frequencies."""

    q: DoubleArray
    """(m, 2) along the scan axes, 1/Å, grouped by frequency."""
    owner: IndexArray
    """(m,) index of the frequency that each belongs to, ascending."""
    first: IndexArray
    """(nq,) index of the first alias of each frequency."""

    @classmethod
    def of(cls, q_scan: DoubleArray, step_A: tuple[float, float], limit_invA: float) -> Aliases:
        """Return all aliases of frequencies (nq, 2) below a limit (1/Å), at least the frequency itself."""
        most = [math.ceil(limit_invA * step) for step in step_A]
        offsets = [np.arange(-n, n + 1) / step for n, step in zip(most, step_A, strict=True)]
        shifted = q_scan[:, None] + np.stack(np.meshgrid(*offsets, indexing="ij"), -1).reshape(1, -1, 2)
        is_own = np.arange(shifted.shape[1]) == shifted.shape[1] // 2
        owner, alias = np.nonzero((np.hypot(shifted[..., 0], shifted[..., 1]) < limit_invA) | is_own)
        return cls(shifted[owner, alias], owner, np.searchsorted(owner, np.arange(len(q_scan))))

    @classmethod
    def if_usable(
        cls, q_scan: DoubleArray, step_A: tuple[float, float], limit_invA: float, too_many: float
    ) -> Aliases | None:
        """Return the aliases below a limit, 1/Å, of frequencies (nq, 2); None for hardly any, or too many of each."""
        if cls.least(step_A, limit_invA) >= too_many:  # those of steps far apart would not fit into memory
            return None
        found = cls.of(q_scan, step_A, limit_invA)
        return found if UNDERSAMPLED < found.each < too_many else None

    @staticmethod
    def least(step_A: tuple[float, float], limit_invA: float) -> int:
        """Number of aliases below a limit (1/Å) that any frequency has at least: those in the square within it."""
        return math.prod(math.floor(math.sqrt(2.0) * limit_invA * step) for step in step_A)

    @classmethod
    def none(cls, q_scan: DoubleArray) -> Aliases:
        """Return an instance in which each of the frequencies (nq, 2) has no alias but itself."""
        number = np.arange(len(q_scan))
        return cls(q_scan, number, number)

    @cached_property
    def chance(self) -> float:
        """Ratio of what the best alias and a single one explain of noise: the mean harmonic number."""
        counts = np.bincount(self.owner)
        return float(np.mean([(1.0 / np.arange(1, n + 1)).sum() for n in counts]))

    @property
    def each(self) -> float:
        """Average number of aliases of a frequency, itself included."""
        return len(self.q) / len(self.first)

    def of_first(self, count: int) -> Aliases:
        """Return the aliases of the first frequencies only."""
        if count >= len(self.first):
            return self
        stop = int(self.first[count])
        return Aliases(self.q[:stop], self.owner[:stop], self.first[:count])

    def spread(self, values: ComplexArray) -> ComplexArray:
        """Return values (N, nq or more) of frequencies, repeated for each alias (N, m)."""
        return values if len(self.q) == values.shape[1] else values[:, self.owner]

    def best(self, values: DoubleArray) -> IndexArray:
        """Return the index (nq,) of the largest of the values (m,) of each frequency."""
        order = np.lexsort((values, self.owner))
        return np.asarray(order[np.append(self.first[1:], len(values)) - 1])

    def largest(self, values: DoubleArray) -> DoubleArray:
        """Return the largest (nq,) of the values (m,) among the aliases of each frequency."""
        return np.maximum.reduceat(values, self.first) if len(values) else values


class Criteria:
    """J1 and J2 of trial optics on one scan. Parameters (4,): C10, C12a, C12b in Å and rotation in rad.

    ``fixed``: higher aberrations used in every trial, Krivanek coefficients in Å.
    """

    def __init__(self, modulation: Modulation, conditions: ImagingConditions, fixed: Mapping[str, float]) -> None:
        self.modulation, self.fixed, self.conditions = modulation, dict(fixed), conditions
        self._dual = conditions.basis.dual(modulation.spectra)
        self.aliases = Aliases.none(modulation.q_scan)

    @cached_property
    def per_noise(self) -> Weighting:
        """Weighting of transfers (N, nq) by the noise of the scan's mean pattern."""
        return self.conditions.basis.per_noise(self.modulation.mean)

    @property
    def coefficients(self) -> int:
        """Number of coefficients of a frame."""
        return self.conditions.basis.count

    def over_chance(self, share: float) -> float:
        """Return a share of the energy relative to what a single trial would explain of noise."""
        return share * self.coefficients / self.aliases.chance

    @property
    def above_chance(self) -> float:
        """Ratio to chance that a fit must reach; noise alone brings the best trial to 4 standard deviations above 1.

        The energy explained by chance follows an exponential law at each frequency.
        """
        return 1.0 + CLEAR_OF_NOISE / math.sqrt(len(self.modulation.q_scan))

    @property
    def wavelength_A(self) -> float:
        """Electron wavelength."""
        return self.conditions.probe.wavelength_A

    @property
    def semiangle_rad(self) -> float:
        """Aperture radius as an angle."""
        return self.conditions.probe.semiangle_invA * self.wavelength_A

    def with_fixed(self, fixed: Mapping[str, float]) -> Criteria:
        """Return the criteria with other higher aberrations."""
        changed = copy(self)
        changed.fixed = dict(fixed)
        return changed

    @property
    def has_aliases(self) -> bool:
        """Whether frequencies may be aliases of others."""
        return len(self.aliases.q) > len(self.aliases.first)

    def with_aliases(self) -> Criteria | None:
        """Return the criteria with aliases of the frequencies; None if there are hardly any, or too many."""
        aliases = self.possible_aliases(TOO_MANY)
        return None if aliases is None else Criteria.among(self, aliases, MOST_ALIASES, LEAST_FREQUENCIES)

    @classmethod
    def among(cls, criteria: Criteria, aliases: Aliases, most: int, least: int) -> Self:
        """Return criteria of the brightest frequencies with about ``most`` aliases, at least ``least`` frequencies."""
        modulation = criteria.modulation.brightest(max(least, round(most / aliases.each)))
        selected = cls(modulation, criteria.conditions, criteria.fixed)
        selected.aliases = aliases.of_first(len(modulation.q_scan))
        return selected

    def possible_aliases(self, too_many: float) -> Aliases | None:
        """Return the possible aliases of the frequencies; None if there are hardly any, or too many."""
        limit = 2 * self.conditions.probe.semiangle_invA
        if self.modulation.peaked:
            limit = min(limit, 1 / FINEST_A)
        return Aliases.if_usable(self.modulation.q_scan, self.conditions.step_A, limit, too_many)

    def transposed(self) -> Self:
        """Return the criteria with the detector's axes swapped."""
        grid = self.conditions.grid
        mirrored = copy(self)
        mirrored.conditions = replace(self.conditions, grid=DetectorGrid(grid.k_col, grid.k_row, grid.pixel))
        return mirrored

    def _trial(self, parameters: DoubleArray, q_scan: DoubleArray) -> tuple[ImagingConditions, DoubleArray]:
        """Return trial optics, and frequencies (n, 2) along the scan axes rotated into the detector frame."""
        c10, c12a, c12b, rotation = (float(p) for p in parameters)
        probe = self.conditions.probe
        mrad = probe.semiangle_invA * probe.wavelength_A * 1e3
        aberrations = {**self.fixed, "C10": c10, "C12a": c12a, "C12b": c12b}
        trial = self.conditions.with_probe(Probe.of(probe.wavelength_A, mrad, probe.edge_invA, aberrations))
        return trial, q_scan @ rotation_matrix(math.degrees(rotation)).T

    def aligned_power(self, parameters: DoubleArray) -> float:
        """J1: power of the aligned bright field, normalised by the power of its own filter."""
        trial, q = self._trial(parameters, self.modulation.q_scan)
        weights, norm = trial.aligned_shifts_with_norm(q)
        image = np.einsum("nq,nq->q", weights, self.modulation.spectra)
        return float((np.abs(image) ** 2 / np.maximum(norm, 1e-12)).sum())

    def quick_power(self, c10_A: float, rotation: float) -> float:
        """J1 of a defocus (Å) and a rotation (rad) without its norm, on fewer frequencies: for the grid."""
        trial, q = self._trial(np.array([c10_A, 0.0, 0.0, rotation]), self.modulation.q_scan[:GRID_FREQUENCIES])
        image = np.einsum("nq,nq->q", trial.shift_sums(q), self._dual[:, : len(q)])
        return float((np.abs(image) ** 2).sum())

    def explained_energy(self, parameters: DoubleArray) -> float:
        """J2: energy that a weak phase object explains, with a free phase at each of the brightest frequencies."""
        return float(self._explained(parameters, FIT_FREQUENCIES).sum())

    def unexplained(self, parameters: DoubleArray, frequencies: int = FIT_FREQUENCIES) -> DoubleArray:
        """Return the unexplained share (nq,) of the energy of each of the brightest frequencies, above 0."""
        total = self._totals[:frequencies]
        return np.asarray(np.maximum(1.0 - self._explained(parameters, frequencies) / total, LEAST_LEFT))

    def evenly_explained(self, parameters: DoubleArray, frequencies: int = FIT_FREQUENCIES) -> float:
        """J3: sum over frequencies of the logarithm of total over unexplained energy.

        A likelihood for the case that the share of each frequency that no weak phase object explains is unknown: a few
        bright frequencies do not outweigh the others, as they do in J2.
        """
        return float(-np.log(self.unexplained(parameters, frequencies)).sum())

    @cached_property
    def _totals(self) -> DoubleArray:
        spectra = self.modulation.spectra[:, :FIT_FREQUENCIES]
        total = np.einsum("nq,nq->q", self.per_noise(spectra).conj(), spectra).real
        return np.asarray(np.maximum(total, np.finfo(np.float32).tiny), float)

    def _explained(self, parameters: DoubleArray, frequencies: int) -> DoubleArray:
        """Return the energy (nq,) explained by the best alias of each frequency."""
        aliases = self.aliases.of_first(frequencies)
        return aliases.largest(self._energies(parameters, aliases))

    def _energies(self, parameters: DoubleArray, aliases: Aliases) -> DoubleArray:
        """Return the energy (m,) that each alias explains."""
        transfer = self.transfer(parameters, aliases.q)
        weights = self.per_noise(transfer).conj()
        image = np.einsum("nq,nq->q", weights, aliases.spread(self.modulation.spectra))
        information = np.einsum("nq,nq->q", weights, transfer).real
        return np.asarray(np.abs(image) ** 2 / (information + REGULARISATION))

    def transfer(self, parameters: DoubleArray, q_scan: DoubleArray, part: Part = Part.WHOLE) -> ComplexArray:
        """Return the weak-phase transfer (N, n) of trial optics at frequencies (n, 2) along the scan axes."""
        trial, q = self._trial(parameters, q_scan)
        return trial.transfer(q, part)

    def seen_as(self, parameters: DoubleArray) -> DoubleArray:
        """Return the brightest frequencies (nq, 2), each replaced by its alias that explains most."""
        aliases = self.aliases.of_first(FIT_FREQUENCIES)
        if len(aliases.q) == len(aliases.first):
            return aliases.q
        return aliases.q[aliases.best(self._energies(parameters, aliases))]

    def quickly_explained(self, c10_A: float, rotation: float) -> float:
        """J3 of a defocus (Å) and a rotation (rad) on few frequencies: for the grid of an undersampled scan."""
        return self.evenly_explained(np.array([c10_A, 0.0, 0.0, rotation]), ALIASED_FREQUENCIES)

    def energy(self, c10_A: float, rotation: float) -> float:
        """J2 of a defocus (Å) and a rotation (rad): for the grid of a scan of few electrons."""
        return self.explained_energy(np.array([c10_A, 0.0, 0.0, rotation]))

    def explained_share(self, parameters: DoubleArray) -> float:
        """Return J2 as a share of the total energy, both weighted by noise."""
        spectra = self.modulation.spectra
        total = np.einsum("nq,nq->", self.per_noise(spectra).conj(), spectra).real
        return self.explained_energy(parameters) / max(float(total), 1e-30)


def lead(residual: DoubleArray, other_residual: DoubleArray) -> float:
    """Return the lead of optics over others, in standard deviations; positive if they leave less of most frequencies.

    Both are unexplained shares (nq,) of the energy of each frequency. Wilcoxon's signed-rank test (1945) on the
    logarithms of the ratios: a few bright frequencies do not decide.
    """
    ratios = np.log(other_residual / residual)
    n = len(ratios)
    return float((np.sign(ratios) * ranked(np.abs(ratios))).sum()) / math.sqrt(n * (n + 1) * (2 * n + 1) / 6)
