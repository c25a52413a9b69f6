"""Maps and refinements of one scan side by side, and how far they agree: what ``ptylive compare`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.application.export import chosen_maps
from ptylive.engine.analysis.fourier_correlation import without_ramp
from ptylive.engine.analysis.scan_frame import averaged, finer_by, phase_on_scan
from ptylive.engine.imaging import registry
from ptylive.engine.results import read_runs
from ptylive.engine.stored_maps import StoredMaps
from ptylive.engine.stored_run import StoredRun
from ptylive.pictures.colours import ColourMap, levels
from ptylive.pictures.sampling import stretched
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import png
from ptylive.schema import Calibration, LiveMap, MetadataError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import BoolArray, FloatArray

USUAL = ("idpc", "dpc_iterative", "obf", "ssb", "wdd_phase", "tcbf")
"""Maps that are shown where none are named: those of the phase, and the one of bright-field images."""
PHASE = "rad"


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture. limits: of its grey levels, in ``units``; correlation: of a phase with the first refinement, pixel
    by pixel, after ramps are taken out, else None.
    """

    name: str
    label: str
    data: FloatArray
    units: str
    pixel_A: tuple[float, float] | None
    visited: BoolArray | None
    colour_map: ColourMap
    limits: tuple[float, float]
    buried: bool = False
    correlation: float | None = None

    def lines(self, first_run: str | None) -> list[str]:
        """What stands below it."""
        said = [f"{self.limits[0]:.3g} to {self.limits[1]:.3g} {self.units}"]
        if self.buried:
            said.append("nothing but noise")
        elif self.correlation is not None:
            said.append(f"correlation with {first_run}: {self.correlation:.3f}")
        return said


@dataclass(frozen=True)
class Comparison:
    """Pictures of one scan, maps first."""

    shown: list[Shown]
    first_run: str | None

    def correlations(self) -> dict[str, float]:
        """With the first refinement, by name of the map."""
        return {one.name: round(one.correlation, 4) for one in self.shown if one.correlation is not None}

    def write(self, path: Path, in_a_row: int) -> None:
        """As a PNG. Raises OSError."""
        cells = [
            Cell(one.data, one.label, one.lines(self.first_run), one.colour_map, one.visited, one.pixel_A)
            for one in self.shown
        ]
        with replacing(path) as temporary:
            temporary.write_bytes(png(sheet(cells, in_a_row)))


def compare(results: Path, names: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> Comparison:
    """Maps (USUAL ones, or those of ``names``) and refinements (the chosen one, or ``runs``) of a results file.

    Every picture has the field of the maps, in the frame of the scan. Raises InputFileError, and MetadataError for a
    map or a refinement that is not there, and where no map has a scale.
    """
    stored = StoredMaps.read(results)
    maps = chosen_maps(stored, [name for name in USUAL if name in stored.maps] if names is None else names, results)
    refined = [StoredRun.read(results, run) for run in runs] if runs is not None else _chosen_run(results)
    if not refined:
        return Comparison([_map(one, stored.coverage) for one in maps], None)
    rotation = Calibration.from_attributes(stored.calibration).rotation_deg
    field = next((one for one in maps if one.sampling_A is not None), None)
    if field is None:
        raise MetadataError(f"{results}: the scale of its maps is not known", "make them with --set scan_step_A=…")
    shown = [_map(one, stored.coverage, refined[0], rotation) for one in maps]
    shown += [_refined(run, field, rotation) for run in refined]
    return Comparison(shown, refined[0].name)


def _chosen_run(results: Path) -> list[StoredRun]:
    """The chosen refinement, where there is any. Raises InputFileError."""
    return [StoredRun.read(results)] if read_runs(results) else []


def _map(
    live_map: LiveMap, coverage: BoolArray | None, run: StoredRun | None = None, rotation_deg: float = 0.0
) -> Shown:
    """A map, and how far it agrees with a refinement, where both are phases."""
    visited = None if coverage is None or coverage.all() else stretched(coverage, live_map.data.shape)
    kind = next((one for one in registry.describe() if one["name"] == live_map.name), {})
    correlation = None
    if run is not None and live_map.units == PHASE and live_map.sampling_A is not None:
        shape = (live_map.data.shape[0], live_map.data.shape[1])
        finer = finer_by(run, shape, live_map.sampling_A)
        fine = phase_on_scan(run, shape, live_map.sampling_A, rotation_deg, finer)
        correlation = _correlation(live_map.data, averaged(fine, finer), visited)
    return Shown(
        live_map.name,
        str(kind.get("label", live_map.name)),
        live_map.data,
        live_map.units,
        live_map.sampling_A,
        visited,
        ColourMap(str(kind.get("colour_map", ColourMap.GRAY))),
        levels(live_map.data, visited),
        live_map.buried,
        correlation,
    )


def _correlation(one: FloatArray, other: FloatArray, visited: BoolArray | None) -> float | None:
    """Of two pictures without their ramps; None where one of them is flat."""
    level = [without_ramp(each, visited) for each in (one, other)]
    first, second = (each.ravel() if visited is None else each[visited] for each in level)
    if not (first.std() > 0 and second.std() > 0):
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _refined(run: StoredRun, field: LiveMap, rotation_deg: float) -> Shown:
    """The phase of a refinement on the field of a map."""
    shape, sampling = (field.data.shape[0], field.data.shape[1]), field.sampling_A or (1.0, 1.0)
    finer = finer_by(run, shape, sampling)
    phase = phase_on_scan(run, shape, sampling, rotation_deg, finer)
    slices = "1 slice" if run.slices == 1 else f"{run.slices} slices"
    pixel = (sampling[0] / finer, sampling[1] / finer)
    label = f"refined phase ({run.name}, {slices})"
    return Shown(run.name, label, phase, PHASE, pixel, None, ColourMap.MAGMA, levels(phase, None))
