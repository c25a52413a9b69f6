"""Commands that start, stop and queue refinements.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.application.offline import start_of
from ptylive.engine.dataset import check_metadata
from ptylive.engine.results_file import release_run
from ptylive.schema import CommandError, PtyliveError, ScanHeader
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.commands.decide_commands import DecideCommands
from ptylive.server.commands.placement import AllowedPlaces, Waiting, Wanted, check_history
from ptylive.server.commands.resume_commands import ResumeCommands
from ptylive.server.process.config import ServerConfig
from ptylive.server.refinement.kept_jobs import release_unused
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.refinements import Refinements, RunState
from ptylive.server.refinement.scan_updates import ScanNews, plain_values
from ptylive.server.refinement.scans_together import check_map_settings, opened_beside, with_drafts
from ptylive.server.refinement.warm_refinement import is_compiled_for_gpu
from ptylive.server.session.calibration_events import publish_calibration
from ptylive.server.session.run_names import RunNames, recording_of, results_of
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.wire.publisher import Publisher
from ptylive.streamer.recording.journal_file import SUFFIX
from ptylive.streamer.vetting.known_files import known_as

MOST_WAITING = 20


class RefineCommands:
    """The commands of :mod:`ptylive.server.commands.refine_commands`, on the scan that ``current`` returns.

    ``values`` sets metadata given with the command; ``opened`` opens a scan of the library by its name.
    """

    def __init__(
        self,
        config: ServerConfig,
        publisher: Publisher,
        current: Callable[[], ScanSession | None],
        values: CalibrationCommands,
        command_line: str,
        placement: AllowedPlaces,
        opened: Callable[[str], ScanSession],
    ) -> None:
        self._config, self._publisher, self._command_line = config, publisher, command_line
        self._opened = opened
        self._current, self._values = current, values
        self._lock = threading.Lock()
        self._for_end: Wanted | None = None
        self._awaited_request = 0
        """Number of the request (:attr:`ScanSession.requests`) that the results must satisfy for that refinement."""
        self._name_for_end: tuple[Path, str] | None = None
        """Results file and name of the refinement that waits for the end of its scan."""
        self._early: dict[str, Wanted] = {}
        """Requests of refinements that began before the end of their scans, by uid."""
        self._late: dict[str, Wanted] = {}
        """Requests for scans to be refined as soon as they have ended, by uid."""
        self._queue: deque[Waiting] = deque()
        self._names = RunNames()
        self._placement = placement
        self.refinements = Refinements(publisher, self._on_ended, self._placement.launch)
        self.resuming = ResumeCommands(config, self.refinements, current, placement, command_line)
        self.decisions = DecideCommands(current, config.refine, self._deciding, lambda: self.refinements.busy)

    # -- commands -------------------------------------------------------------------------------------------------

    def command_refine(
        self,
        preset: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        queue: bool = False,
        during_scan: bool = False,
        place: str = "",
        history: int = 0,
        beside: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Refine the current scan: at once if it has finished, otherwise as soon as it has.

        While another refinement runs the command is refused, or queued behind it and its scan with ``queue``.
        ``during_scan``: do not wait for the end of the scan, but begin with the rows that have arrived. ``place``: one
        of ``places`` in `status`. ``history``: epochs between the pictures kept for `film`. ``beside``: recordings of
        the same place at other tilts (``scan_tilts_mrad``, that of the current scan first), refined together with it.
        """
        placement = self._placement.checked(place, together=bool(beside))
        check_history(history, placement)
        checked = Preset.from_mapping({**self._config.refine, **(preset or {})})
        scan = self._current()
        if scan is None:
            raise CommandError("there is no scan to refine")
        check_map_settings(scan, checked.start)
        other_scans = opened_beside(beside, scan, checked, self._opened)
        if other_scans and during_scan:
            raise CommandError("scans can be refined together when all have ended", "leave out during_scan")
        wanted = Wanted(checked, placement, history, other_scans)
        header = self._values.header_with(scan, values) if values else scan.header
        check_metadata(header, far_field=not checked.propagation.near_field)
        if values:  # a refused command changes nothing
            self._check_beginning(scan, header, wanted, queue=queue, during_scan=during_scan)
        with self._names.reserved(scan) as run, self._values.provisionally(scan, values or {}):
            return {**self._begin(scan, wanted, run, queue=queue, during_scan=during_scan), "uid": scan.uid}

    def _begin(self, scan: ScanSession, wanted: Wanted, run: str, *, queue: bool, during_scan: bool) -> dict[str, Any]:
        with self._lock:
            if queue and self.refinements.busy:
                return self._put_in_line(scan, wanted, run)
            if during_scan and scan.ended is None:
                return self._begin_early(scan, wanted, run)
            if not scan.finished.is_set():
                self.refinements.queue(run, scan.uid, scan.header.series)
                self._for_end, self._awaited_request = wanted, scan.requests
                self._name_for_end = None if scan.recording is None else (results_of(scan), run)
                return {"run": run, "state": "queued"}
        self.refinements.start(self._job(scan, wanted, run), scan.uid)
        return {"run": run, "state": "running"}

    def command_refine_stop(self, run: str = "", uid: str = "") -> dict[str, Any]:
        """Stop the running refinement, if it is ``run`` of the scan ``uid``, after its current batch, and store it."""
        self.refinements.stop(run, uid)
        with self._lock:
            self._for_end = None
        stopped = self.refinements.current
        if stopped.state == "stopped":  # it had not started, so no end will be reported
            self._release_name()
            self._start_next()
        return {"run": stopped.run}

    def command_refine_withdraw(self, run: str, uid: str = "") -> dict[str, Any]:
        """Remove a refinement from the queue; ``uid``: its scan, if runs of several scans wait."""
        with self._lock:
            found = next((w for w in self._queue if w.run == run and uid in ("", w.uid)), None)
            if found is None:
                raise CommandError(f"no refinement {run!r} waits", "see the command status")
            self._queue.remove(found)
        release_run(found.results, run)
        return {"run": run}

    # -- calls from the session -----------------------------------------------------------------------------------

    @property
    def further(self) -> tuple[DecideCommands, ResumeCommands]:
        """Objects with further commands of refinements."""
        return self.decisions, self.resuming

    @property
    def places(self) -> list[dict[str, str]]:
        """Places where refinements may run, as shown by `status`."""
        return self._placement.to_plain()

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """The queued refinements in order. Never blocks, since `status` reads it."""
        return [entry.to_plain() for entry in self._queue.copy()]

    def scan_begun(self, scan: ScanSession) -> None:
        """Start refining a new scan while it runs, if so configured; if this is not possible yet, after its end."""
        if not self._config.refine_during_scan:
            return
        wanted = Wanted(Preset.from_mapping(self._config.refine), self._placement.checked(""))
        with self._lock:
            try:
                with self._names.reserved(scan) as run:
                    self._begin_early(scan, wanted, run)
            except PtyliveError as error:
                self._late[scan.uid] = wanted
                words = f"scan {scan.header.series} is refined after its end instead: {error.line()}"
                self._publisher.log("info", words)

    def needs(self, recording: Path) -> bool:
        """Return whether a running or queued refinement reads a recording."""
        with self._lock:
            read = [path for waiting in self._queue for path in waiting.recordings]
        if self.refinements.busy and (job := self.refinements.last_job) is not None:
            read += [job.recording, *(scan.recording for scan in job.beside)]
        return recording in read

    def scan_finished(self, scan: ScanSession) -> None:
        """Start the refinement that waited for the results of this scan, or hand over to the one that has begun.

        Results with the values at the time of the request suffice: new values may keep arriving without pause.
        """
        wanted, late = None, None
        with self._lock:
            is_last = scan.finished.is_set()
            early = self._early.pop(scan.uid, None) if is_last else None
            if not scan.recording_error:  # it may yet be recorded
                late = self._late.pop(scan.uid, None) if is_last else None
                self._provide_jobs(scan)
            is_awaited = is_last or scan.made >= self._awaited_request
            if is_awaited and self.refinements.current.uid == scan.uid:
                wanted, self._for_end = self._for_end, None
        if early is not None and self.refinements.follows(scan.uid):  # it may have been stopped
            self._hand_over(scan, early)
        elif late is not None:
            self._refine_late(scan, late)
        if wanted is None:
            self._start_next()  # one that waited for these results
            self._stand_by(scan, compiled=is_compiled_for_gpu(scan.header))
            return
        try:
            self.refinements.start(self._job(scan, wanted, self.refinements.current.run), scan.uid, announced=True)
        except PtyliveError as error:
            self.refinements.fail_queued(error.line())
            self._release_name()
            self._start_next()

    def close(self) -> None:
        """Clear the queue and end the running refinement; its last checkpoint stays."""
        with self._lock:
            withdrawn = list(self._queue)
            self._queue.clear()
            still_queued, self._for_end = self._for_end is not None, None
        self.refinements.close()
        self.decisions.close()
        self._placement.close()
        for each in withdrawn:
            release_run(each.results, each.run)
        if still_queued:
            self._release_name()

    def _release_name(self) -> None:
        """Release the name of a refinement that waited for results and will not begin."""
        with self._lock:
            name, self._name_for_end = self._name_for_end, None
        if name is not None:
            release_run(*name)

    # -- while a scan runs ----------------------------------------------------------------------------------------

    def _begin_early(self, scan: ScanSession, wanted: Wanted, run: str) -> dict[str, Any]:
        wanted.check_early(scan, scan.header)
        journal = recording_of(scan).with_suffix(SUFFIX)
        self.refinements.start(replace(self._draft(scan, wanted, run), journal=journal), scan.uid)
        self._early[scan.uid] = wanted
        ScanNews(self.refinements, scan)
        return {"run": run, "state": "running"}

    def _hand_over(self, scan: ScanSession, wanted: Wanted) -> None:
        """Pass the job of a scan that has ended to the process that began on its first rows."""
        try:
            job = self._job(scan, wanted, self.refinements.current.run)
        except PtyliveError as error:
            self.refinements.tell(scan.uid, {"problem": error.line()})
        else:
            self.refinements.hand_over(job, scan.uid)

    def _refine_late(self, scan: ScanSession, wanted: Wanted) -> None:
        try:
            with self._lock, self._names.reserved(scan) as run:
                self._put_in_line(scan, wanted, run)
        except PtyliveError as error:
            self._publisher.log("error", f"scan {scan.header.series} is not refined: {error.line()}")
        self._start_next()

    # -- the queue ------------------------------------------------------------------------------------------------

    def _put_in_line(self, scan: ScanSession, wanted: Wanted, run: str) -> dict[str, Any]:
        self._check_line(queue=True)
        job = self._job(scan, wanted, run) if scan.finished.is_set() else None
        if job is None:
            wanted.check_alone()
        files = tuple(recording_of(each) for each in (scan, *wanted.beside)), results_of(scan)
        alone = replace(wanted, beside=())
        self._queue.append(Waiting(run, scan.uid, scan.header.series, *files, alone, scan.requests, job))
        return {"run": run, "state": "waiting"}

    def _check_line(self, *, queue: bool) -> None:
        """Raise CommandError if a refinement could neither begin nor be queued."""
        if not queue:
            self.refinements.require_idle()
        elif len(self._queue) >= MOST_WAITING:
            raise CommandError(f"{MOST_WAITING} refinements are already waiting", "withdraw one of them")

    def _check_beginning(
        self, scan: ScanSession, header: ScanHeader, wanted: Wanted, *, queue: bool, during_scan: bool
    ) -> None:
        """Raise what :meth:`_begin` would, given values with which a scan gets ``header``, and its maps are remade."""
        self._check_line(queue=queue)
        if queue and self.refinements.busy:
            recording_of(scan)
            wanted.check_alone()
        elif during_scan and scan.ended is None:
            wanted.check_early(scan, header)

    def _provide_jobs(self, scan: ScanSession) -> None:
        """Make the jobs of queued refinements of this scan that waited for its results."""
        made = math.inf if scan.finished.is_set() else scan.made
        for waiting in [w for w in self._queue if w.uid == scan.uid and w.job is None and made >= w.request]:
            try:
                waiting.job = self._job(scan, waiting.wanted, waiting.run)
            except PtyliveError as error:
                self._queue.remove(waiting)
                self._cannot_start(waiting, error)

    def _cannot_start(self, waiting: Waiting, error: PtyliveError) -> None:
        release_run(waiting.results, waiting.run)
        self._publisher.log("error", f"refinement {waiting.run}: {error.line()}")

    def _on_ended(self, run: RunState) -> None:
        self._publisher.log("info" if run.state != "failed" else "error", f"refinement {run.run} {run.state}")
        job = self.refinements.last_job
        if job is not None and job.run == run.run and run.state in ("failed", "stopped"):
            release_unused(job)
        if run.found and (scan := self._current()) is not None and scan.uid == run.uid:
            publish_calibration(self._publisher, scan, final=True, refined={"run": run.run, **run.found})
        self._start_next()
        if (scan := self._current()) is not None:
            self._stand_by(scan, compiled=run.state == "done")

    def _stand_by(self, scan: ScanSession, *, compiled: bool) -> None:
        """Start a standby process for the next refinement, unless one runs or it would start alongside a compiler."""
        if compiled and not self.refinements.busy:
            self._placement.stand_by(scan.header)

    def _start_next(self) -> None:
        """Start the first queued refinement whose scan has results and that can be started, unless one is running."""
        while True:
            with self._lock:
                following = None if self.refinements.busy else next((w for w in self._queue if w.job), None)
                if following is None or following.job is None:
                    return
                self._queue.remove(following)
            try:
                self.refinements.start(following.job, following.uid)
            except PtyliveError as error:
                if self.refinements.busy:  # another one has just begun; its end starts this one
                    with self._lock:
                        self._queue.appendleft(following)
                    continue
                self._cannot_start(following, error)

    def _job(self, scan: ScanSession, wanted: Wanted, run: str) -> RefineJob:
        if scan.recording_error:
            hint = "make room in the recording folder, and refine the scan once it is recorded"
            raise CommandError(f"refinement needs the recording, but it failed: {scan.recording_error}", hint)
        if not (recording := recording_of(scan)).exists():
            raise CommandError(f"refinement needs the recording, but {recording} no longer exists", "restore it")
        if scan.results is None:
            raise CommandError("the scan has no maps to start from", "see the status message")
        return self._draft(scan, wanted, run)

    def _deciding(self, scan: ScanSession, preset: Preset) -> RefineJob:
        return replace(self._job(scan, Wanted(preset, ""), ""), decides=True, checkpoint=None)

    def _draft(self, scan: ScanSession, wanted: Wanted, run: str) -> RefineJob:
        """Return the job of a scan with what is known about it now."""
        recording = recording_of(scan)
        folder = recording.parent
        job = RefineJob(
            recording=recording,
            results=results_of(scan),
            run=run,
            preset=wanted.preset,
            calibration=scan.calibration,
            start=start_of(scan.map, wanted.preset.start, scan.calibration),
            values=plain_values(scan.header),
            backend=self._config.backend,
            threads=self._config.refine_threads,
            checkpoint=folder / f"{recording.stem}_{run}.checkpoint",
            command_line=self._command_line,
            place=wanted.place,
            history=wanted.history,
            judged=self._config.refine_held_out,
            known=known_as(recording),
            series=scan.header.series,
        )
        return with_drafts(job, wanted.beside)
