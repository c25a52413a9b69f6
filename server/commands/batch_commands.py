"""Commands that refine many scans of the recording folder (docs/batch.md).

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ptylive.application.batch.maps import start_map_settings, with_absolute_masks
from ptylive.application.batch.rows import read_rows
from ptylive.application.extensions import Preset
from ptylive.schema import CommandError
from ptylive.server.commands.analysis_commands import AnalysisCommands
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.commands.map_commands import MapCommands
from ptylive.server.commands.placement import AllowedPlaces
from ptylive.server.process.config import ServerConfig
from ptylive.server.tune.side_work import SideWork
from ptylive.server.wire.publisher import Publisher

MODULE = "ptylive.server.batch.batch_process"
MOST_SCANS = 1000
NOTHING_LEFT = "nothing left to do: every scan is already done with these settings, or failed before"
SHOWN = ("state", "doing", "run", "epoch", "epochs", "loss", "seconds", "information_limit_A", "reason", "remarks")


class BatchCommands:
    """The commands of :mod:`ptylive.server.commands.batch_commands`.

    ``find`` returns the path of a recording by name. When a batch begins, the current values that override the
    recordings, map settings and virtual detectors are read from ``calibration``, ``maps`` and ``analysis``.
    """

    def __init__(
        self,
        config: ServerConfig,
        publisher: Publisher,
        find: Callable[[str], Path],
        placement: AllowedPlaces,
        calibration: CalibrationCommands,
        maps: MapCommands,
        analysis: AnalysisCommands,
    ) -> None:
        self._config, self._publisher, self._find = config, publisher, find
        self._calibration, self._maps, self._analysis = calibration, maps, analysis
        self._placement = placement
        self._work = SideWork("the batch", MODULE)
        self._state, self._message, self._place = "none", "", ""
        self._scans: list[str] = []
        self._worked = False
        """Whether the batch had anything to do."""
        self._rows: list[dict[str, Any]] | None = None

    def command_batch(
        self, recordings: Iterable[str], preset: Mapping[str, Any] | None = None, place: str = "", retry: bool = False
    ) -> dict[str, Any]:
        """Refine scans of the recording folder, as many in parallel as there is room for, skipping those already done.

        Their maps get this server's current settings and virtual detectors. ``retry``: also scans that failed before.
        """
        names = list(dict.fromkeys([recordings] if isinstance(recordings, str) else recordings))
        if not 1 <= len(names) <= MOST_SCANS:
            raise CommandError(f"{len(names)} scans are named", f"give 1 to {MOST_SCANS} names")
        wanted, of_maps = {**self._config.refine, **(preset or {})}, self._maps.settings
        chosen = Preset.from_mapping(wanted).start.map_settings
        of_start = {name: value for name, value in start_map_settings(wanted, of_maps).items() if name not in chosen}
        checked = Preset.from_mapping({**wanted, **of_start})
        placement = self._placement.series(place)
        paths = [self._find(name) for name in names]
        request = {
            "scans": [str(path) for path in paths],
            "folder": str(paths[0].parent),
            "preset": checked.model_dump(exclude_unset=True, mode="json"),
            "values": self._calibration.pinned,
            "defaults": dict(self._config.defaults),
            "backend": self._config.backend,
            "threads": self._config.refine_threads,
            "retry": retry,
            "map_settings": of_maps,
            "detectors": with_absolute_masks(self._analysis.detector_texts),
            "command_line": "ptylive serve",
            "where": list(placement.request),
        }
        if self._work.runs:
            raise CommandError("a batch is running", "stop it first, or wait for its end")
        self._scans, self._rows = [path.name for path in paths], []
        self._state, self._message, self._place, self._worked = "running", "", placement.words, False
        self._work.begin(request, self._hear, self._note_ended)
        return {"scans": len(paths), "state": "running"}

    def command_batch_stop(self) -> dict[str, Any]:
        """Stop the batch; the next batch resumes scans that were being refined."""
        self._work.stop()
        self._state = "stopping"
        return {}

    def command_batch_status(self) -> dict[str, Any]:
        """Return the last batch: a row per scan, with failures and reasons; after a restart, all rows of the table."""
        rows = self._rows
        if rows is None:
            folder = self._config.recording_folder
            rows = [] if folder is None else [row.model_dump(mode="json") for row in read_rows(folder)[-MOST_SCANS:]]
        shown = [{"recording": Path(row["scan"]).name, **{name: row[name] for name in SHOWN}} for row in rows]
        return {"state": self._state, "message": self._message, "place": self._place, "rows": shown}

    def command_batch_table(self) -> dict[str, Any]:
        """Write the table of all batches in the recording folder as one page, including pictures."""
        from ptylive.application.batch.table import write_standalone

        folder = self._config.recording_folder
        rows = [] if folder is None else read_rows(folder)
        if folder is None or not rows:
            raise CommandError("there is no table yet", "refine some scans first")
        return {"path": str(write_standalone(folder, rows))}

    @property
    def summary(self) -> dict[str, Any]:
        """The part shown in `status`. Never blocks."""
        counts = Counter(str(row["state"]) for row in self._rows or ())
        ended = {"done": counts["done"], "failed": counts["failed"]}
        return {"state": self._state, **ended, "scans": len(self._scans)}

    def needs(self, recording: Path) -> bool:
        """Return whether a running batch reads a recording."""
        return self._work.runs and recording.name in self._scans

    def close(self) -> None:
        """End the running batch."""
        self._work.close()

    def _hear(self, message: Mapping[str, Any]) -> None:
        if message["kind"] == "rows":
            self._rows, self._message = list(message["rows"]), ""
            self._worked |= any(row["state"] == "running" for row in self._rows)
        else:
            self._message = str(message.get("message", ""))

    def _note_ended(self, why: str) -> None:
        self._state = "failed" if why else "stopped" if self._work.stopping else "done"
        self._message = why or ("" if self._worked else NOTHING_LEFT)
        line = f"batch {self._state}"
        self._publisher.log("error" if why else "info", f"{line}: {why}" if why else line)
