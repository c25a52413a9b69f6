"""The command ``dose``: add up recordings of one place, and predict the effect of more dose."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptylive.schema import MetadataError, PtyliveError
from ptylive.schema.advice.words import dose_number
from ptylive.server.cli.options import AsJson, Backend, Settings, checked_backend
from ptylive.server.cli.output import answer, bar, end_partial, say
from ptylive.server.cli.values import parse_assignments

if TYPE_CHECKING:
    from ptylive.application.analysis.dose import DoseStep

MOST_FILES = 64

EXAMPLES = """
ptylive dose scan1.h5 scan2.h5 scan3.h5
ptylive dose scan.h5 --json                      # of one scan: what twice and four times the dose would bring
ptylive dose scan1.h5 scan2.h5 -o sum.h5 --set energy_eV=80e3
"""


def dose(
    files: Annotated[
        list[Path], typer.Argument(help="scan files, native or foreign, in the order of recording", readable=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="results file for the mean map of the last place", readable=False),
    ] = None,
    settings: Settings = None,
    backend: Backend = "auto",
    as_json: AsJson = False,
) -> None:
    """Add up scans of the same place: information limit against dose, and what more dose would gain."""
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.application.analysis.dose import add_recordings, holds_mean
    from ptylive.application.outputs import check_own_hdf5
    from ptylive.streamer.vetting.whole_file import vet

    checked_backend(backend)
    if len(files) > MOST_FILES:
        raise MetadataError(f"{len(files)} files: at most {MOST_FILES} can be added up", "give fewer")
    values = parse_assignments(settings or ())
    if output is not None:
        check_own_hdf5(output, files, "dose", holds_mean)
    for file in files:
        vet(file, values, *([] if output is None else [output]))
    curves: list[tuple[Path, dict[str, Any]]] = []
    missing: list[str] = []
    last: DoseStep | None = None  # a step holds everything made from its scan: keep only one
    with bar("adding up", quiet=as_json) as shown:
        for step in add_recordings(files, values, backend, shown.update):
            if step.curve is None:
                missing.append(f"{step.path}: {step.problem}")
                continue
            last = step
            curves.append((step.path, step.curve.to_plain()))
            if not as_json:
                say(f"{step.path.name}: {step.curve.line}")
    if last is None:
        raise PtyliveError(
            f"no information limit could be measured from any of the scans: {'; '.join(missing)}",
            "is there a specimen?",
        )
    if output is not None:
        _write(output, last)
    _print(curves, missing, as_json=as_json)
    if missing:
        end_partial("; ".join(missing))


def _print(curves: Sequence[tuple[Path, dict[str, Any]]], missing: list[str], *, as_json: bool) -> None:
    """Print the curves after each file as one JSON line, or the last one as a table."""
    if as_json:
        steps = [{"file": str(path), **curve} for path, curve in curves]
        answer({"steps": steps, "line": curves[-1][1]["line"], "missing": missing}, as_json=True)
    else:
        sys.stdout.write(f"{table(curves[-1][1])}\n{curves[-1][1]['line']}\n")


def table(curve: dict[str, Any]) -> str:
    """Return the points of a curve as lines of text."""
    lines = ["scans  dose/Å²      information limit, Å     predicted from the first, Å"]
    predicted = {point["scans"]: point for point in curve["predicted"]}
    for kind in ("measured", "expected"):
        for point in curve[kind]:
            name = f"{point['scans']:g}" + ("" if kind == "measured" else " *")
            expected = _limit(predicted[point["scans"]]) if point["scans"] in predicted else ""
            dose = "–" if point["dose"] is None else dose_number(point["dose"])
            lines.append(f"{name:<6} {dose:<11} {_limit(point):<24} {expected}".rstrip())
    return "\n".join([*lines, *(["* expected if nothing changes"] if curve["expected"] else [])])


def _limit(point: dict[str, Any]) -> str:
    if point["limit_A"] is None:
        return "cannot tell"
    if point["finer"]:
        return f"{point['limit_A']:.3g} or finer"
    return f"{point['limit_A']:.3g} ({point['finest_A']:.3g} to {point['coarsest_A']:.3g})"


def _write(output: Path, step: Any) -> None:
    """Write the mean map to a results file."""
    from ptylive.engine.live.evaluation import backend_of
    from ptylive.engine.results import describe_run, write_maps

    engine = step.made.engine
    description = describe_run(" ".join(sys.argv), backend_of(engine.computed_on))
    write_maps(output, [step.mean], engine.coverage, step.made.calibration, description)
