"""Commands that find settings and optics of the scan being shown by trials (docs/tune.md).

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.engine.dataset import check_metadata
from ptylive.engine.refine.validation.trial_size import LEAST_PATTERNS, MOST_SWEEPS, PATTERNS, SWEEPS, TRIALS
from ptylive.schema import CommandError, InputFileError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.small_files import read_text
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.process.config import ServerConfig
from ptylive.server.refinement.scan_updates import plain_values
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.tune.side_work import SideWork
from ptylive.server.wire.publisher import Publisher

MODULE = "ptylive.server.tune.tune_process"
MOST_TRIALS, MOST_PATTERNS = 10_000, 10**6
"""Limits of what a dashboard may request."""
ASKED_FILE, MOST_ASKED_BYTES = "asked.json", 2**20
AGAIN = ("over", "preset", "patterns", "sweeps")
"""Parts of a request that are arguments of the command."""
MOST_FOLDERS = 100
"""Maximum number of tuning folders of one scan, one for each different request."""


@dataclass
class Standing:
    """State of the tuning that is running or ran last."""

    recording: Path | None = None
    series: str = ""
    state: str = "none"
    message: str = ""
    trials: int = 0
    """Number of trials requested."""
    place: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments that would repeat the same call."""
    report: dict[str, Any] = field(default_factory=dict)
    """Latest report from :mod:`ptylive.server.tune.tune_process`."""


class TuneCommands:
    """The commands of :mod:`ptylive.server.commands.tune_commands`, on the scan that ``current`` returns."""

    def __init__(
        self,
        config: ServerConfig,
        publisher: Publisher,
        current: Callable[[], ScanSession | None],
        placement: AllowedPlaces,
        command_line: str,
    ) -> None:
        self._config, self._publisher, self._command_line = config, publisher, command_line
        self._current, self._placement = current, placement
        self._work = SideWork("the tuning", MODULE)
        self._now = Standing()

    def command_tune(
        self,
        over: Iterable[str],
        trials: int = TRIALS,
        preset: Mapping[str, Any] | None = None,
        place: str = "",
        patterns: int = PATTERNS,
        sweeps: int = SWEEPS,
    ) -> dict[str, Any]:
        """Find settings and optics of the current scan by trials; an identical earlier call is continued.

        ``over``: what is varied, ``NAME``, ``NAME=LOW:HIGH`` or ``NAME=ONE|OTHER``; ``trials``: total number.
        """
        from ptylive.application.tuning.ranges import parse_over
        from ptylive.application.tuning.trials import check_optuna
        from ptylive.engine.refine.validation.settings_trial import Judge

        check_optuna()
        texts = [over] if isinstance(over, str) else list(over)
        parse_over(texts, Judge.HELD_OUT)
        for name, value, least, most in (
            ("trials", trials, 1, MOST_TRIALS),
            ("patterns", patterns, LEAST_PATTERNS, MOST_PATTERNS),
            ("sweeps", sweeps, 1, MOST_SWEEPS),
        ):
            if not least <= value <= most:
                raise CommandError(f"{name} = {value}", f"give a number from {least} to {most}")
        checked = Preset.from_mapping({**self._config.refine, **(preset or {})})
        placement = self._placement.series(place)
        scan, recording = self._scan()
        check_metadata(scan.header, far_field=not checked.propagation.near_field)
        if self._work.runs:
            raise CommandError(f"scan {self._now.series} is being tuned", "stop that first")
        requested = {
            "over": texts,
            "preset": checked.model_dump(exclude_unset=True, mode="json"),
            "values": plain_values(scan.header),
            "patterns": patterns,
            "sweeps": sweeps,
        }
        request = {
            **requested,
            "scan": str(recording),
            "folder": str(_folder(recording, requested)),
            "maps": "" if scan.results is None else str(scan.results),
            "defaults": {},
            "trials": trials,
            "backend": self._config.backend,
            "threads": self._config.refine_threads,
            "command_line": self._command_line,
            "where": list(placement.request),
        }
        again = {name: requested[name] for name in AGAIN}
        now = Standing(recording, scan.header.series, "running", "examining the scan", trials, placement.words, again)
        self._now = now
        self._work.begin(request, lambda message: _hear(now, message), lambda why: self._note_ended(now, why))
        return {"folder": request["folder"], "state": "running"}

    def command_tune_stop(self) -> dict[str, Any]:
        """Stop the tuning; completed trials are kept, and the same call continues from them."""
        self._work.stop()
        self._now.state = "stopping"
        return {}

    def command_tune_status(self) -> dict[str, Any]:
        """Return the tuning of the current scan: its trials, the loss over each value, and the conclusions.

        After a restart of the server, what was kept next to the recording; ``other``: the scan being tuned, if it is
        a different one.
        """
        scan, now = self._current(), self._now
        recording = None if scan is None else scan.recording
        other = now.series if self._work.runs and now.recording != recording else ""
        if recording is None or now.recording != recording:
            stored = {} if recording is None else _stored_outcome(recording)
            return {"state": "kept" if stored else "none", "other": other, **stored}
        about = {"state": now.state, "message": now.message, "wanted": now.trials, "place": now.place}
        return {**about, "other": other, "asked": now.arguments, **now.report}

    @property
    def summary(self) -> dict[str, Any]:
        """The part shown in `status`. Never blocks."""
        now = self._now
        return {"state": now.state, "series": now.series, "ended": now.report.get("ended", 0), "wanted": now.trials}

    def needs(self, recording: Path) -> bool:
        """Return whether a running tuning reads a recording."""
        return self._work.runs and self._now.recording == recording

    def close(self) -> None:
        """End the running tuning."""
        self._work.close()

    def _scan(self) -> tuple[ScanSession, Path]:
        scan = self._current()
        if scan is None:
            raise CommandError("there is no scan to tune")
        if not scan.finished.is_set():
            raise CommandError("this scan has not ended yet", "wait for its end")
        if scan.recording is None or not scan.recording.exists():
            raise CommandError(
                "tuning needs the recording, but this scan was not recorded",
                "switch recording on, and send the scan again",
            )
        return scan, scan.recording

    def _note_ended(self, now: Standing, why: str) -> None:
        now.state = "failed" if why else "stopped" if self._work.stopping else "done"
        now.message = why
        self._publisher.log(
            "error" if why else "info", f"tuning of scan {now.series} {now.state}{': ' * bool(why)}{why}"
        )


