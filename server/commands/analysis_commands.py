"""Commands on the scan being shown, other than refining it: detectors, trotters, runs, exports.

Every public ``command_*`` method is a command of the control protocol (docs/protocol.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.application.detector_texts import equip, named_detectors, read_detectors, text_of
from ptylive.application.export import MAP_FORMATS, Export, export_stem, named
from ptylive.application.outputs import FILM, RENAME, REPORT, check_own_file, write_own
from ptylive.engine.imaging.virtual_detectors import DetectorBank, MaskDetector, VirtualDetector, parse_detectors
from ptylive.engine.live.trotter import Trotter, trotter
from ptylive.engine.refine.run.history import snapshots
from ptylive.engine.results import read_runs
from ptylive.schema import CommandError, InputFileError, LiveMap, PtyliveError, ScanHeader
from ptylive.server.commands.checks import CheckCommands
from ptylive.server.commands.library_commands import Stage
from ptylive.server.commands.reflections import found_reflections
from ptylive.server.commands.runs import nominal_positions, read_run, run_curves
from ptylive.server.commands.side_by_side import film_of, report_page, side_by_side
from ptylive.server.process.config import ServerConfig
from ptylive.server.refinement.kept_jobs import is_kept
from ptylive.server.refinement.refine_job import history_of
from ptylive.server.refinement.refinements import Refinements
from ptylive.server.session.finisher import Finisher
from ptylive.server.session.kept_patterns import MOST_AVERAGED
from ptylive.server.session.library import LARGE
from ptylive.server.session.scan_session import ScanSession
from ptylive.server.session.stored_scans import mean_pattern
from ptylive.server.session.waiting_results import merge_waiting_now
from ptylive.server.wire.messages import array_from_plain, array_to_plain

SLICE, SLICE_AMPLITUDE = "slice:", "slice_amplitude:"
AMPLITUDE, DEVIATION = "object_amplitude", "object_deviation"


class AnalysisCommands:
    """The commands of :mod:`ptylive.server.commands.analysis_commands`, on the scan that ``stage`` shows."""

    def __init__(self, config: ServerConfig, refinements: Refinements, stage: Stage, finisher: Finisher) -> None:
        self._config, self._refinements = config, refinements
        self._stage, self._finisher = stage, finisher
        self.checks = CheckCommands(config, stage, finisher)
        self._detectors: tuple[VirtualDetector, ...] = ()
        self._written: dict[str, str] = config.virtual_detectors
        self._reflections: tuple[MaskDetector, ...] = ()

    def _scan(self) -> ScanSession:
        scan = self._stage.shown
        if scan is None:
            raise CommandError("there is no scan yet")
        return scan

    # -- detectors ------------------------------------------------------------------------------------------------

    def bank(self, header: ScanHeader) -> DetectorBank | None:
        """Return the detectors of a new scan; None if it sends no raw frames."""
        if header.scan.shape is None or header.detector.shape is None or not header.basis.is_raw:
            return None
        bank = DetectorBank(header)
        self._equip_bank(bank)
        return bank

    def _equip_bank(self, bank: DetectorBank) -> None:
        """Equip a bank with the drawn and written detectors, and the reflections of a tilt series on this detector."""
        fitting = [detector for detector in self._reflections if detector.weights.shape == bank.header.detector_shape]
        equip(bank, read_detectors(self._written), [*self._detectors, *fitting])

    def command_detectors(self, detectors: Iterable[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """Return the virtual detectors; with an argument, use exactly these from now on (maps `vd_<name>`)."""
        if detectors is not None:
            given = list(detectors)
            found = parse_detectors(one for one in given if "what" not in one)
            written = named_detectors([one for one in given if "what" in one], found, self._config.virtual_detectors)
            before, (self._detectors, self._written) = (self._detectors, self._written), (found, written)
            scan = self._stage.shown
            if scan is not None:
                try:
                    self._equip(scan)
                except PtyliveError:
                    self._detectors, self._written = before
                    if scan.detectors is not None:
                        self._equip(scan)
                    raise
        drawn = [one.model_dump(mode="json") for one in self._detectors]
        return {"detectors": [*drawn, *({"name": name, "what": what} for name, what in self._written.items())]}

    @property
    def detector_texts(self) -> dict[str, str]:
        """Texts of all drawn and written detectors by name, for
        :func:`ptylive.application.detector_texts.read_detectors`.
        """
        return {**{detector.name: text_of(detector) for detector in self._detectors}, **self._written}

    def command_reflections(self, cell: Iterable[float] | None = None, number: int = 12) -> dict[str, Any]:
        """Show each of the strongest reflections of a tilt series as a map `vd_g<h>_<k>`, for this and later scans.

        ``cell``: a and b in Å and their angle in degrees; ``number`` 0: none from now on; without ``cell`` the current
        reflections are returned unchanged.
        """
        if cell is not None or number == 0:
            scan = self._scan()
            found = () if number == 0 or cell is None else found_reflections(scan, cell, number)
            before, self._reflections = self._reflections, found
            try:
                self._equip(scan)
            except PtyliveError:
                self._reflections = before
                raise
        return {"reflections": [{"name": detector.name, "source": detector.source} for detector in self._reflections]}

    def _equip(self, scan: ScanSession) -> None:
        with scan.lock:
            if scan.detectors is None:
                scan.detectors = self.bank(scan.header)
            if scan.detectors is None:
                raise CommandError("virtual detectors need raw frames, but this scan has none")
            self._equip_bank(scan.detectors)
            problems = scan.place_detectors()
        if problems and scan.finished.is_set():  # otherwise it may be known once more frames have arrived
            raise CommandError(problems[0])
        if scan.finished.is_set():
            self._finisher.fill_detectors(scan)

    # -- trotters -------------------------------------------------------------------------------------------------

    def command_trotter(self, q_invA: Iterable[float] | None = None) -> dict[str, Any]:
        """Return the 4D data at one spatial frequency (row, col; scan axes) over the detector; default the strongest.

        ``before`` and ``after`` compensating the aberrations in use; ``area``: where two discs overlap.
        """
        scan = self._scan()
        with scan.lock:
            store = None if scan.engine is None else scan.engine.store
            if store is None:
                hint = (
                    "wait for frames; for a scan from the library, change or estimate a value to have its frames read"
                )
                raise CommandError("no frames of this scan are in memory", hint)
            return trotter_to_plain(trotter(store, scan.calibration, _frequency(q_invA)))

    # -- refinement -----------------------------------------------------------------------------------------------

    def command_runs(self, pictures: Iterable[str] = ()) -> dict[str, Any]:
        """List refinements of the current scan; ``pictures`` names runs to return with object, losses and preset."""
        scan = self._stage.shown
        results = None if scan is None else scan.results
        if scan is None or results is None:
            return {"runs": {}, "pictures": []}
        names = [pictures] if isinstance(pictures, str) else list(pictures)
        nominal = nominal_positions(scan) if names else None
        files = self._finisher.files
        merge_waiting_now(results, self._finisher.tell)
        shown = [files.read(read_run, results, LARGE, run=str(name), nominal_A=nominal) for name in names[:4]]
        shown = [{**run, "resumable": is_kept(scan.recording, run["run"])} for run in shown]
        return {"runs": files.read(read_runs, results), "pictures": shown}

    def command_analyse(self, run: str, other: str = "", line_A: Iterable[float] | None = None) -> dict[str, Any]:
        """Return the depth section of a refinement along a line, and its ring correlation with another of this scan."""
        results = self._scan().results
        if results is None:
            raise CommandError("this scan has no refinement yet", "start one with refine")
        line = None if line_A is None else [float(v) for v in line_A]
        return dict(self._finisher.files.read(run_curves, results, LARGE, run=run, other=other, line_A=line))

    def command_pattern(self, point: Iterable[float], to: Iterable[float] | None = None) -> dict[str, Any]:
        """Return the recorded diffraction pattern of a scan point (row, column); with ``to`` the mean of a rectangle.

        While the scan arrives, the kept patterns are used: ``nearest`` is then the point of the pattern, if it differs
        from the requested one.
        """
        scan = self._scan()
        corners = [_point(scan, point), _point(scan, point if to is None else to)]
        if scan.kept is not None and not scan.recorded.is_set():
            return _mean_of_stored(scan, corners)
        if scan.recording is None or not scan.recorded.is_set():
            hint = "it is available when the scan has ended" if scan.recording_error == "" else scan.recording_error
            raise CommandError("the pattern of a point comes from the recording of the scan", hint)
        (top, left), (bottom, right) = np.min(corners, axis=0), np.max(corners, axis=0)
        width = int(right - left + 1)
        count = width * int(bottom - top + 1)
        rows, cols = np.divmod(np.arange(0, count, -(-count // MOST_AVERAGED)), width)
        points = (top + rows) * scan.header.scan.require_shape()[1] + left + cols
        numbers = scan.header.scan.acquired_at(points).ravel()
        numbers = numbers[:: -(-len(numbers) // MOST_AVERAGED)]  # points may have been visited several times
        found = self._finisher.files.read(mean_pattern, scan.recording, LARGE, numbers=numbers)
        if found["pattern"] is None:
            raise CommandError("there is no pattern for this point", "its frame was lost, or not kept")
        return {"pattern": array_to_plain(found["pattern"]), "frames": int(found["frames"])}

    # -- exports --------------------------------------------------------------------------------------------------

    def _to_export(self, scan: ScanSession, name: str) -> dict[str, Any]:
        """Return a named array of the scan being shown. Raises CommandError if there is none of that name."""
        run = self._refinements.current
        if refined(name):
            if run.uid != scan.uid or run.object is None:
                raise CommandError("this scan has not been refined since the server started", "refine it first")
            if name == "object":
                return run.object
            if name == DEVIATION:
                if run.object_deviation is None:
                    raise CommandError(
                        "the standard deviation of this refinement is not available", "it is available at its end"
                    )
                return run.object_deviation
            if name == AMPLITUDE or (name.startswith(SLICE_AMPLITUDE) and run.slice_amplitudes is None):
                if run.object_amplitude is None:
                    raise CommandError("the object of this refinement has a phase only", "export object instead")
                if name == AMPLITUDE:
                    return run.object_amplitude
            known = run.slice_amplitudes if name.startswith(SLICE_AMPLITUDE) else run.slices
            return _slice(known, name.partition(":")[2])
        payload = scan.pictures.get(name)
        if payload is None:
            raise CommandError(f"there is no map {name!r}", f"available: {', '.join(sorted(scan.pictures)) or 'none'}")
        return payload

    def command_export(
        self,
        map: str,
        formats: Iterable[str] = ("png", "tiff"),
        colour_map: str = "gray",
        limits: Iterable[float] | None = None,
    ) -> dict[str, Any]:
        """Write a map, `object`, its `slice:N`, `object_amplitude`, `slice_amplitude:N` or `object_deviation`.

        `png` is written as shown, `tiff` and `hspy` as floats.
        """
        scan = self._scan()
        payload = self._to_export(scan, map)
        data = np.asarray(array_from_plain(payload), dtype=np.float32)
        coverage = scan.coverage
        visited = coverage if coverage.shape == data.shape and not coverage.all() else None
        if map == DEVIATION:
            visited = np.isfinite(data)
        sampling = payload.get("sampling_A")
        live_map = LiveMap(
            name=map,
            data=data,
            units=str(payload.get("units") or ("rad" if refined(map) and "amplitude" not in map else "")),
            sampling_A=None if sampling is None else (float(sampling[0]), float(sampling[1])),
            frames=int(payload.get("frames") or 0),
            method=str(payload.get("method") or ""),
        )
        picture = Export(live_map, visited, colour_map, _span(limits))
        name = f"{self._refinements.current.run}_{map}" if refined(map) else map
        stem = self._export_stem(scan, name)
        for kind in (kind for kind in formats if kind in MAP_FORMATS):
            check_own_file(named(stem, kind), kind, other=RENAME)
        files = picture.write(stem, formats)
        return {"files": [str(path) for path in files], "path": str(files[0]) if files else ""}

    def _export_stem(self, scan: ScanSession, name: str) -> Path:
        """Return the path for a file of a scan, without its suffix. Raises CommandError if there is no folder."""
        folder = self._config.recording_folder if scan.recording is None else scan.recording.parent
        if folder is None:
            raise CommandError("this server has no folder to export to", "start it without --no-record")
        return export_stem(scan.recording, folder, scan.header.series, name)

    def command_side_by_side(self) -> dict[str, Any]:
        """Write maps and refined object as one picture next to the recording, and return how well they agree."""
        return self._drawn(side_by_side, "side_by_side", "png")

    def command_report(self) -> dict[str, Any]:
        """Write maps, calibration and refinement of the scan as one page (HTML) next to the recording."""
        return self._drawn(report_page, "report", "html")

    def command_film(self, run: str = "") -> dict[str, Any]:
        """Write the course of a refinement of the scan as a GIF next to the recording; without ``run``: of the last."""
        scan = self._scan()
        run = run or self._refinements.current.run
        recording = scan.recording
        if recording is None or not run:
            raise CommandError("this scan has no refinement to show", "refine it first")
        folder = history_of(recording, run)
        try:
            last = snapshots(folder)[-1]
        except InputFileError:
            raise CommandError(
                f"no history of {run} was stored", "refine with history, the number of epochs between pictures"
            ) from None
        found = self._finisher.files.read(film_of, last, LARGE)
        path = folder.with_suffix(".gif")
        write_own(path, FILM, found.pop("gif").tobytes())
        return {**found, "run": run, "files": [str(path)], "path": str(path)}

    def _drawn(self, draw: Callable[[Path], dict[str, Any]], name: str, kind: str) -> dict[str, Any]:
        """Make a file from the results; ``kind``: its suffix, and the key of its content in what ``draw`` returns."""
        scan = self._scan()
        results = scan.results
        if results is None:
            raise CommandError("this scan has no results yet", "they are written when it has ended, or with save")
        merge_waiting_now(results, self._finisher.tell)
        found = self._finisher.files.read(draw, results, LARGE)
        path = named(self._export_stem(scan, name), kind)
        write_own(path, REPORT if kind == "html" else kind, found.pop(kind).tobytes())
        return {**found, "files": [str(path)], "path": str(path)}


def _mean_of_stored(scan: ScanSession, corners: list[tuple[int, int]]) -> dict[str, Any]:
    """Return the reply of `pattern` while a scan arrives. Raises CommandError for points of which nothing is kept."""
    with scan.lock:
        stored = scan.kept
        found = None if stored is None else stored.mean(corners[0], corners[1])
    if found is None:
        raise CommandError("no pattern of this point yet", "the scan has not reached it, or its frames are too large")
    plain = {"pattern": array_to_plain(found.pattern), "frames": found.frames}
    return plain if found.nearest is None else {**plain, "nearest": list(found.nearest)}


def _point(scan: ScanSession, point: Iterable[float]) -> tuple[int, int]:
    """Parse a scan point (row, column) given with a command. Raises CommandError for a point outside the scan."""
    rows, cols = scan.header.scan.shape or (0, 0)
    try:
        row, col = (float(value) for value in point)
    except (TypeError, ValueError):
        row = col = math.nan
    if not (row.is_integer() and col.is_integer()):
        raise CommandError("a point is given as ROW, COLUMN", "two whole numbers, from 0")
    if not (0 <= row < rows and 0 <= col < cols):
        raise CommandError(f"point {row:g}, {col:g} lies outside this scan of {rows} x {cols} points")
    return int(row), int(col)


def refined(name: str) -> bool:
    """Return whether a name is that of the refined object, of one of its slices, or of its deviation due to noise."""
    return name in ("object", AMPLITUDE, DEVIATION) or name.startswith((SLICE, SLICE_AMPLITUDE))


def _slice(slices: Mapping[str, Any] | None, number: str) -> dict[str, Any]:
    """Return one of the slices (n, y, x) of the object, counted from 1. Raises CommandError."""
    known = 0 if slices is None else int(slices["shape"][0])
    if slices is None or not number.isdecimal() or not 1 <= int(number) <= known:
        raise CommandError(f"there is no slice {number!r}", f"available: {known or 'object, a single slice'}")
    return {**slices, **array_to_plain(array_from_plain(slices)[int(number) - 1])}


def _span(limits: Iterable[float] | None) -> tuple[float, float] | None:
    """Parse contrast limits given with a command. Raises CommandError."""
    if limits is None:
        return None
    span = tuple(float(v) for v in limits)
    if len(span) != 2 or not span[0] < span[1]:
        raise CommandError("limits must be two numbers, the smaller first")
    return span[0], span[1]


def trotter_to_plain(found: Trotter) -> dict[str, Any]:
    """Return the reply to `trotter` (docs/protocol.md)."""
    return {
        "q_invA": list(found.q_invA),
        "origin_px": list(found.origin_px),
        "flatness": list(found.flatness),
        "before": array_to_plain(found.values),
        "after": array_to_plain(found.compensated),
        "area": array_to_plain(found.area.astype(np.uint8)),
    }


def _frequency(q_invA: Iterable[float] | None) -> tuple[float, float] | None:
    """Parse a spatial frequency given with a command. Raises CommandError."""
    if q_invA is None:
        return None
    values = [float(v) for v in q_invA]
    if len(values) != 2 or not np.isfinite(values).all():
        raise CommandError("q_invA must be two numbers, row and column, in 1/Å")
    return values[0], values[1]
