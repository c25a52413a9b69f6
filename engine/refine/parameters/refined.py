"""Refined quantities other than object and probe, in the units of the results file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.schema.model import Array, ComplexArray, DoubleArray, IndexArray


@dataclass(frozen=True)
class ScanReport:
    """Result for several scans of one place that were refined together, in the order in which they were given."""

    names: tuple[str, ...]
    tilts_mrad: DoubleArray
    """(scans, 2) tilts of the specimen."""
    shifts_A: DoubleArray
    """(scans, 2) refined shifts, relative to the shifts at the start of the run."""
    currents: DoubleArray
    """(scans,) beam current relative to that of the first scan."""
    patterns: IndexArray
    """(scans,) number of patterns of each scan; the patterns of the first scan come first."""


@dataclass(frozen=True)
class Refined:
    """Refined quantities other than object and probe; None for those that were fixed."""

    positions_A: DoubleArray
    """(N, 2), with the mean of the nominal positions."""
    common_shift_A: DoubleArray
    """(2,) shift of all positions that was removed: the object moves with it."""
    moved: bool = False
    """Whether positions were refined individually."""
    beam_current: DoubleArray | None = None
    """(N,) relative to the mean."""
    background: DoubleArray | None = None
    """(P, P) counts, zero frequency at [P // 2, P // 2]."""
    slice_distances_A: tuple[float, ...] | None = None
    aberrations_A: DoubleArray | None = None
    """(n,) added to the calibration's aberrations, Å; (parts of the scan, n) where these differ."""
    aberration_names: tuple[str, ...] = ()
    tilts_mrad: DoubleArray | None = None
    """(N or 1, 6) tangents before, inside and behind the specimen, (row, col) each."""
    relative_thickness: DoubleArray | None = None
    """(N,) slice distances of each pattern, relative to the common distances."""
    detector_psf_px: float | None = None
    """Standard deviation of the detector's Gaussian point spread, pixels."""
    opr_components: ComplexArray | None = None
    """(n, P, P) components of the probe's first mode, real space; orthogonal, strongest first, each with its power."""
    opr_coefficients: DoubleArray | None = None
    """(N, n) coefficient of each component in each pattern's probe, with mean 0."""
    scans: ScanReport | None = None
    """Result for several scans refined together; positions then refer to the middle of the specimen."""

    @classmethod
    def of(
        cls, values: Mapping[BlockName, Array], nominal_A: DoubleArray, shifts_px: DoubleArray, pixel_A: float
    ) -> Refined:
        """Create from the blocks of a parameter vector; ``shifts_px`` belong to the nominal positions."""
        positions, common = np.asarray(nominal_A, dtype=np.float64), np.zeros(2)
        if BlockName.SHIFTS in values:
            moved = (values[BlockName.SHIFTS] - shifts_px) * pixel_A
            common = moved.mean(axis=0)
            positions = positions + (moved - common)
        background, current = values.get(BlockName.BACKGROUND), values.get(BlockName.CURRENT)
        return cls(
            positions_A=positions,
            common_shift_A=common,
            moved=BlockName.SHIFTS in values,
            beam_current=None if current is None else np.asarray(current / current.mean(), dtype=np.float64),
            background=None if background is None else np.fft.fftshift(background).astype(np.float64),
            slice_distances_A=_numbers(values.get(BlockName.DISTANCES)),
            aberrations_A=_double(values.get(BlockName.ABERRATIONS)),
            tilts_mrad=_double(values.get(BlockName.TILTS)),
            relative_thickness=None if (stretch := _double(values.get(BlockName.STRETCH))) is None else 1 + stretch,
            detector_psf_px=None if BlockName.SPREAD not in values else float(values[BlockName.SPREAD][0]) ** 0.5,
        )

    def of_scans(self, scans: ScanReport, of_pattern: IndexArray) -> Refined:
        """Return a copy with the results for the scans; ``of_pattern`` (N,) is the scan number of each pattern."""
        return replace(self, scans=scans, positions_A=self.positions_A + scans.shifts_A[of_pattern])


def _double(values: Array | None) -> DoubleArray | None:
    return None if values is None else np.asarray(values, dtype=np.float64)


def _numbers(values: Array | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)
