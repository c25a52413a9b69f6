"""A batch: choosing the next scan, following its refinement, and keeping the table of all scans up to date."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptylive.application.batch import figures
from ptylive.application.batch.rows import STATE_FILE, Row, State, digest, read_rows, rows_of, write_rows
from ptylive.application.batch.table import CSV_FILE, PAGE_FILE, write_table
from ptylive.application.extensions import Preset
from ptylive.application.outputs import check_begun_folder
from ptylive.engine.refine.run.checkpoint import exists, remove
from ptylive.engine.results_file import release_run, reserve_run
from ptylive.schema import Calibration, PtyliveError
from ptylive.schema.files.filelock import locked
from ptylive.server.refinement.job_process import Launch
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.running_jobs import RunningJobs

TABLE_S = 2.0
"""Minimum interval at which the table is rewritten."""
POLL_S = 0.2


@dataclass(frozen=True)
class BatchRequest:
    """What to do with every scan. values: metadata that override the file's; defaults: used where the file has none."""

    folder: Path
    preset: Preset
    methods: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    threads: int = 1
    retry: bool = False
    """Whether scans that failed before are tried again."""
    command_line: str = ""
    takes_maps: bool = False
    """Whether to use maps in the folder's results files as they are, with the calibrations users gave for them."""

    map_settings: Mapping[str, float] = field(default_factory=dict)
    """Settings of all maps, METHOD.NAME; those of the map that refinements start from are in the preset too."""
    detectors: Mapping[str, str] = field(default_factory=dict)
    """Virtual detectors by name, for :mod:`ptylive.application.detector_texts`; masks are given by full paths."""

    def digest(self) -> str:
        """Return a digest of what results depend on; if maps are reused, only of what the refinement depends on, so
        that it is not repeated because of a map.
        """
        settings = {"map_settings": dict(self.map_settings), "detectors": dict(self.detectors)}
        of_maps = {} if self.takes_maps else settings
        return digest(
            {
                "preset": self.preset.model_dump(mode="json"),
                "methods": sorted(self.methods),
                "values": dict(self.values),
                "defaults": dict(self.defaults),
                **{name: settings for name, settings in of_maps.items() if settings},  # earlier batches had none
            }
        )


