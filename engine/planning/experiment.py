"""What is known of an experiment before its first pattern: metadata of its future file, and values no file holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from ptylive.engine.probe import Probe
from ptylive.schema import MetadataError, ScanHeader
from ptylive.schema.model import DoubleArray
from ptylive.schema.units import ELECTRONS_PER_PA_US, invA_to_mrad

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Experiment:
    """A scan that may not have been made yet; names and units are those of docs/conventions.md.

    Values that were not given are listed by :meth:`lacking`, and their properties raise MetadataError.
    """

    header: ScanHeader
    beam_current_pA: float | None = None
    """Current of the probe on the specimen."""
    dose_e_per_A2: float | None = None
    """Electrons per Å² of specimen, given instead of the current."""
    thickness_A: float | None = None
    free_bytes: float = math.inf
    """Memory that may be used."""
    timed: bool = False
    """Whether the duration of a refinement on this machine is measured."""

    @cached_property
    def known(self) -> frozenset[str]:
        """Names of known values; ``beam_current_pA`` counts as known also if it follows from the dose."""
        scan, optics, detector = self.header.scan, self.header.optics, self.header.detector
        values = {
            "energy_eV": optics.energy_eV,
            "convergence_semiangle_mrad": optics.convergence_semiangle_mrad,
            "scan_step_A": scan.step_A or scan.matrix,
            "scan_shape": scan.shape,
            "detector_shape": detector.shape,
            "detector_pixel_mrad": detector.pixel_mrad or (optics.energy_eV and detector.pixel_invA),
            "dwell_time_us": scan.dwell_time_us,
            "thickness_A": self.thickness_A,
        }
        names = {name for name, value in values.items() if value is not None}
        by_current = self.beam_current_pA is not None and "dwell_time_us" in names
        by_dose = self.dose_e_per_A2 is not None and "scan_step_A" in names
        return frozenset(names | ({"beam_current_pA"} if by_current or by_dose else set()))

    def lacking(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of the names that are unknown, or else the values needed to derive them."""
        lacking = [name for name in names if name not in self.known]
        if "beam_current_pA" in lacking and self.beam_current_pA is not None:
            lacking[lacking.index("beam_current_pA")] = "dwell_time_us"
        elif "beam_current_pA" in lacking and self.dose_e_per_A2 is not None:
            lacking[lacking.index("beam_current_pA")] = "scan_step_A"
        elif "beam_current_pA" in lacking and "dwell_time_us" not in self.known:
            lacking.append("dwell_time_us")
        return tuple(dict.fromkeys(lacking))

    @property
    def wavelength_A(self) -> float:
        """Relativistic wavelength, Å."""
        return _given("energy_eV", self.header.optics.wavelength_A)

    @property
    def semiangle_mrad(self) -> float:
        """Probe semi-angle, mrad."""
        return _given("convergence_semiangle_mrad", self.header.optics.convergence_semiangle_mrad)

    @property
    def pixel_mrad(self) -> float:
        """Angle of a detector pixel, mrad; a pixel given in 1/Å takes precedence, as in calibrations."""
        detector = self.header.detector
        if detector.pixel_invA is not None:
            return invA_to_mrad(detector.pixel_invA, self.wavelength_A)
        return _given("detector_pixel_mrad", detector.pixel_mrad)

    @property
    def detector_shape(self) -> tuple[int, int]:
        """Pixels (rows, cols) of a pattern."""
        return _given("detector_shape", self.header.detector.shape)

    @property
    def scan_shape(self) -> tuple[int, int]:
        """Scan points (rows, cols)."""
        return self.header.scan.require_shape()

    @property
    def cell_A(self) -> DoubleArray:
        """(2, 2): columns are the vectors from a point to those in the next row and in the next column, Å."""
        scan = self.header.scan
        if scan.matrix is not None:
            return np.asarray(scan.matrix, dtype=float)
        return np.diag(_given("scan_step_A", scan.step_A))

    @property
    def steps_A(self) -> tuple[float, float]:
        """Distance between points of neighbouring rows, and of neighbouring columns, Å."""
        rows, cols = np.linalg.norm(self.cell_A, axis=0)
        return float(rows), float(cols)

    @property
    def longer_step_A(self) -> float:
        """The longer of both steps, Å: neighbours overlap least along it."""
        return max(self.steps_A)

    @property
    def cell_area_A2(self) -> float:
        """Area per scan point, Å²."""
        return abs(float(np.linalg.det(self.cell_A)))

    @property
    def defocus_A(self) -> float:
        """Defocus at the specimen's entrance, positive for underfocus; 0 if it was not given."""
        return -self.header.optics.aberrations.get("C10", 0.0)

    def probe(self, below_A: float = 0.0) -> Probe:
        """Return the probe at some depth below the entrance: in underfocus it converges there first."""
        aberrations = dict(self.header.optics.aberrations)
        aberrations["C10"] = aberrations.get("C10", 0.0) + below_A
        edge_invA = 1e-6 * self.semiangle_mrad / self.wavelength_A  # the figures depend on the angle alone
        return Probe.of(self.wavelength_A, self.semiangle_mrad, edge_invA, aberrations)

    @property
    def half_angle_mrad(self) -> float:
        """Angle between the beam and the nearest edge of the detector, mrad; the beam is central unless given."""
        rows, cols = self.detector_shape
        row, col = self.header.detector.beam_center_px or ((rows - 1) / 2, (cols - 1) / 2)
        edges = (row + 0.5, rows - 0.5 - row, col + 0.5, cols - 0.5 - col)
        return max(0.0, min(edges)) * self.pixel_mrad

    @property
    def electrons_per_pattern(self) -> float:
        """Electrons that hit the specimen during one pattern."""
        if self.dose_e_per_A2 is not None:
            return self.dose_e_per_A2 * self.cell_area_A2 / self.header.scan.repeats
        return _given("beam_current_pA", self.beam_current_pA) * self.frame_time_us * ELECTRONS_PER_PA_US

    @property
    def frame_time_us(self) -> float:
        """Time of one pattern, µs: detectors report the exposure of a frame, also if a point has several."""
        return _given("dwell_time_us", self.header.scan.dwell_time_us)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a pattern as recorded, uncompressed."""
        basis = self.header.basis
        if not basis.is_raw:
            return (basis.n_bright + basis.n_dark + len(basis.extra)) * self.header.frame_dtype.itemsize
        rows, cols = self.detector_shape
        return rows * cols * self.header.frame_dtype.itemsize


def _given(name: str, value: _T | None) -> _T:
    """Return a required value. Raises MetadataError if it is None."""
    if value is None:
        raise MetadataError(f"{name} is not known", f"give {name}")
    return value
