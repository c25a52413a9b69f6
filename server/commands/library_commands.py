"""Commands on past scans: list, open, annotate, replay, move to the trash.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from ptylive.engine.imaging.virtual_detectors import DetectorBank
from ptylive.engine.results import read_runs
from ptylive.schema import CommandError, ScanHeader
from ptylive.server.commands.runs import read_run
from ptylive.server.process.config import ServerConfig
from ptylive.server.session.finisher import Finisher
from ptylive.server.session.library import LARGE, Library, read_remark, write_note
from ptylive.server.session.library_filter import Wanted
from ptylive.server.session.run_names import results_path
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.stored_metadata import describe_metadata
from ptylive.server.session.stored_scans import run_number
from ptylive.server.session.waiting_results import merge_waiting_now
from ptylive.server.wire.publisher import Publisher
from ptylive.simulators.data import bundled

REPLAY_FRAMES_PER_S = 500.0
MOST_FETCHED = 24
LAST, MOST_PICTURES = "last", 4
MOST_AUTHOR = 64
DEMO = "mos2_svac_80kV_focus"
END_TIMEOUT_S = 3.0


class Stage(Protocol):
    """The object that decides which scan is shown."""

    @property
    def shown(self) -> ScanSession | None:
        """The scan being shown."""
        ...

    def show(self, scan: ScanSession | None) -> None:
        """Show a past scan; None: the newest live scan."""
        ...

    def needs(self, recording: Path) -> bool:
        """Return whether a recording is still being read."""
        ...


class LibraryCommands:
    """The commands of :mod:`ptylive.server.commands.library_commands`.

    ``bank`` makes the virtual detectors of an opened scan; ``data`` is the address where this server receives.
    """

    def __init__(
        self,
        config: ServerConfig,
        publisher: Publisher,
        stage: Stage,
        finisher: Finisher,
        bank: Callable[[ScanHeader], DetectorBank | None],
        data: str,
    ) -> None:
        self._config, self._publisher, self._stage = config, publisher, stage
        self._finisher, self._bank, self._data = finisher, bank, data
        self._library = Library(config.recording_folder, finisher.files, publisher.log)
        self._replay: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the running replay, if any."""
        if self._replay is not None and self._replay.poll() is None:
            self._replay.terminate()
            try:
                self._replay.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._replay.kill()
        self._replay = None

    def find(self, recording: str) -> Path:
        """Return the path of a recording by name. Raises CommandError if there is none."""
        return self._library.find(recording)

    def open_quietly(self, recording: str) -> ScanSession:
        """Open a past scan without showing it. Raises CommandError, InputFileError."""
        return self._library.open(recording)

    def command_history(
        self,
        limit: int = 24,
        offset: int = 0,
        match: str = "",
        refined: bool = False,
        since: str = "",
        until: str = "",
    ) -> dict[str, Any]:
        """List scans of the recording folder, newest first, each with thumbnail, calibration, refinements and note.

        ``match``: words in name or note (tags are words too); ``refined``: only refined scans; ``since``, ``until``:
        first and last day.
        """
        return self._library.history(limit, offset, Wanted.of(match, since, until, refined=refined))

    def command_runs_of(self, recording: str, pictures: Iterable[str] = ()) -> dict[str, Any]:
        """Return the reply of `runs` for a scan of the library that is not shown; ``last`` names its newest run."""
        results, files = results_path(self._library.find(recording)), self._finisher.files
        merge_waiting_now(results, self._finisher.tell)
        runs = files.read(read_runs, results)
        if not runs:
            raise CommandError(f"{recording} has not been refined", "refine it first")
        newest = max(runs, key=run_number)
        names = [newest if name == LAST else str(name) for name in pictures][:MOST_PICTURES]
        return {"runs": runs, "pictures": [files.read(read_run, results, LARGE, run=name) for name in names]}

    def command_metadata(self, recording: str = "") -> dict[str, Any]:
        """Return what was sent and stored with a scan, as texts; by default of the scan being shown."""
        shown = self._stage.shown
        path = self._library.find(recording) if recording else None if shown is None else shown.recording
        if path is None:
            raise CommandError("sent metadata are read from the recording, but this scan was not recorded")
        return {"recording": path.name, **self._finisher.files.read(describe_metadata, path)}

    def command_fetch(self, recordings: Iterable[str]) -> dict[str, Any]:
        """Return paths of recordings with their results and exports, which a viewer's browser may fetch."""
        names = [recordings] if isinstance(recordings, str) else list(recordings)
        if len(names) > MOST_FETCHED:
            raise CommandError(f"{len(names)} scans at once", f"request at most {MOST_FETCHED}")
        return {"files": [str(path) for name in names for path in self._library.files(name)]}

    def command_open(self, recording: str = "") -> dict[str, Any]:
        """Show a past scan for viewing, calibrating or refining again; without a name, the newest live scan."""
        if not recording:
            self._stage.show(None)
            return {}
        scan = self._library.open(recording)
        scan.detectors = self._bank(scan.header)
        self._stage.show(scan)
        for payload in scan.pictures.values():
            self._publisher.publish("maps", payload)
        if scan.pictures:
            self._finisher.show_patterns(scan)
        else:
            self._finisher.add(scan)
        return {"uid": scan.uid, "recording": str(scan.recording), "results": str(scan.results or "")}

    def command_note(
        self, text: str | None = None, recording: str = "", author: str = "", sample: str | None = None
    ) -> dict[str, Any]:
        """Return note and sample of a scan (default: the scan being shown); given texts are written first. #thin is a
        tag.

        ``author``: who writes; filled in automatically for an operator who has given a name.
        """
        shown = self._stage.shown
        path = self._library.find(recording) if recording else None if shown is None else shown.recording
        if path is None:
            raise CommandError("a note is stored next to the recording, but this scan was not recorded")
        if text is not None or sample is not None:
            write_note(path, text, author[:MOST_AUTHOR], sample)
        return read_remark(path)

    def command_replay(
        self, recording: str = "", rate: float = REPLAY_FRAMES_PER_S, demo: bool = False
    ) -> dict[str, Any]:
        """Send a past scan to this server again as a new scan at ``rate`` frames/s; without a name, end the replay.

        ``demo``: send the scan that comes with the program instead.
        """
        if not recording and not demo:
            self.close()
            return {}
        path = bundled(DEMO) if demo else self._library.find(recording)
        if self._config.protocol != "native":
            raise CommandError(
                f"this server listens to a {self._config.protocol} detector", "replay it to another server"
            )
        if self._replay is not None and self._replay.poll() is None:
            raise CommandError("a replay is running", "stop it first: call replay without a recording")
        if not 0 < float(rate) <= 1e6:
            raise CommandError(f"rate {rate!r} is not a number of frames per second")
        command = [sys.executable, "-m", "ptylive.server.cli.main", "replay", str(path), "--to", self._data]
        command += ["--rate", f"{float(rate):g}", "--json"]
        if self._config.key_folder is not None:
            command += ["--keys", str(self._config.key_folder)]
        self._replay = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return {"recording": path.name}

    def command_delete(self, recording: str, sure: bool = False) -> dict[str, Any]:
        """Move a recording and everything belonging to it to the folder `.trash`; requires ``sure``."""
        path = self._library.find(recording)
        shown = self._stage.shown
        if sure is not True:
            raise CommandError(f"delete {recording!r}?", "give sure=true to move it to the trash folder")
        if shown is not None and shown.recording == path:
            raise CommandError("this scan is being displayed", "open another scan first")
        if self._stage.needs(path):
            raise CommandError(f"a refinement needs {recording!r}", "stop or withdraw it first")
        return {"path": str(self._library.discard(path))}

    def command_restore(self, recording: str) -> dict[str, Any]:
        """Move a deleted recording and everything belonging to it back from the folder `.trash`."""
        return {"path": str(self._library.restore(recording))}
