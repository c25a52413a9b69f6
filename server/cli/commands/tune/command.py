"""``ptylive tune``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ptylive.engine.refine.validation.trial_size import (
    LEAST_PATTERNS,
    MOST_SWEEPS,
    MOST_TRIALS,
    PATTERNS,
    SWEEPS,
    TRIALS,
)
from ptylive.schema.errors import MetadataError, PtyliveError, StoppedError
from ptylive.server.cli.commands.refine import split_settings
from ptylive.server.cli.interrupt import ctrl_c_asks_to_stop
from ptylive.server.cli.options import AsJson, Backend, Cluster, Settings, WhenMissing, checked_backend
from ptylive.server.cli.output import Interrupted, Shown, answer, bar, say, when_interrupted
from ptylive.server.cli.preset_option import looked_through, preset_file
from ptylive.server.cli.values import parse_assignments
from ptylive.server.cluster.where import REFUSE, WorkersAsked

if TYPE_CHECKING:
    from ptylive.application.tuning.outcome import Outcome
    from ptylive.server.tune.beginning import Wanted
    from ptylive.server.tune.coordinator import Standing

EXAMPLES = """
ptylive tune scan.h5 --over defocus,thickness --set num_slices=5 --set total_thickness_A=80
ptylive tune scan.h5 --over 'defocus=-30 nm:30 nm,num_slices=2:8,semi-angle' --trials 60 --out tuned
ptylive tune scan.h5 --over tilt,thickness=50:200 --cluster tcp://scheduler:8786
"""
OVER_HELP = "values to vary, comma-separated: NAME, NAME=LOW:HIGH or NAME=ONE|OTHER (defocus, thickness, num_slices, …)"
GOES_ON = "finished trials are kept; run the same command again to continue"


def tune(
    file: Annotated[Path, typer.Argument(help="scan file", readable=False)],
    over: Annotated[list[str], typer.Option("--over", metavar="NAMES", help=OVER_HELP)],
    trials: Annotated[
        int, typer.Option(min=1, max=MOST_TRIALS, help="total number of trials, including those of earlier calls")
    ] = TRIALS,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="DIR", help="output folder; default: SCAN_tuning next to the scan", readable=False
        ),
    ] = None,
    preset: Annotated[
        Path | None,
        typer.Option(
            help="settings of the refinements: TOML or JSON, or a preset of PyPty, PtyRAD or phaser", readable=False
        ),
    ] = None,
    settings: Settings = None,
    by: Annotated[
        str, typer.Option(help="held-out (loss of held-out patterns) or halves (correlation of half data)")
    ] = "held-out",
    patterns: Annotated[
        int, typer.Option(min=LEAST_PATTERNS, help="patterns used by a trial, from the middle of the scan")
    ] = PATTERNS,
    sweeps: Annotated[
        int, typer.Option(min=1, max=MOST_SWEEPS, help="sweeps of each trial over its patterns")
    ] = SWEEPS,
    workers: Annotated[
        int | None, typer.Option(min=1, help="trials at a time on this machine; default: one per core, or per GPU")
    ] = None,
    cluster: Cluster = None,
    when_cluster_missing: WhenMissing = REFUSE,
    backend: Backend = "auto",
    threads: Annotated[int, typer.Option(min=1, max=256, help="threads of each trial on the CPU")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="seed of the drawn values")] = 0,
    as_json: AsJson = False,
) -> None:
    """Find settings and optics by trials judged on held-out patterns, each with its uncertainty."""
    from ptylive.application.outputs import check_output_folder
    from ptylive.application.tuning.ranges import parse_over
    from ptylive.application.tuning.trials import check_optuna
    from ptylive.engine.backend.cache import use_persistent_cache
    from ptylive.server.tune.beginning import Wanted

    use_persistent_cache()
    check_optuna()
    checked_backend(backend)
    judge = _judge_of(by)
    chosen, values = split_settings(parse_assignments(settings or ()))
    ranges = parse_over(over, judge)
    folder = file.with_name(f"{file.stem}_tuning") if out is None else out
    check_output_folder(folder)
    loaded = preset_file(preset, folder)
    wanted = Wanted(
        scan=file,
        folder=folder,
        over=ranges,
        preset=looked_through({**loaded.settings, **chosen}),
        values={**loaded.corrections, **values},
        defaults=loaded.metadata,
        judge=judge,
        patterns=patterns,
        sweeps=sweeps,
        backend=backend,
        threads=threads,
        command_line=" ".join(sys.argv),
    )
    with when_interrupted(GOES_ON), ctrl_c_asks_to_stop("stopping; Ctrl-C again stops at once") as stop:
        _tuned(wanted, trials, seed, WorkersAsked(workers, cluster, when_cluster_missing), stop, as_json=as_json)


def _tuned(wanted: Wanted, number: int, seed: int, where: WorkersAsked, stop: Event, *, as_json: bool) -> None:
    from ptylive.server.cluster.places import places
    from ptylive.server.tune.run import Listener, tune_scan

    workers = places(where, wanted.backend, wanted.threads, say)
    with bar(f"examining {wanted.scan.name}", quiet=as_json) as shown:
        listener = Listener(
            tell=lambda words: shown.update(0, None, words),
            on_change=partial(_show, shown, number),
            should_stop=stop.is_set,
        )
        try:
            tuned = tune_scan(wanted, number, seed, workers, listener)
        except StoppedError as stopped:
            raise Interrupted(f"{stopped}; run the same command again") from None
    found = tuned.outcome
    _answer(found, {name: str(path) for name, path in tuned.files.items()}, as_json=as_json)
    if stop.is_set() and len(found.tried) < number:
        raise Interrupted(f"{len(found.tried)} of {number} trials have ended; run the same command again to continue")
    if found.values is None:
        raise PtyliveError("none of the trials finished", "the reasons are in trials.csv")


def _judge_of(word: str) -> Any:
    from ptylive.engine.refine.validation.settings_trial import Judge

    if word not in list(Judge):
        raise MetadataError(f"--by {word!r} is unknown", f"use {' or '.join(Judge)}")
    return Judge(word)


def _show(shown: Shown, number: int, now: Standing) -> None:
    best = "" if now.best is None else f", best {now.best:.6g}"
    more = f", {now.doing}" if now.doing and not now.under_way else ""
    shown.update(len(now.tried), number, f"trials{best}{more}")


def _answer(found: Outcome, files: dict[str, str], *, as_json: bool) -> None:
    if not as_json:
        for line in found.sentences:
            say(line)
    states = {state: sum(one.state == state for one in found.tried) for state in ("done", "pruned", "failed")}
    estimates = {
        one.range.name: {"best": one.best, "deviation": one.deviation, "told": one.told, "sentence": one.sentence}
        for one in (found.findings.estimates if found.findings else ())
    }
    values = found.values or {}
    base = {"trials": len(found.tried), **states, "values": values, **files}
    answer(
        {**base, **({"estimates": estimates, "sentences": list(found.sentences)} if as_json else {})}, as_json=as_json
    )