def _hear(now: Standing, message: Mapping[str, Any]) -> None:
    news = {name: value for name, value in message.items() if name != "kind"}
    if message["kind"] == "doing":
        now.message = str(message["message"])
        return
    if message["kind"] == "standing":
        now.message = ""
    now.report = {**now.report, **news}


def _folder(recording: Path, request: Mapping[str, Any]) -> Path:
    """Return the folder with trials of the same request, or a new one next to the recording. Raises CommandError."""
    plain = json.loads(json.dumps(request))
    for number in range(1, MOST_FOLDERS + 1):
        folder = recording.with_name(f"{recording.stem}_tuning{'' if number == 1 else number}")
        if not folder.exists():
            break
        if _stored_request(folder) == plain:
            return folder
    else:
        raise CommandError(f"{recording.stem} has {MOST_FOLDERS} tunings already", "remove some of their folders")
    try:
        folder.mkdir()
        _write_request(folder, json.dumps(plain))
    except OSError as error:
        problem = f"{folder} could not be written: {error.strerror or error}"
        raise CommandError(problem, "make room, or check the permissions of the folder") from None
    return folder


def _write_request(folder: Path, text: str) -> None:
    """Write a request into its new folder, or remove the folder. Raises OSError."""
    try:
        with replacing(folder / ASKED_FILE) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError:
        with suppress(OSError):
            folder.rmdir()
        raise


def _stored_outcome(recording: Path) -> dict[str, Any]:
    """Return the outcome of the last tuning of a scan; empty if there was none."""
    from ptylive.application.tuning.plain_state import SUMMARY_FILE, kept

    found = [path for path in recording.parent.glob(f"{glob.escape(recording.stem)}_tuning*/{SUMMARY_FILE}")]
    newest = max(found, key=_changed, default=None)
    outcome = {} if newest is None else kept(newest.parent)
    if newest is None or not outcome:
        return {}
    return {**outcome, "asked": {n: v for n, v in _stored_request(newest.parent).items() if n in AGAIN}}


def _stored_request(folder: Path) -> dict[str, Any]:
    """Return the request behind the trials of a folder; empty if unknown."""
    try:
        found = json.loads(read_text(folder / ASKED_FILE, MOST_ASKED_BYTES))
    except (InputFileError, OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
