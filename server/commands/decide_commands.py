"""Commands that find thickness and slices before a refinement: they run only its trials, in a separate process.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.engine.dataset import check_metadata
from ptylive.schema import CommandError
from ptylive.server.refinement.job_process import REFINE_PROCESS
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.tune.side_work import SideWork

OPEN = {"num_slices": "auto", "total_thickness_A": None, "slice_distances_A": None}
"""Settings to be found, whatever values were given for them."""


@dataclass
class Decision:
    """Trials and their outcome."""

    uid: str = ""
    series: str = ""
    state: str = "none"
    message: str = ""
    decided: dict[str, Any] = field(default_factory=dict)


class DecideCommands:
    """Commands that search for the thickness. ``draft``: makes the job of an ended scan with given settings;
    ``busy``: whether a refinement is running.
    """

    def __init__(
        self,
        current: Callable[[], ScanSession | None],
        usual: Mapping[str, Any],
        draft: Callable[[ScanSession, Preset], RefineJob],
        busy: Callable[[], bool],
    ) -> None:
        self._current, self._usual, self._draft, self._busy = current, usual, draft, busy
        self._work = SideWork("the search for the thickness", REFINE_PROCESS)
        self._now = Decision()

    def command_decide(self, preset: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Find thickness and slices of the current, ended scan by the trials with which a refinement begins.

        ``preset``: all other settings; nothing is refined, and `decide_status` returns what was found.
        """
        wanted = {**self._usual, **(preset or {})}
        checked = Preset.from_mapping({name: value for name, value in wanted.items() if name not in OPEN})
        scan = self._current()
        if scan is None:
            raise CommandError("there is no scan to examine")
        if not scan.finished.is_set():
            raise CommandError("this scan has not ended yet", "wait for its end")
        check_metadata(scan.header, far_field=not checked.propagation.near_field)
        if self._busy():
            raise CommandError(
                "a refinement is running, which finds the thickness itself", "wait for its end, or stop it"
            )
        job = self._draft(scan, checked)
        now = Decision(scan.uid, scan.header.series, "running", "reading the scan")
        self._work.begin(job.to_plain(), lambda message: _hear(now, message), lambda why: self._note_ended(now, why))
        self._now = now
        return {"state": "running"}

    def command_decide_stop(self) -> dict[str, Any]:
        """Stop the search after the current trial."""
        self._work.stop()
        self._now.state = "stopping"
        return {}

    def command_decide_status(self) -> dict[str, Any]:
        """Return progress and findings for the current scan; ``other``: the scan being examined, if a different one."""
        scan, now = self._current(), self._now
        if scan is None or now.uid != scan.uid:
            return {"state": "none", "other": now.series if self._work.runs else ""}
        return {"state": now.state, "message": now.message, "other": "", **now.decided}

    def close(self) -> None:
        """End the search."""
        self._work.close()

    def _note_ended(self, now: Decision, why: str) -> None:
        if self._work.stopping:
            now.state, now.message = "stopped", ""
        elif why or not now.decided:
            now.state, now.message = "failed", why or "it ended without a result"
        else:
            now.state, now.message = "done", ""


def _hear(now: Decision, message: Mapping[str, Any]) -> None:
    if message["kind"] == "decided":
        now.decided = {name: value for name, value in message.items() if name != "kind"}
    elif "message" in message:
        now.message = str(message["message"])
