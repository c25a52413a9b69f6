"""Scans of one place at other tilts, refined together with the scan of a job (docs/how-to/tilt-series.md).

As for the command line, :mod:`ptylive.application.tilt_series` decides which scans go together and where each lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ptylive.application.offline import start_of
from ptylive.schema import CommandError
from ptylive.schema.errors import brief
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.streamer.vetting.known_files import FileAdmission, known_as, trust

if TYPE_CHECKING:
    from ptylive.application.extensions import Preset
    from ptylive.engine.dataset import Dataset
    from ptylive.schema.preset.start import StartSettings
    from ptylive.server.session.scan_session import ScanSession


def check_map_settings(scan: ScanSession, start: StartSettings) -> None:
    """Raise CommandError if a scan's starting map has, or will have, settings other than those wanted."""
    live_map = scan.map(start.start_map)
    for name, value in start.map_settings.items():
        used = scan.map_settings.get(name) if live_map is None else live_map.settings.get(name.partition(".")[2])
        if used != value:
            used_text = "its default" if used is None else f"{used:g}"
            raise CommandError(
                f"{name} = {value:g} is requested, but {start.start_map} was made with {used_text}",
                "the displayed map is the starting object: set the value there, or with map_settings, and refine again",
            )


def opened_beside(
    names: Iterable[str], first: ScanSession, preset: Preset, opened: Callable[[str], ScanSession]
) -> tuple[ScanSession, ...]:
    """Open scans of the library by name, each of which has the map needed to locate it.

    Raises CommandError for a scan that cannot be combined with ``first``: ``first`` itself, a scan given twice, one
    without frames or without that map; also if the preset does not have a tilt for each scan. Errors raised by
    ``opened`` pass through.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    tilts, given = preset.scans.scan_tilts_mrad, preset.scans.scan_shifts_A
    if not wanted:
        return ()
    if len(tilts or ()) != len(wanted) + 1:
        said = f"has {len(tilts)} tilts" if tilts else "is not given"
        raise CommandError(
            f"{len(wanted) + 1} scans, but scan_tilts_mrad {said}", "give one tilt (row, column) per scan"
        )
    own = "" if first.recording is None else Path(first.recording).name
    if len({own, *wanted}) <= len(wanted):
        raise CommandError("a scan is named twice", "name each scan once; the displayed scan is already the first")
    found = []
    for name in wanted:
        scan = opened(name)
        if not scan.header.basis.is_raw:
            raise CommandError(f"{brief(name)} holds coefficients", "scans can be refined together from frames only")
        if given is None and scan.map(preset.start.start_map) is None:
            missing = f"{brief(name)} has no map {preset.start.start_map} to align it with"
            raise CommandError(missing, "open it, and wait for its maps")
        found.append(scan)
    return tuple(found)


def with_drafts(job: RefineJob, beside: Iterable[ScanSession]) -> RefineJob:
    """Return the job with those of the other scans added. Raises MetadataError if given values differ between scans."""
    from ptylive.engine.refine.data.series.joint_scans import under_one_calibration
    from ptylive.server.refinement.scan_updates import plain_values

    drafts = []
    for scan in beside:
        assert scan.recording is not None  # noqa: S101  (every scan of the library has one)
        common = under_one_calibration(job.calibration, scan.calibration)
        draft = replace(
            job,
            recording=scan.recording,
            calibration=common,
            start=start_of(scan.map, job.preset.start, common),
            values=plain_values(scan.header),
            known=known_as(scan.recording),
            beside=(),
        )
        drafts.append(draft)
    return replace(job, beside=tuple(drafts))


def together_with(
    job: RefineJob, first: Dataset, opened: ExitStack, admission: FileAdmission, tell: Callable[[str], None]
) -> Dataset:
    """Combine the scan of a job and the other scans into one data set; ``opened`` keeps their files open.

    ``tell`` receives the position found for each scan. Raises MetadataError, InputFileError.
    """
    if not job.beside:
        return first
    from ptylive.application.tilt_series import RecordedScan, together
    from ptylive.streamer.source import open_source

    scans = [RecordedScan(job.recording.name, first, job.start)]
    for draft in job.beside:
        trust(draft.recording, draft.known)
        admission.admit_scan(draft.recording)
        source = opened.enter_context(open_source(draft.recording, draft.values))
        scans.append(RecordedScan.under(draft.calibration, source, draft.start))
    return together(scans, job.preset, tell)
