"""The properties of a scan that determine which place it shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from ptylive.engine.repeats.field import LEAST_SIDE_PX
from ptylive.schema.maps import LiveMap
from ptylive.schema.model import DoubleArray
from ptylive.schema.scan_header import ScanHeader

MAPS = ("obf", "tcbf")
"""Maps whose signal and noise are measured, the better one first."""
MOST_PIXELS = 2048 * 2048
LEAST_VISITED = 0.9
"""Share of its points below which a scan cannot be compared: agreement falls with the part that both show."""
ALIKE = 1e-3
"""Relative difference up to which steps and optics are the same."""


@dataclass(frozen=True, eq=False)
class RepeatedScan:
    """A scan: its map, its dose per Å² in ``unit`` if known, and numbers that its repeats must share."""

    uid: str
    series: str
    live_map: LiveMap
    optics: tuple[float, ...] = ()
    dose: float | None = None
    unit: str = "counts"

    @classmethod
    def of(cls, header: ScanHeader, maps: Iterable[LiveMap], mean: DoubleArray | None = None) -> Self | None:
        """Make it from a scan's header, maps and mean pattern; None if no map can identify the place."""
        by_name = {candidate.name: candidate for candidate in maps}
        live_map = next((by_name[name] for name in MAPS if name in by_name), None)
        if live_map is None:
            return None
        values = (header.optics.energy_eV, header.optics.convergence_semiangle_mrad, *(header.scan.step_A or ()))
        dose, unit = dose_per_A2(header, mean)
        return cls(header.uid, header.series, live_map, tuple(float(v or 0.0) for v in values), dose, unit)

    @property
    def problem(self) -> str:
        """Why its place cannot be determined; empty if it can."""
        live_map = self.live_map
        if live_map.quality is None or live_map.sampling_A is None or len(live_map.quality.frequency_invA) < 3:
            return "the quality of its map is not known"
        rows, columns = live_map.data.shape
        if min(rows, columns) < LEAST_SIDE_PX:
            return f"a map of {rows} x {columns} pixels is too small to compare, less than {LEAST_SIDE_PX} on a side"
        if rows * columns > MOST_PIXELS:
            return f"a map of {rows} x {columns} pixels is too large to compare"
        return "its map shows only noise" if live_map.buried else ""

    @property
    def is_incomplete(self) -> bool:
        """Whether the scan ended so early that it cannot be compared with others."""
        return self.live_map.visited < LEAST_VISITED

    def is_like(self, other: RepeatedScan) -> bool:
        """Return whether map, step, size and optics are the same."""
        mine, theirs = self.live_map, other.live_map
        numbers, others = (*(mine.sampling_A or ()), *self.optics), (*(theirs.sampling_A or ()), *other.optics)
        if (mine.name, mine.data.shape, len(numbers)) != (theirs.name, theirs.data.shape, len(others)):
            return False
        return bool(np.allclose(numbers, others, rtol=ALIKE, atol=0.0))


def dose_per_A2(header: ScanHeader, mean: DoubleArray | None) -> tuple[float | None, str]:
    """Return a scan's mean dose per Å² from its mean pattern (Qy, Qx), and its unit: e if counts are calibrated."""
    step, gain = header.scan.step_A, header.detector.counts_per_electron
    unit = "counts" if gain is None else "e"
    if mean is None or step is None:
        return None, unit
    return float(mean.sum()) / (gain or 1.0) / (step[0] * step[1]), unit
