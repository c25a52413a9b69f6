"""``ptylive analyse``."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptylive.schema import MetadataError, PtyliveError
from ptylive.server.cli.options import AsJson, Settings
from ptylive.server.cli.output import Shown, answer, bar, end_partial, say, when_interrupted
from ptylive.server.cli.values import parse_assignments

if TYPE_CHECKING:
    from ptylive.application.analysis.figures import Analysis
    from ptylive.engine.analysis.half_dose import HalfDose
    from ptylive.engine.analysis.sections import Point
    from ptylive.engine.refine.results.refinement_result import Progress
    from ptylive.engine.stored_run import StoredRun

EXAMPLES = """
ptylive analyse refined.h5 analysis/
ptylive analyse refined.h5 analysis/ --with other.h5      # ring and shell correlation with another run
ptylive analyse refined.h5 analysis/ --half-dose scan.h5  # refines two halves of the dose
ptylive analyse refined.h5 analysis/ --order 5 --log refined.loss.csv   # aberrations to C56, the log by column
"""


def analyse(
    results: Annotated[Path, typer.Argument(help="results file", readable=False)],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="folder for analysis.json and pictures", readable=False)
    ],
    run: Annotated[str | None, typer.Option(help="which refinement; default: the chosen one")] = None,
    other: Annotated[
        Path | None,
        typer.Option(
            "--with", metavar="RESULTS", help="compare with this file by ring and shell correlation", readable=False
        ),
    ] = None,
    other_run: Annotated[str | None, typer.Option("--with-run", help="which refinement of the other file")] = None,
    line: Annotated[
        str | None,
        typer.Option(metavar="ROW,COL,ROW,COL", help="depth section below this line, Å; default: the middle row"),
    ] = None,
    radius: Annotated[float, typer.Option(min=0.05, help="smallest distance between atom columns, Å")] = 0.6,
    half_dose: Annotated[
        Path | None,
        typer.Option(metavar="RECORDING", help="refine two halves of the dose and compare them", readable=False),
    ] = None,
    order: Annotated[int, typer.Option(min=3, max=8, help="highest order of the aberrations fitted to the probe")] = 3,
    log: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="log of losses, from ptylive or PyPty: one chart per column", readable=False),
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Analyse a reconstruction: resolution, probe, aberrations, atom columns, depth section."""
    from ptylive.application.analysis.figures import STEPS
    from ptylive.application.analysis.figures import analyse as look
    from ptylive.application.analysis.own_analysis import check_analysis
    from ptylive.application.analysis.waves import add_log
    from ptylive.application.outputs import check_output_folder, merge_waiting
    from ptylive.engine.stored_run import StoredRun
    from ptylive.streamer.vetting.whole_file import vet

    line_A = parse_line(line)
    check_output_folder(folder)
    check_analysis(folder)
    for file in (results, *([] if other is None else [other])):
        merge_waiting(file, say)
    if half_dose is not None:
        vet(half_dose, parse_assignments(settings or ()))
    stored = StoredRun.read(results, run)
    second = None if other is None and other_run is None else StoredRun.read(other or results, other_run)
    when_stopped = f"nothing was written to {folder}; begin again with the same command"
    with when_interrupted(when_stopped), bar(f"analysing {stored.name}", quiet=as_json) as shown:
        steps = Steps(shown, STEPS + (second is not None) + (half_dose is not None) + 1)
        found = look(stored, line_A=line_A, radius_A=radius, order=order, on_step=steps)
        if log is not None:
            add_log(found.figures, found.pages, log)
        missing = _compared(found, stored, second, steps)
        if half_dose is not None:
            missing += _half_dosed(found, (results, stored), half_dose, parse_assignments(settings or ()), steps)
        steps("writing")
        files = found.write(folder)
    brief = {"probe_powers": found.figures["probe"]["powers"], "columns": found.figures["columns"]["number"]}
    for name in ("ring_correlation", "shell_correlation"):
        if name in found.figures:
            brief[f"{name}_A"] = found.figures[name]["resolution_A"]
    if "half_dose" in found.figures:
        brief["half_dose_A"] = found.figures["half_dose"]["rings"]["resolution_A"]
    answer({"file": str(results), "run": stored.name, **brief, "files": [str(f) for f in files]}, as_json=as_json)
    if missing:
        end_partial("; ".join(missing))


class Steps:
    """Counter of the steps of an analysis, for the person at the terminal."""

    def __init__(self, shown: Shown, total: int) -> None:
        self._shown, self._total, self._done = shown, total, -1

    def __call__(self, words: str) -> None:
        """Begin the next step; the previous one is done."""
        self._done += 1
        self._shown.update(self._done, self._total, f"analysing: {words}")

    def inside(self, share: float, words: str) -> None:
        """Show the progress of the current step, 0 to 1."""
        self._shown.update(round(self._done + share, 3), self._total, f"analysing: {words}")


def _compared(found: Analysis, stored: StoredRun, second: StoredRun | None, steps: Steps) -> list[str]:
    """Add the comparison with another run; return what is missing if they cannot be compared."""
    from ptylive.application.analysis.figures import compare

    if second is None:
        return []
    steps(f"comparison with {second.name}")
    try:
        compare(found, stored, second)
    except PtyliveError as error:
        return [f"no comparison with {second.name}: {error.line()}"]
    return []


def _half_dosed(
    found: Analysis, of: tuple[Path, StoredRun], recording: Path, values: dict[str, object], steps: Steps
) -> list[str]:
    """Add the agreement of two halves of the dose; return what is missing if it cannot be computed."""
    from ptylive.application.analysis.figures import add_half_dose

    steps("halves of the dose")
    try:
        add_half_dose(found, _halves(recording, *of, values, steps))
    except PtyliveError as error:
        return [f"halves of the dose were not compared: {error.line()}"]
    return []


def parse_line(text: str | None) -> tuple[Point, Point] | None:
    """Parse the two points of a line. Raises MetadataError."""
    if text is None:
        return None
    try:
        a, b, c, d = (float(part) for part in text.split(","))
        if not math.isfinite(a + b + c + d):
            raise ValueError(text)
    except ValueError:
        raise MetadataError(f"--line {text!r} is not ROW,COL,ROW,COL", "four numbers, Å") from None
    return (a, b), (c, d)


def _halves(recording: Path, results: Path, stored: StoredRun, values: dict[str, object], steps: Steps) -> HalfDose:
    """Compare two refinements of half the dose each, with the run's preset and calibration."""
    from ptylive.application.offline import refinable
    from ptylive.application.outputs import other_scan
    from ptylive.engine.analysis.half_dose import compare_half_doses
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.engine.refine.tuning.depth.depth_choice import with_depth_of
    from ptylive.streamer.source import open_source

    use_persistent_cache()
    with open_source(recording, values) as source:
        if remark := other_scan(results, source):
            say(remark)
        scan = refinable(source, stored.calibration)
        found = with_depth_of(scan, stored.preset, stored.slices, sum(stored.slice_thickness_A))
        return compare_half_doses(*found, on_progress=partial(report_half, steps))


def report_half(steps: Steps, half: int, progress: Progress) -> None:
    """Show the progress of refining the first (0) or second (1) half of the dose."""
    epochs = max(progress.epochs, 1)
    doing = progress.message if progress.phase == "trial" else f"epoch {progress.epoch} of {epochs}"
    words = f"{('first', 'second')[half]} half of the dose, {doing}"
    steps.inside((half + min(progress.epoch / epochs, 1)) / 2, words)
