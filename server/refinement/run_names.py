"""Where a scan and its results lie, and names of its refinements that nobody else has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptylive.engine.results_file import release_run, reserve_run
from ptylive.schema import CommandError, PtyliveError
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.session.finisher import results_path
from ptylive.server.session.scan_session import ScanSession


@contextmanager
def reserved(scan: ScanSession) -> Iterator[str]:
    """A name that no refinement of the scan has or ever had, given back where none begins. Raises ResultsFileError."""
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


def release_unused(job: RefineJob) -> None:
    """Give back the name of a refinement that has ended, unless a checkpoint may be gone on from under that name.

    What is in the results file, or waits beside it, holds its name by itself.
    """
    from ptylive.engine.refine.run.checkpoint import exists

    if job.checkpoint is None or not exists(job.checkpoint):
        release_run(job.results, job.run)


def recording_of(scan: ScanSession) -> Path:
    """Where a scan is recorded. It may be taken back at any moment, as on a full disk: CommandError where it is."""
    if (recording := scan.recording) is None:
        raise CommandError("refinement needs the recording, and this scan has none", "start without --no-record")
    return Path(recording)


def results_of(scan: ScanSession) -> Path:
    """The results file of a scan, whether it is there or not."""
    return scan.results or results_path(recording_of(scan))
