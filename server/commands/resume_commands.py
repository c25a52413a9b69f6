"""The command that continues a refinement, also one of an earlier server.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.schema import CommandError
from ptylive.schema.errors import brief
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.process.config import ServerConfig
from ptylive.server.refinement.kept_jobs import Kept, find, left_checkpoint
from ptylive.server.refinement.refinements import Refinements
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.waiting_results import JOB, cut_off, cut_off_runs

MOST_MORE = 10_000
"""Maximum number of epochs added when a run is resumed."""


class ResumeCommands:
    """Continues ``refinements``, on the scan that ``current`` returns."""

    def __init__(
        self,
        config: ServerConfig,
        refinements: Refinements,
        current: Callable[[], ScanSession | None],
        placement: AllowedPlaces,
        command_line: str,
    ) -> None:
        self._config, self._refinements, self._current = config, refinements, current
        self._placement, self._command_line = placement, command_line

    def command_refine_resume(self, epochs: int = 0, place: str = "", run: str = "", uid: str = "") -> dict[str, Any]:
        """Resume a refinement from its checkpoint, on the same trajectory; ``epochs``: how many more. One that was cut
        off with its server before its first checkpoint begins again, with the settings it had.

        ``run``: a run of the scan that is shown, or of the scan ``uid`` if it is the last one; default the last
        refinement. ``place``: run it at this place instead of the previous one.
        """
        kept, uid = self._wanted(run, uid)
        job = kept.job
        if place:
            job = replace(job, place=self._placement.checked(place, together=bool(job.beside)))
        if epochs:
            job = replace(job, preset=_with_more(job.preset, epochs, kept.epochs))
        self._refinements.start(job, uid, kept.epochs)
        return {"run": job.run}

    def shown(self, scan: ScanSession | None) -> None:
        """Offer the last run of an opened scan that was cut off with an earlier server and can be resumed."""
        if scan is None or (recording := scan.recording) is None:
            return
        runs = [run for _, run in cut_off_runs(recording.parent, recording.stem)]
        offered = [run for run in runs if recording.with_name(f"{recording.stem}_{run}{JOB}").is_file()]
        if offered:
            last = max(offered, key=lambda run: int(run.removeprefix("run")))
            self._refinements.adopt(last, scan.uid, scan.header.series)

    def _wanted(self, run: str, uid: str) -> tuple[Kept, str]:
        """Return a job to continue and the uid of its scan. Raises CommandError if there is none."""
        last, last_uid, scan = self._refinements.last_job, self._refinements.last_uid, self._current()
        offered, shown = self._refinements.current, "" if scan is None else scan.uid
        of = uid or (shown if run else last_uid)
        if last is not None and run in ("", last.run) and of == last_uid:
            if not left_checkpoint(last):
                raise CommandError(f"{last.run} left no checkpoint to continue from", "start it again with refine")
            return Kept(replace(last, resume=True), self._refinements.last_epochs), last_uid
        if uid not in ("", shown):
            now = "no scan" if scan is None else f"scan {brief(scan.header.series)}"
            raise CommandError(f"the command was for a run of another scan; {now} is displayed now", "open that scan")
        if scan is not None and not run and offered.uid == scan.uid:
            run = offered.run
        if scan is not None and (kept := self._kept(scan, run)) is not None:
            return kept, scan.uid
        recording = None if scan is None else scan.recording
        left = [] if recording is None else cut_off_runs(recording.parent, recording.stem)
        if recording is not None and left and (not run or (recording.stem, run) in left):
            raise CommandError("; ".join(cut_off(recording.parent, recording.stem)))
        if run and scan is None:
            raise CommandError(f"no scan is shown whose {brief(run)} could be resumed", "open the scan first")
        if run:
            raise CommandError(f"{brief(run)} left nothing to continue from", "start it again with refine")
        raise CommandError("there is no refinement to resume")

    def _kept(self, scan: ScanSession, run: str) -> Kept | None:
        """Return a run of a scan as this server would do it. Raises CommandError."""
        kept = None if scan.recording is None else find(scan.recording, run)
        if kept is None:
            return None
        place = kept.job.place if kept.job.place in self._placement.names else ""
        place = self._placement.checked(place, together=bool(kept.job.beside))
        backend, threads = self._config.backend, self._config.refine_threads
        here = replace(kept.job, backend=backend, threads=threads, command_line=self._command_line)
        return replace(kept, job=replace(here, place=place))


def _with_more(preset: Preset, epochs: int, done: int | None) -> Preset:
    """Return the preset with ``epochs`` more than ``done``. Raises CommandError."""
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 0 < epochs <= MOST_MORE:
        raise CommandError(f"epochs must be a whole number from 1 to {MOST_MORE}", "give the number of further epochs")
    if preset.stages:
        raise CommandError(
            "a refinement in stages cannot be continued by a number of epochs", "refine again with a larger epoch_max"
        )
    if done is None:
        raise CommandError("this refinement did not say how far it came", "continue it first without epochs")
    return preset.model_copy(update={"epoch_max": done + epochs})