class Batch:
    """A batch that runs scans through ``launch``; each call of ``places`` returns how many may run at a time."""

    def __init__(self, request: BatchRequest, launch: Launch, places: Callable[[], int]) -> None:
        self._request, self._launch, self._places = request, launch, places
        self._changed = threading.Condition()
        """Held while rows and running jobs change."""
        self._rows: list[Row] = []
        self._other_rows: list[Row] = []
        """Rows of scans in earlier calls that are not in this one."""
        self._writing = threading.Lock()
        self._running = RunningJobs(self._changed, "batch")
        """Running jobs by row number."""
        self._fault: OSError | PtyliveError | None = None

    def run(
        self,
        scans: Sequence[Path],
        should_stop: Callable[[], bool] = lambda: False,
        on_change: Callable[[Sequence[Row]], None] = lambda rows: None,
    ) -> list[Row]:
        """Process the scans that are not done yet, and return the final rows.

        ``should_stop`` is called several times a second; when true, running scans are stopped, and a later call resumes
        them. ``on_change`` gets the rows whenever one has changed. Raises FileBusyError if another process runs a batch
        in the folder, InputFileError for a damaged ``batch.json`` and for files of other origin, OSError if the folder
        cannot be written, PtyliveError if a cluster has gone.
        """
        folder = self._request.folder
        check_begun_folder(folder, STATE_FILE, (CSV_FILE, PAGE_FILE, figures.FOLDER))
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / STATE_FILE, 0.0):
            earlier = read_rows(folder)
            if self._request.takes_maps:
                earlier = [_moved(row, folder) for row in earlier]
            self._rows = rows_of(scans, earlier, self._request.digest(), retry=self._request.retry)
            named = {row.scan for row in self._rows}
            self._other_rows = [row for row in earlier if row.scan not in named]
            try:
                self._work(should_stop, on_change)
            finally:
                self._running.end()
                self._write(ended=True)
            return list(self._rows)

    def _work(self, should_stop: Callable[[], bool], on_change: Callable[[Sequence[Row]], None]) -> None:
        """Start jobs, wait and write, until nothing is left."""
        self._write(ended=False)
        written, shown = time.monotonic(), list(self._rows)
        while True:
            if should_stop():
                self._running.stop()
            self._start_more()
            with self._changed:
                if not self._running and (self._running.stopping or self._next() is None):
                    return
                self._changed.wait(POLL_S)
                rows = list(self._rows)
            if self._fault is not None:
                raise self._fault
            if rows != shown:
                on_change(rows)
                shown = rows
            if time.monotonic() - written > TABLE_S:
                self._write(ended=False)
                written = time.monotonic()

    def _next(self) -> int | None:
        """Return the number of the first waiting row."""
        return next((n for n, row in enumerate(self._rows) if row.state is State.WAITING), None)

    def _start_more(self) -> None:
        places = self._places()
        with self._changed:
            while not self._running.stopping and len(self._running) < places and (number := self._next()) is not None:
                self._rows[number] = self._rows[number].having(state=State.RUNNING, doing="starting")
                self._running.begin(number, self._run_one)

    # -- one scan, in its own thread --------------------------------------------------------------------------------

    def _run_one(self, number: int) -> None:
        started, before_s = time.monotonic(), self._rows[number].seconds
        try:
            outcome = self._refined(number)
        except PtyliveError as error:
            outcome = {"state": State.FAILED, "reason": error.line()}
        except OSError as error:
            outcome = {"state": State.FAILED, "reason": f"{error.filename or 'a file'}: {error.strerror or error}"}
        except Exception as error:  # the other scans continue
            outcome = {"state": State.FAILED, "reason": f"the refinement failed: {error!r}"}
        if outcome["state"] is State.FAILED:
            outcome |= self._given_back(self._rows[number])
        try:
            self._change(number, seconds=before_s + time.monotonic() - started, doing="", **outcome)
            self._keep()
            if outcome["state"] is State.DONE:
                remove(self._rows[number].checkpoint(self._request.folder))  # only now, when it is no longer needed
        except OSError as error:
            self._fault = error  # the folder cannot be written: nothing could be resumed

    def _refined(self, number: int) -> dict[str, Any]:
        """Make maps and refinement of a scan; return the changes to its row."""
        row, folder = self._rows[number], self._request.folder
        resume = bool(row.run)
        if not row.run:
            row = self._change(number, run=reserve_run(row.results(folder)))
            self._keep()  # the name, so that a call after a crash resumes this run
        running = self._launch(self._job(row, resume=resume))
        ended: dict[str, Any] = {}
        for message in self._running.messages(number, running):
            if message["kind"] in ("ended", "failed"):
                ended = message
            else:
                self._handle(number, message)
        if ended.get("place_gone"):
            self._fault = PtyliveError(str(ended["message"]))  # the same would happen to every other scan
        if ended.get("place_gone") or (self._running.stopping and ended.get("kind") != "ended"):
            return {"state": State.STOPPED}
        return self._outcome(number, ended or {"kind": "failed", "message": running.ending()})

    def _handle(self, number: int, message: Mapping[str, Any]) -> None:
        row = self._rows[number]
        if message["kind"] == "progress":
            progress: dict[str, Any] = {"doing": f"epoch {message['epoch']} of {message['epochs']}"}
            progress.update(epoch=message["epoch"], epochs=message["epochs"], loss=message["loss"])
            self._change(number, **progress)
        elif message["kind"] == "remark":
            if message["message"] not in row.remarks:
                self._change(number, remarks=(*row.remarks, message["message"]))
        elif "message" in message:
            self._change(number, doing=str(message["message"]))

    def _outcome(self, number: int, ended: Mapping[str, Any]) -> dict[str, Any]:
        if ended["kind"] == "failed":
            return {"state": State.FAILED, "reason": str(ended["message"])}
        if ended["state"] == "stopped":
            return {"state": State.STOPPED}
        if ended["problem"] or ended["state"] != "done":
            return {"state": State.FAILED, "reason": str(ended["problem"] or ended["message"])}
        row, folder = self._rows[number], self._request.folder
        remarks = [*row.remarks, ended["message"]]
        pictures = figures.Figures("", None)
        try:
            start_map = self._request.preset.start.start_map
            pictures = figures.draw(row.results(folder), start_map, str(ended["run"]), folder, row.name)
        except PtyliveError as error:
            remarks.append(f"pictures could not be drawn: {error.line()}")
        found = {"information_limit_A": pictures.information_limit_A, "map_shown": pictures.map_shown}
        notes = {"remarks": tuple(dict.fromkeys(filter(None, remarks)))}
        return {"state": State.DONE, "run": str(ended["run"]), "loss": ended["loss"], **found, **notes}

    def _job(self, row: Row, *, resume: bool) -> RefineJob:
        request = self._request
        return RefineJob(
            recording=Path(row.scan),
            results=row.results(request.folder).absolute(),
            run=row.run,
            preset=request.preset,
            calibration=Calibration(),
            values=request.values,
            backend=request.backend,
            threads=request.threads,
            checkpoint=row.checkpoint(request.folder).absolute(),
            resume=resume,
            command_line=request.command_line,
            methods=request.methods,
            defaults=request.defaults,
            ends_at_once=True,
            takes_maps=request.takes_maps,
            map_settings=request.map_settings,
            detectors=request.detectors,
        )

    def _given_back(self, row: Row) -> dict[str, Any]:
        """Release the run name of a scan that failed before there was anything to resume from."""
        if not row.run or exists(row.checkpoint(self._request.folder)):
            return {}
        release_run(row.results(self._request.folder), row.run)
        return {"run": ""}

    # -- what is known ------------------------------------------------------------------------------------------------

    def _change(self, number: int, **values: Any) -> Row:
        with self._changed:
            self._rows[number] = row = self._rows[number].having(**values)
            self._changed.notify_all()
        return row

    def _keep(self) -> None:
        """Write what a later call resumes from. Raises OSError."""
        with self._writing:
            write_rows(self._request.folder, (*self._rows, *self._other_rows))

    def _write(self, *, ended: bool) -> None:
        """Write that and the table. Raises OSError."""
        self._keep()
        write_table(self._request.folder, (*self._rows, *self._other_rows), ended=ended)


def _moved(row: Row, folder: Path) -> Row:
    """Return the row with its path updated if the scan is in the folder itself, which may have moved since."""
    local = folder.absolute() / Path(row.scan).name
    return row.having(scan=str(local)) if local.exists() else row
