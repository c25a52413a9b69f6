"""Maps and refinements of one scan side by side, and their agreement, for ``ptylive compare``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.application.export import chosen_maps
from ptylive.engine.analysis.scan_frame import ScanFrame, averaged, finer_by, lit, phase_on_scan, wraps
from ptylive.engine.imaging import registry
from ptylive.engine.imaging.noise.deviation import is_deviation
from ptylive.engine.refine.results.ring_correlation import without_ramp
from ptylive.engine.stored_maps import StoredMaps
from ptylive.engine.stored_run import StoredRun
from ptylive.pictures.colours import ColourMap, levels
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import png
from ptylive.schema import LiveMap, MetadataError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import BoolArray, FloatArray

USUAL = ("idpc", "dpc_iterative", "obf", "ssb", "wdd_phase", "tcbf")
"""Maps shown if none are named: those of the phase, and the one of bright-field images."""
PHASE = "rad"
LEAST_POINTS = 9
"""Fewer points than this correlate by chance."""


@dataclass(frozen=True, eq=False)
class ComparedPicture:
    """One picture. limits: of its grey levels, in ``units``; correlation: of a phase with the first refinement, pixel
    by pixel, after subtracting ramps, otherwise None; doubt: why it is greyed out;
    sure: its uncertainty, one line each; caveat: why it means little although it is not noise.
    """

    name: str
    label: str
    data: FloatArray
    units: str
    pixel_A: tuple[float, float] | None
    visited: BoolArray | None
    colour_map: ColourMap
    limits: tuple[float, float]
    doubt: str = ""
    correlation: float | None = None
    sure: tuple[str, ...] = ()
    caveat: str = ""

    def lines(self, first_run: str | None) -> list[str]:
        """The caption."""
        text_lines = [f"{self.limits[0]:.3g} to {self.limits[1]:.3g} {self.units}"]
        text_lines += self.sure
        text_lines += [part for part in self.caveat.split(": ") if part]
        if self.doubt:
            text_lines.append(self.doubt)
        elif self.correlation is not None:
            text_lines.append(f"correlation with {first_run}: {self.correlation:.3f}")
        return text_lines


@dataclass(frozen=True)
class Comparison:
    """Pictures of one scan, maps first."""

    shown: list[ComparedPicture]
    first_run: str | None

    def correlations(self) -> dict[str, float]:
        """Correlations with the first refinement, by name of the map."""
        return {shown.name: round(shown.correlation, 4) for shown in self.shown if shown.correlation is not None}

    def picture(self, in_a_row: int) -> bytes:
        """Render as a PNG."""
        cells = [
            Cell(
                shown.data,
                shown.label,
                shown.lines(self.first_run),
                shown.colour_map,
                shown.visited,
                shown.pixel_A,
                doubt=shown.doubt,
            )
            for shown in self.shown
        ]
        return png(sheet(cells, in_a_row))

    def write(self, path: Path, in_a_row: int) -> None:
        """Write the PNG to a file. Raises OSError."""
        picture = self.picture(in_a_row)
        with replacing(path) as temporary:
            temporary.write_bytes(picture)


def compare(results: Path, names: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> Comparison:
    """Maps (USUAL ones, or those of ``names``) and refinements (the chosen one, or ``runs``) of a results file. For a
    file that has none of the usual maps all its maps are shown.

    Every picture covers the field of the maps, in the frame of the scan. Raises InputFileError, and MetadataError for a
    map or a refinement that does not exist, and if no map has a scale.
    """
    stored = StoredMaps.read(results)
    usual = [name for name in USUAL if name in stored.maps] or list(stored.maps)
    maps = chosen_maps(stored, usual if names is None else names, results)
    if runs is None and not StoredRun.is_in(results):
        return Comparison([shown_map(live_map, stored.visited(live_map)) for live_map in maps], None)
    refined = [StoredRun.read(results)] if runs is None else [StoredRun.read(results, run) for run in runs]
    field = next((live_map for live_map in maps if live_map.sampling_A is not None), None)
    if field is None:
        raise MetadataError(f"{results}: the scale of its maps is not known", "make them with --set scan_step_A=…")
    first = AlignedRefinement(refined[0], stored)
    shown = [shown_map(live_map, stored.visited(live_map), first) for live_map in maps]
    shown += [AlignedRefinement(run, stored).shown(field) for run in refined]
    return Comparison(shown, refined[0].name)


def shown_map(live_map: LiveMap, visited: BoolArray | None, beside: AlignedRefinement | None = None) -> ComparedPicture:
    """A map, and its agreement with a refinement, if both are phases."""
    kind = next((description for description in registry.describe() if description["name"] == live_map.name), {})
    is_phase = live_map.units == PHASE and not is_deviation(live_map.name)
    correlation = beside.correlation(live_map, visited) if beside is not None and is_phase else None
    return ComparedPicture(
        live_map.name,
        str(kind.get("label", live_map.name)),
        live_map.data,
        live_map.units,
        live_map.sampling_A,
        visited,
        ColourMap(str(kind.get("colour_map", ColourMap.GRAY))),
        levels(live_map.data, visited),
        live_map.doubt,
        correlation,
        tuple(live_map.certainty()),
        live_map.caveat,
    )


class AlignedRefinement:
    """A refinement on the field of maps in the same file."""

    def __init__(self, run: StoredRun, stored: StoredMaps) -> None:
        self._run, self._stored = run, stored
        self._wraps = wraps(run)
        self._read: dict[tuple[object, ...], tuple[FloatArray, BoolArray]] = {}

    def shown(self, field: LiveMap) -> ComparedPicture:
        """Its phase on the field of a map, without pixels that received no light."""
        phase, lit_there = self._phase(field)
        finer = phase.shape[0] // field.data.shape[0]
        sampling = field.sampling_A or (1.0, 1.0)
        visited = None if lit_there.all() else np.kron(lit_there, np.ones((finer, finer), dtype=bool))
        slices = "1 slice" if self._run.slices == 1 else f"{self._run.slices} slices"
        label = f"refined phase ({self._run.name}, {slices})" + (", wrapped" if self._wraps else "")
        pixel = (sampling[0] / finer, sampling[1] / finer)
        return ComparedPicture(
            self._run.name, label, phase, PHASE, pixel, visited, ColourMap.MAGMA, levels(phase, visited)
        )

    def correlation(self, live_map: LiveMap, visited: BoolArray | None) -> float | None:
        """Correlation with a map, without ramps, where both are valid; None if it is undefined or one is flat.

        The average of a wrapped phase over a pixel of the map is not a phase.
        """
        if live_map.sampling_A is None or self._wraps:
            return None
        phase, common = self._phase(live_map)
        common = common & np.isfinite(live_map.data) & (True if visited is None else visited)
        if np.count_nonzero(common) < LEAST_POINTS:
            return None
        map_values = np.where(common, live_map.data, 0)
        phase_values = averaged(phase, phase.shape[0] // live_map.data.shape[0])
        first, second = (without_ramp(values, common)[common] for values in (map_values, phase_values))
        if not (first.std() > 0 and second.std() > 0):
            return None
        return float(np.corrcoef(first, second)[0, 1])

    def _phase(self, live_map: LiveMap) -> tuple[FloatArray, BoolArray]:
        """On the field of a map: the phase (finer Y, finer X), and the map's pixels (Y, X) that received light."""
        shape, sampling = (live_map.data.shape[0], live_map.data.shape[1]), live_map.sampling_A or (1.0, 1.0)
        key = (shape, sampling, live_map.is_placed, str(live_map.settings.get("origin_A")))
        if key not in self._read:
            coverage = self._stored.coverage
            points = shape if coverage is None or live_map.is_placed else coverage.shape
            step = self._stored.step_A(live_map)
            frame = self._frame(live_map, (points[0], points[1]), step)
            finer = finer_by(self._run, shape, sampling)
            phase = phase_on_scan(self._run, frame, shape, sampling, finer)
            self._read[key] = phase, lit(self._run, frame, shape, sampling, math.hypot(*step))
        return self._read[key]

    def _frame(self, live_map: LiveMap, points: tuple[int, int], step: tuple[float, float]) -> ScanFrame:
        """Frame of the maps: from the refined positions if possible, otherwise from the file."""
        rotation_deg = self._stored.rotation_deg
        if live_map.is_placed:
            origin_A, axes_deg = live_map.frame(rotation_deg)
            return ScanFrame.turned(axes_deg, origin_A)
        return ScanFrame.of_positions(self._run.positions_A, points, step) or ScanFrame.turned(rotation_deg)
