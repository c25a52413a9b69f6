"""Paths of a scan and its results, and unique names for its refinements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptylive.engine.results_file import release_run, reserve_run
from ptylive.schema import CommandError, PtyliveError
from ptylive.server.session.finisher import results_path
from ptylive.server.session.scan_session import ScanSession


@contextmanager
def reserved(scan: ScanSession) -> Iterator[str]:
    """Reserve a run name never used for the scan; it is released if no refinement begins. Raises ResultsFileError."""
    if scan.recording is None:
        yield "run1"
        return
    results = results_of(scan)
    run = reserve_run(results)
    try:
        yield run
    except PtyliveError:
        release_run(results, run)
        raise


def recording_of(scan: ScanSession) -> Path:
    """Return the path of a scan's recording. Raises CommandError if there is none, which a full disk may cause."""
    if (recording := scan.recording) is None:
        raise CommandError(
            "refinement needs the recording, but this scan was not recorded", "start without --no-record"
        )
    return Path(recording)


def results_of(scan: ScanSession) -> Path:
    """Return the path of the results file of a scan, whether or not it exists."""
    return scan.results or results_path(recording_of(scan))
