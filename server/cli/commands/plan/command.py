"""The command ``plan``: figures of an experiment from options, a scan file, or both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ptylive.schema import MetadataError
from ptylive.schema.metadata import check_given_once
from ptylive.schema.units import kind_of_unit, number_and_unit
from ptylive.server.cli.options import AsJson, Settings
from ptylive.server.cli.output import answer
from ptylive.server.cli.values import parse_assignments, parse_value

EXAMPLES = """
ptylive plan --energy "80 keV" --semi-angle "21.4 mrad" --step "0.4 A" --defocus "15 nm" --pixel "0.8 mrad"
ptylive plan scan.h5 --current "10 pA" --thickness "20 nm"
ptylive plan scan.h5 --current "10 pA" --dwell "100 us" --suggest
ptylive plan scan.h5 --thickness "20 nm" --time
ptylive plan scan.h5 --step 0.8 --set astigmatism_A=30 --json
"""


def _option(short: str, name: str, meaning: str, metavar: str = "VALUE") -> Any:
    """Make an option with a short name and the name of its metadata."""
    return typer.Option(short, f"--{name}", metavar=metavar, help=meaning, show_default=False)


Value = str | None


def plan(
    file: Annotated[
        Path | None, typer.Argument(help="scan file to read metadata from; options override it", readable=False)
    ] = None,
    energy: Annotated[Value, _option("--energy", "energy_eV", "beam energy: '80 keV'")] = None,
    semi_angle: Annotated[
        Value, _option("--semi-angle", "convergence_semiangle_mrad", "convergence semi-angle: '25 mrad'")
    ] = None,
    step: Annotated[Value, _option("--step", "scan_step_A", "scan step: '0.4 Å', or rows,columns")] = None,
    scan: Annotated[Value, _option("--scan", "scan_shape", "scan points", "ROWS,COLUMNS")] = None,
    detector: Annotated[Value, _option("--detector", "detector_shape", "detector pixels", "ROWS,COLUMNS")] = None,
    pixel: Annotated[
        Value, _option("--pixel", "detector_pixel_mrad", "detector pixel size: '0.8 mrad', '0.02 1/Å'")
    ] = None,
    defocus: Annotated[Value, _option("--defocus", "defocus_A", "defocus, positive for underfocus: '15 nm'")] = None,
    current: Annotated[Value, _option("--current", "beam_current_pA", "beam current: '10 pA'")] = None,
    dwell: Annotated[Value, _option("--dwell", "dwell_time_us", "dwell time per pattern: '100 us'")] = None,
    dose: Annotated[Value, _option("--dose", "dose_e_per_A2", "dose, instead of the current: '1e4 e/Å²'")] = None,
    thickness: Annotated[Value, _option("--thickness", "thickness_A", "specimen thickness: '20 nm'")] = None,
    suggest: Annotated[
        bool,
        typer.Option("--suggest", help="suggest a step or defocus that gives 70 to 80 % overlap, at the same dose"),
    ] = False,
    time: Annotated[
        bool, typer.Option("--time", help="measure on this machine how long a refinement takes (some seconds)")
    ] = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show before an experiment what its numbers mean: sampling, overlap, dose, depth, memory and time."""
    from ptylive.application.planning import plan as planned

    options = {
        "energy_eV": energy,
        "convergence_semiangle_mrad": semi_angle,
        "scan_step_A": step,
        "scan_shape": scan,
        "detector_shape": detector,
        _pixel_name(pixel): pixel,
        "defocus_A": defocus,
        "beam_current_pA": current,
        "dwell_time_us": dwell,
        "dose_e_per_A2": dose,
        "thickness_A": thickness,
    }
    given = {name: parse_value(text.strip()) for name, text in options.items() if text is not None}
    table = planned(file, measure_time=time, **_merged(given, parse_assignments(settings or ())))
    if suggest and not table.suggestions:
        needed = "energy_eV, convergence_semiangle_mrad and scan_step_A"
        raise MetadataError(
            f"nothing can be suggested without {needed}", "give what is missing, or leave out --suggest"
        )
    if as_json:
        answer(table.to_plain(), as_json=True)
        return
    suggested = [suggestion.words for suggestion in table.suggestions] if suggest else []
    sys.stdout.write("\n".join([repr(table), *([""] if suggested else []), *suggested]) + "\n")


def _pixel_name(text: str | None) -> str:
    """Return the metadata name of a detector pixel in its unit: an angle, or a spatial frequency."""
    read = number_and_unit(text) if text is not None else None
    return "detector_pixel_invA" if read is not None and kind_of_unit(read[1]) == "frequency" else "detector_pixel_mrad"


def _merged(given: dict[str, Any], assigned: dict[str, Any]) -> dict[str, Any]:
    """Merge options and values set by name. Raises MetadataError for a value given both ways."""
    merged = {**given, **assigned}
    twice = next((name for name in given if name in assigned), None)
    if twice is not None:
        raise MetadataError(f"{twice} is given twice", f"give the option or --set {twice}=…")
    check_given_once(merged)
    return merged
