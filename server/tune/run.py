"""A tuning from a scan to its report, shared by command line and scripts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from ptylive.application.outputs import check_begun_folder
from ptylive.application.tuning.outcome import BEST_FILE, CSV_FILE, Outcome, best_preset, outcome, write_csv
from ptylive.application.tuning.page import FOLDER, PAGE_FILE, write_page
from ptylive.application.tuning.trials import JOURNAL, Trials, check_optuna
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.filelock import locked
from ptylive.server.cluster.places import Places
from ptylive.server.tune.beginning import Begun, Wanted, begin
from ptylive.server.tune.coordinator import Standing, TuneRequest, Tuning


def _ignore(_now: object) -> None:
    """Ignore a report."""


@dataclass(frozen=True)
class Listener:
    """Callbacks of a tuning: current activity (``tell``), what is tried (``on_begun``), progress (``on_change``), and
    when to stop.
    """

    tell: Callable[[str], None] = _ignore
    on_begun: Callable[[Begun], None] = _ignore
    on_change: Callable[[Standing], None] = _ignore
    should_stop: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class TuningResult:
    """Result of a tuning. ``files``: files it wrote, by kind."""

    outcome: Outcome
    files: Mapping[str, Path] = field(default_factory=dict)


def tune_scan(
    wanted: Wanted, trials: int, seed: int, where: AbstractContextManager[Places], listener: Listener
) -> TuningResult:
    """Make the missing trials, and write the conclusions from all of them; ``where`` they run: see ``places``.

    Raises PtyliveError if Optuna is missing, no trial of the scan is possible or a cluster has gone; FileBusyError if
    another process tunes in the same folder; InputFileError for damaged files and trials of other settings;
    MetadataError for impossible ranges; OSError if the folder cannot be written.
    """
    check_optuna()
    check_begun_folder(wanted.folder, JOURNAL, (CSV_FILE, BEST_FILE, PAGE_FILE, FOLDER))
    wanted.folder.mkdir(parents=True, exist_ok=True)
    with locked(wanted.folder / JOURNAL, 0.0):
        begun = begin(wanted, listener.tell, listener.should_stop)
        listener.on_begun(begun)
        stored = Trials(wanted.folder / JOURNAL, begun.plan, begun.over, wanted.sweeps, seed)
        request = TuneRequest(begun.over, trials, wanted.sweeps, begun.start, begun.job)
        with where as (launch, number):
            tried = Tuning(request, stored, launch, number).run(listener.should_stop, listener.on_change)
        listener.tell("evaluating the trials")
        found = outcome(begun.over, tried, wanted.sweeps, stored.confirmed, begun.notes)
        return TuningResult(found, _written(begun, found))


def _written(begun: Begun, found: Outcome) -> dict[str, Path]:
    folder, preset = begun.wanted.folder, ""
    write_csv(folder / CSV_FILE, begun.over, found.tried)
    files = {"trials_csv": folder / CSV_FILE}
    if found.values is not None:
        preset = best_preset(begun.settings(found.values), begun.corrections(found.values), found.sentences)
        with replacing(folder / BEST_FILE) as temporary:
            temporary.write_text(preset, encoding="utf-8")
        files["preset"] = folder / BEST_FILE
    return {"report": write_page(folder, found, begun.wanted.scan.stem, begun.details, preset), **files}
