"""How well trial optics explain a scan (docs/theory/calibration.md).

J1 is the power of the aligned bright field: sharp far from focus, blind in focus. J2 is the energy a weak phase object
explains: exact in and out of focus, with many false maxima.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import replace

import numpy as np

from ptylive.engine.calibrate.modulation import FIT_FREQUENCIES, Modulation
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.probe import Probe
from ptylive.schema.model import DoubleArray
from ptylive.schema.scan import rotation_matrix

GRID_FREQUENCIES = 80
REGULARISATION = 0.02


class Criteria:
    """J1 and J2 of trial optics on one scan. Parameters: C10, C12a, C12b in Å and rotation in rad.

    ``fixed``: higher aberrations of every trial, Krivanek coefficients in Å.
    """

    def __init__(self, modulation: Modulation, conditions: ImagingConditions, fixed: Mapping[str, float]) -> None:
        self.modulation, self.fixed, self.conditions = modulation, dict(fixed), conditions
        self._dual = conditions.basis.dual(modulation.spectra)

    @property
    def coefficients(self) -> int:
        """Coefficients of a frame."""
        return self.conditions.basis.count

    @property
    def wavelength_A(self) -> float:
        """Electron wavelength."""
        return self.conditions.probe.wavelength_A

    @property
    def semiangle_rad(self) -> float:
        """Aperture radius as an angle."""
        return self.conditions.probe.semiangle_invA * self.wavelength_A

    def with_fixed(self, fixed: Mapping[str, float]) -> Criteria:
        """The same with other higher aberrations."""
        other = copy(self)
        other.fixed = dict(fixed)
        return other

    def transposed(self) -> Criteria:
        """The same with the detector's axes swapped."""
        grid = self.conditions.grid
        swapped = replace(self.conditions, grid=DetectorGrid(grid.k_col, grid.k_row, grid.pixel))
        return Criteria(self.modulation, swapped, self.fixed)

    def _trial(self, parameters: DoubleArray, count: int) -> tuple[ImagingConditions, DoubleArray]:
        c10, c12a, c12b, rotation = (float(p) for p in parameters)
        probe = self.conditions.probe
        mrad = probe.semiangle_invA * probe.wavelength_A * 1e3
        aberrations = {**self.fixed, "C10": c10, "C12a": c12a, "C12b": c12b}
        trial = self.conditions.with_probe(Probe.of(probe.wavelength_A, mrad, probe.edge_invA, aberrations))
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
        total = np.einsum("nq,nq->", self.conditions.basis.per_noise(spectra, mean).conj(), spectra).real
        return self.explained_energy(parameters) / max(float(total), 1e-30)
