"""Contents of a report on a scan, read from its results file: maps, calibration, refinements, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.application.comparison import ComparedPicture, compare, shown_map
from ptylive.application.export import chosen_maps
from ptylive.application.report.elements import Detail, Picture
from ptylive.application.report.refined import RunSection
from ptylive.engine.damaged_files import FAULTS, damaged
from ptylive.engine.stored_maps import StoredMaps
from ptylive.engine.stored_run import StoredRun
from ptylive.pictures.sheet import Cell
from ptylive.schema import Calibration, LiveMap, MetadataError
from ptylive.schema.advice import advise
from ptylive.schema.advice.orientation import rival_words
from ptylive.schema.advice.words import dose_text
from ptylive.schema.calibration import RIVALS, Quantity
from ptylive.schema.plausible import PLAUSIBLE

FIRST = ("obf", "tcbf", "idpc", "dpc_iterative", "ssb", "wdd_phase", "adf", "bf")
"""Maps of a report if none are named, in this order."""
UNITS = {"disc_radius_px": "px", "electrons_per_pattern": "e", "depth_A": "Å"}
"""Units of calibrated values that users do not enter."""


@dataclass(frozen=True)
class Report:
    """Report on one scan. ``calibration``: name, value with unit, origin; ``advice``: empty if there is none."""

    title: str
    details: tuple[Detail, ...]
    pictures: tuple[Picture, ...]
    calibration: tuple[tuple[str, str, str], ...]
    advice: str
    runs: tuple[RunSection, ...]
    provenance: tuple[Detail, ...]


def read_report(results: Path, maps: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> Report:
    """Report on a results file: FIRST of its maps, or those of ``maps``; the chosen refinement, or ``runs``.

    A file without any of FIRST is shown with as many others. Raises InputFileError; MetadataError for a map that does
    not exist, and for a file with nothing to report.
    """
    stored = StoredMaps.read(results)
    default_maps = [name for name in FIRST if name in stored.maps] or list(stored.maps)[: len(FIRST)]
    names = default_maps if maps is None else list(maps)
    shown_maps = chosen_maps(stored, names, results) if names else []
    default_runs: Sequence[str | None] = [None] if StoredRun.is_in(results) else []
    refined = [StoredRun.read(results, name) for name in (default_runs if runs is None else runs)]
    if not shown_maps and not refined:
        raise MetadataError(f"{results} holds neither maps nor a refinement", "reconstruct or refine the scan first")
    calibration = Calibration.from_attributes(stored.calibration)
    return Report(
        title=results.stem.removesuffix("_results"),
        details=_details(stored, shown_maps),
        pictures=tuple(_picture(shown, refined) for shown in _shown(results, stored, shown_maps, refined)),
        calibration=tuple(
            (name, spelt(name, quantity), str(quantity.origin)) for name, quantity in calibration.entries.items()
        ),
        advice=advise(calibration).line,
        runs=tuple(RunSection.of(run) for run in refined),
        provenance=_provenance(results),
    )


def spelt(name: str, quantity: Quantity) -> str:
    """Format a calibrated value with its uncertainty and unit."""
    value = quantity.value
    if isinstance(value, str) or value is None:
        return str(value)
    if name == "dose_e_per_A2":
        return dose_text(value)
    if name == RIVALS:
        return "; ".join(rival_words(rival) for rival in Calibration({name: quantity}).rivals)
    numbers = np.asarray(value, dtype=float).ravel()
    text = ", ".join(f"{number:.5g}" for number in numbers + 0.0)  # no negative zero
    if quantity.uncertainty is not None:
        text += f" ± {quantity.uncertainty:.2g}"
    rule = PLAUSIBLE.get(name)
    return f"{text} {UNITS.get(name, '') if rule is None else rule.unit}".strip()


def _details(stored: StoredMaps, maps: Sequence[LiveMap]) -> tuple[Detail, ...]:
    """Details of the scan: its points, and how many of them arrived."""
    details: list[Detail] = []
    if stored.coverage is not None:
        rows, columns = stored.coverage.shape
        visited = int(np.count_nonzero(stored.coverage))
        details.append(("scan", f"{rows} × {columns} points"))
        details.append(("patterns", f"{visited} ({100 * visited / stored.coverage.size:.4g} % of the points)"))
    scaled = next((live_map for live_map in maps if live_map.sampling_A is not None), None)
    if scaled is not None and scaled.sampling_A is not None:
        field = [n * step / 10 for n, step in zip(scaled.data.shape, scaled.sampling_A, strict=True)]
        details.append(("field", f"{field[0]:.4g} × {field[1]:.4g} nm"))
    return tuple(details)


def _shown(
    results: Path, stored: StoredMaps, maps: Sequence[LiveMap], refined: Sequence[StoredRun]
) -> list[ComparedPicture]:
    """Refined phases on the field of the maps, if that is known, then the maps with their agreement."""
    if refined and any(live_map.sampling_A is not None for live_map in maps):
        shown = compare(results, [live_map.name for live_map in maps], [run.name for run in refined]).shown
        return [*shown[len(maps) :], *shown[: len(maps)]]
    return [shown_map(live_map, stored.visited(live_map)) for live_map in maps]


def _picture(shown: ComparedPicture, refined: Sequence[StoredRun]) -> Picture:
    lines = shown.lines(refined[0].name if refined else None)
    return Picture.of(Cell(shown.data, shown.label, lines, shown.colour_map, shown.visited, shown.pixel_A))


def _provenance(results: Path) -> tuple[Detail, ...]:
    """Program that wrote the file, its source, and the time. Raises InputFileError."""
    import h5py

    try:
        with h5py.File(results, "r") as file:
            attributes = dict(file["settings"].attrs) if "settings" in file else {}
    except FAULTS as error:
        raise damaged(results, error) from None
    details = [(name.replace("_", " "), str(np.asarray(value).tolist())) for name, value in attributes.items()]
    return (("results file", results.name), *details)
