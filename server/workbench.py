"""What a person does with scans beside receiving and refining them: detectors, checks, history, notes, exports.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from ptylive.engine.results import read_runs
from ptylive.schema import Arm, CommandError
from ptylive.schema.preset import Preset
from ptylive.server.checks import Checked
from ptylive.server.config import ServerConfig
from ptylive.server.detectors import DetectorBank, VirtualDetector, parse_detectors
from ptylive.server.finisher import Finisher
from ptylive.server.library import Export, Library, export_stem, read_note, read_run, write_note
from ptylive.server.messages import array_from_plain
from ptylive.server.publisher import Publisher
from ptylive.server.refinements import Refinements
from ptylive.server.scan_session import ScanSession


class Stage(Protocol):
    """Whoever decides which scan is shown."""

    @property
    def shown(self) -> ScanSession | None:
        """The scan that is shown."""
        ...

    def show(self, scan: ScanSession | None) -> None:
        """Show a past scan; None: the newest live one."""
        ...


class Workbench:
    """The commands of :mod:`ptylive.server.workbench`, on the scan that ``stage`` shows."""

    def __init__(
        self, config: ServerConfig, publisher: Publisher, refinements: Refinements, stage: Stage, finisher: Finisher
    ) -> None:
        self._config, self._publisher, self._refinements = config, publisher, refinements
        self._stage, self._finisher = stage, finisher
        self._library = Library(config.recording_folder)
        self._detectors: tuple[VirtualDetector, ...] = ()

    def _scan(self) -> ScanSession:
        scan = self._stage.shown
        if scan is None:
            raise CommandError("there is no scan yet")
        return scan

    # -- detectors ------------------------------------------------------------------------------------------------

    def bank(self, arm: Arm) -> DetectorBank | None:
        """The detectors of a new scan; None where no raw frames come."""
        if arm.scan.shape is None or arm.detector.shape is None or not arm.basis.is_raw:
            return None
        bank = DetectorBank(arm)
        bank.use(self._detectors)
        return bank

    def command_detectors(self, detectors: Iterable[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """The virtual detectors; with an argument, use exactly these from now on (maps `vd_<name>`)."""
        if detectors is not None:
            found = parse_detectors(detectors)
            scan = self._stage.shown
            if scan is not None:
                self._equip(scan, found)
            self._detectors = found
        return {"detectors": [one.model_dump(mode="json") for one in self._detectors]}

    def _equip(self, scan: ScanSession, detectors: tuple[VirtualDetector, ...]) -> None:
        with scan.lock:
            if scan.detectors is None:
                scan.detectors = self.bank(scan.arm)
            if scan.detectors is None:
                raise CommandError("virtual detectors need raw frames, and this scan has none")
            scan.detectors.use(detectors)
        if scan.finished.is_set():
            self._finisher.fill_detectors(scan)

    # -- refinement -----------------------------------------------------------------------------------------------

    def command_check(self, preset: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Look at scan and settings before a refinement: [{name, state: ok, warn, bad or unknown, text}]."""
        chosen = Preset.from_mapping({**self._config.refine, **(preset or {})})
        scan = self._scan()
        frames = int(np.count_nonzero(scan.coverage))
        return {"checks": [c.to_plain() for c in Checked.now(scan.arm, scan.calibration, chosen, frames).all()]}

    def command_runs(self, pictures: Iterable[str] = ()) -> dict[str, Any]:
        """Refinements of the current scan; ``pictures`` names runs whose object, losses and preset come along."""
        scan = self._stage.shown
        results = None if scan is None else scan.results
        if results is None:
            return {"runs": {}, "pictures": []}
        names = [pictures] if isinstance(pictures, str) else list(pictures)
        return {"runs": read_runs(results), "pictures": [read_run(results, str(name)) for name in names[:4]]}

    # -- past scans -----------------------------------------------------------------------------------------------

    def command_history(self, limit: int = 24, offset: int = 0) -> dict[str, Any]:
        """Scans of the recording folder, newest first, each with thumbnail, calibration, refinements and note."""
        return self._library.history(limit, offset)

    def command_open(self, recording: str = "") -> dict[str, Any]:
        """Show a past scan, to be looked at, calibrated or refined again; without a name, the newest live one."""
        if self._refinements.busy:
            raise CommandError("a refinement is running", "stop it first")
        if not recording:
            self._stage.show(None)
            return {}
        scan = self._library.open(recording)
        scan.detectors = self.bank(scan.arm)
        self._stage.show(scan)
        for payload in scan.pictures.values():
            self._publisher.publish("maps", payload)
        if not scan.pictures:
            self._finisher.add(scan)
        return {"uid": scan.uid, "recording": str(scan.recording), "results": str(scan.results or "")}

    def command_note(self, text: str | None = None, recording: str = "") -> dict[str, Any]:
        """The note of a scan (default: the one that is shown); with a text, write it."""
        path = self._library.find(recording) if recording else self._scan().recording
        if path is None:
            raise CommandError("a note is kept beside the recording, and this scan has none")
        if text is not None:
            write_note(path, str(text))
        return {"note": read_note(path)}

    def command_export(
        self,
        map: str,
        formats: Iterable[str] = ("png", "tiff"),
        colour_map: str = "gray",
        limits: Iterable[float] | None = None,
    ) -> dict[str, Any]:
        """Write a map as shown (`png`) and as floats (`tiff`) beside the recording; `object` is the refined phase."""
        scan = self._scan()
        payload = self._refinements.current.object if map == "object" else scan.pictures.get(map)
        if payload is None:
            raise CommandError(f"there is no map {map!r}", f"there are {', '.join(sorted(scan.pictures)) or 'none'}")
        data = array_from_plain(payload)
        coverage = scan.coverage
        visited = coverage if coverage.shape == data.shape and not coverage.all() else None
        sampling = payload.get("sampling_A")
        span = None if limits is None else tuple(float(v) for v in limits)
        if span is not None and (len(span) != 2 or not span[0] < span[1]):
            raise CommandError("limits are two numbers, the smaller first")
        picture = Export(
            np.asarray(data, dtype=np.float32),
            visited,
            None if sampling is None else (float(sampling[0]), float(sampling[1])),
            colour_map,
            None if span is None else (span[0], span[1]),
        )
        folder = scan.recording.parent if scan.recording is not None else self._library.folder
        written = picture.write(export_stem(scan.recording, folder, scan.arm.series, map), formats)
        return {"files": [str(path) for path in written], "path": str(written[0]) if written else ""}
