"""Several scans of one place at different specimen tilts, as specified by the settings.

One object is refined from all patterns; each scan sees it sheared by its own tilt. Tilts of some tens of mrad resolve
depth far better than the probe's convergence does (tilt-coupled multislice ptychography: Dong et al., Nature
Communications 16 (2025) 1219; for whole tomograms Romanov et al., J. Phys. Mater. (2024), and You et al.,
arXiv:2407.19407).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.engine.refine.parameters.refined import ScanReport
from ptylive.engine.refine.parameters.scan_quantities import (
    CURRENT,
    QUANTITIES,
    SHIFT,
    TILT,
    ScanQuantities,
    pivot_A,
)
from ptylive.engine.refine.problem.measurement import Measurement
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray
from ptylive.schema.preset.object import ObjectSettings
from ptylive.schema.preset.patterns import ScansSettings
from ptylive.schema.preset.refined import RefinedSettings

LOOKED_PATTERNS = 256
"""Number of patterns of each scan used to estimate its beam current and how much its patterns differ."""
LEAST_CHANGING = 1e-4
"""Least share of the light that a tilt changes, for a specimen that hardly scatters: a curvature must not vanish."""
LARGE = 1.0
"""Factor on the curvatures, which only scale steps and are better overestimated."""


@dataclass(frozen=True)
class TiltSeries:
    """The scans of one measurement."""

    of_pattern: IndexArray
    names: tuple[str, ...]
    tilts_mrad: FloatArray
    """(scans, 2) tilts."""
    depth_A: float
    """Depth from the first slice to the last."""
    moving: frozenset[str]
    currents: FloatArray
    """(scans,) beam current relative to the first scan."""
    changing: float
    """Share of the intensity that changes from place to place: only this share locates a scan."""

    @classmethod
    def of(
        cls, measured: Measurement, scans: ScansSettings, thick: ObjectSettings, refined: RefinedSettings
    ) -> TiltSeries | None:
        """Build the series from measurement and settings; None if there is only one scan."""
        of_pattern, given = measured.dataset.scan_of, scans.scan_tilts_mrad
        if of_pattern is None or given is None:
            return None
        per_pattern = {"shifts": refined.update_probe_pos, "currents": refined.update_beam_current}
        moving = frozenset(name for name in scans.update_scans if not per_pattern.get(name, False))
        return cls(
            of_pattern,
            measured.dataset.scan_names,
            np.asarray(given, dtype=np.float32),
            float(sum(thick.spacings_A)),
            moving,
            *_light(measured.window.patterns, of_pattern, len(given)),
        )

    @property
    def start(self) -> FloatArray:
        """(scans, 5) start values of the block."""
        values = np.zeros((len(self.tilts_mrad), QUANTITIES), np.float32)
        values[:, TILT] = self.tilts_mrad
        values[:, CURRENT] = self.currents
        return values

    @property
    def tilts_of_patterns(self) -> FloatArray:
        """(N, 6) tilts of the patterns, mrad."""
        tilts = np.zeros((len(self.of_pattern), 6), np.float32)
        tilts[:, 2:4] = self.tilts_mrad[self.of_pattern]
        return tilts

    def entered_A(self, positions_A: DoubleArray) -> DoubleArray:
        """(N, 2) positions at the entrance surface of patterns located at ``positions_A`` in the specimen's middle."""
        return np.asarray(positions_A + pivot_A(self.of_pattern, self.tilts_mrad, self.depth_A))

    def quantities(self, grid: ObjectGrid) -> ScanQuantities | None:
        """Scan quantities that are refined; None if there are none."""
        if not self.moving:
            return None
        half_px = self.depth_A / 2 / grid.pixel_A
        scans = len(self.tilts_mrad)
        return ScanQuantities(
            self.of_pattern, scans, grid.shifts_px, self.tilts_mrad, half_px, grid.pixel_A, self.moving
        )

    def curvature(self, of_shift: Array, of_tilt: Array, of_current: float) -> FloatArray:
        """(scans, 5) curvatures from those of one pattern per Å, mrad and share; infinite for fixed quantities.

        ``of_shift`` and ``of_tilt`` are those of the wave itself. Counts depend on a displacement only as far as
        patterns change: measured curvatures were 0.6 to 1.6 of that share, for phases of 0.1 and 0.35 rad per atom.
        """
        patterns = np.bincount(self.of_pattern, minlength=len(self.tilts_mrad)).astype(np.float64)
        per_scan = np.full((len(patterns), QUANTITIES), np.inf)
        not_first = slice(1, None)
        if "shifts" in self.moving:
            per_scan[not_first, SHIFT] = LARGE * self.changing * of_shift
        if "tilts" in self.moving:
            per_scan[not_first, TILT] = LARGE * self.changing * of_tilt
        if "currents" in self.moving:
            per_scan[not_first, CURRENT] = of_current
        return (per_scan * np.maximum(patterns, 1)[:, None]).astype(np.float32)

    def report(self, values: Array | None) -> ScanReport:
        """Report on the scans; ``values``: the block (scans, 5), None if nothing was refined."""
        block = np.asarray(self.start if values is None else values, dtype=np.float64)
        patterns = np.bincount(self.of_pattern, minlength=len(block))
        return ScanReport(self.names, block[:, TILT], block[:, SHIFT], block[:, CURRENT], patterns)


def _light(patterns: Array, of_pattern: IndexArray, scans: int) -> tuple[FloatArray, float]:
    """(scans,) mean counts of each scan relative to the first, and the share of all counts that varies with position.

    The former is 1 for a scan without patterns or counts. Counting noise adds 1/4 to the variance of a root.
    """
    counts, changing, light = np.full(scans, np.nan), 0.0, 0.0
    for scan in range(scans):
        indices = np.flatnonzero(of_pattern == scan)
        if not len(indices):
            continue
        sampled = np.asarray(patterns[indices[:: max(1, len(indices) // LOOKED_PATTERNS)]], dtype=np.float64)
        mean = sampled.mean(axis=0)
        changing += float(np.maximum(np.sqrt(sampled).var(axis=0) - np.minimum(mean, 0.25), 0).sum())
        light += float(mean.sum())
        counts[scan] = mean.sum() if mean.any() else np.nan
    relative = counts / counts[0]
    share = min(1.0, max(changing / max(light, 1e-30), LEAST_CHANGING))
    return np.where(np.isfinite(relative), relative, 1.0).astype(np.float32), share
