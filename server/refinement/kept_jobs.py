"""The job of a refinement, kept next to its checkpoint, so that a server started later can continue it.

A checkpoint holds the state of a run; its settings, calibration and start are in the job. A run that was cut off before
its first checkpoint is begun again with them. While a refinement is under
way its job is locked, so that no other server continues it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ptylive.engine.results_file import release_run
from ptylive.schema import CommandError, PtyliveError
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.filelock import FileBusyError, locked
from ptylive.schema.files.small_files import read_bytes
from ptylive.server.refinement.refine_job import MAX_JOB_BYTES, RefineJob
from ptylive.server.session.waiting_results import JOB, by_hand, cut_off_runs
from ptylive.server.wire.messages import pack, unpack
from ptylive.streamer.vetting.known_files import known_as

FORMAT = 1
PATIENCE_S = 5.0
"""How long a refinement waits for the lock, which its predecessor may be about to release."""
_OTHERS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, PtyliveError)
"""What reading a damaged job raises, or one that another version of ptylive wrote."""


@dataclass(frozen=True)
class Kept:
    """A kept job. epochs: how many it had done at its end; None: its server was killed, or it is still under way."""

    job: RefineJob
    epochs: int | None = None


def path_of(checkpoint: Path) -> Path:
    """Return where the job of a run is kept."""
    return checkpoint.with_suffix(JOB)


def keep(kept: Kept) -> None:
    """Write a job that has a checkpoint; one of a scan that is still arriving is not complete. Raises OSError."""
    if kept.job.checkpoint is None or kept.job.journal is not None:
        return
    packed = pack({"job": kept.job.to_plain(), "epochs": kept.epochs})
    whole = pack({"format": FORMAT, "sha256": hashlib.sha256(packed).digest(), "kept": packed})
    with replacing(path_of(kept.job.checkpoint)) as temporary:
        temporary.write_bytes(whole)


def release_unused(job: RefineJob) -> None:
    """Release the name of a refinement that has ended, unless it left a checkpoint that can be resumed.

    Runs in the results file, or waiting next to it, keep their names automatically.
    """
    if left_checkpoint(job):
        return
    release_run(job.results, job.run)
    if job.checkpoint is not None:
        with suppress(OSError):
            path_of(job.checkpoint).unlink(missing_ok=True)


def left_checkpoint(job: RefineJob) -> bool:
    """Return whether a refinement wrote a checkpoint from which it can be resumed."""
    from ptylive.engine.refine.run.checkpoint import exists

    return job.checkpoint is not None and exists(job.checkpoint)


@contextmanager
def keeping(job: RefineJob, tell: Callable[[str], None]) -> Iterator[None]:
    """Keep a job while it runs, locked; if that is impossible, ``tell`` gets a line and the job runs all the same."""
    if job.checkpoint is None:
        yield
        return
    path = path_of(job.checkpoint)
    lock = locked(path, PATIENCE_S)
    try:
        lock.__enter__()
    except (OSError, PtyliveError) as error:
        tell(_line(error))
        yield
        return
    try:
        try:
            keep(Kept(job))
        except OSError as error:
            tell(_line(error))
        yield
    finally:
        lock.__exit__(None, None, None)


def is_kept(recording: Path | None, run: str) -> bool:
    """Return whether a run of a recording left a job and a checkpoint."""
    from ptylive.engine.refine.run.checkpoint import exists

    if recording is None:
        return False
    checkpoint = recording.with_name(f"{recording.stem}_{run}.checkpoint")
    return exists(checkpoint) and path_of(checkpoint).is_file()


def find(recording: Path, run: str = "") -> Kept | None:
    """Return the job of a run of a recording, or of its run that was begun last; None where nothing is left to resume.

    A job without a checkpoint counts if its run was cut off; ``resume`` says whether there is one. Its paths are those
    of the recording now. Raises CommandError for a file that cannot be read, and for a refinement that another server
    is running.
    """
    from ptylive.engine.refine.run.checkpoint import exists

    cut_off = {f"{name}_{each}" for name, each in cut_off_runs(recording.parent, recording.stem)}
    found = [path for path in _of(recording) if path.stem in cut_off or exists(path.with_suffix(".checkpoint"))]
    if run:
        found = [path for path in found if path.stem == f"{recording.stem}_{run}"]
    if not found:
        return None
    path = max(found, key=_changed_ns)
    try:
        with locked(path, 0.0):
            kept = _read(path)
    except FileBusyError as error:
        raise CommandError(f"another server is running this refinement: {error}", error.hint) from None
    job, folder = kept.job, recording.parent
    earlier = job.recording.parent
    beside = tuple(
        replace(each, recording=(moved := folder / each.recording.name), known=known_as(moved))
        if each.recording.parent == earlier
        else each
        for each in job.beside
    )
    checkpoint = path.with_suffix(".checkpoint")
    job = replace(job, recording=recording, results=folder / job.results.name, checkpoint=checkpoint)
    return replace(kept, job=replace(job, known=known_as(recording), beside=beside, resume=exists(checkpoint)))


def _of(recording: Path) -> list[Path]:
    """Return the kept jobs of a recording, and not those of a recording whose name begins alike."""
    start = f"{recording.stem}_run"
    names = [path for path in recording.parent.iterdir() if path.suffix == JOB and path.name.startswith(start)]
    return [path for path in names if path.stem.removeprefix(start).isdecimal()]


def _read(path: Path) -> Kept:
    try:
        whole = unpack(read_bytes(path, MAX_JOB_BYTES))
        if whole["format"] != FORMAT or hashlib.sha256(whole["kept"]).digest() != whole["sha256"]:
            raise ValueError
        kept = unpack(whole["kept"])
        return Kept(RefineJob.from_plain(kept["job"]), kept["epochs"])
    except _OTHERS:
        name, _, run = path.stem.rpartition("_")
        problem = f"{path} is damaged, or was written by another version of ptylive"
        raise CommandError(problem, by_hand(name, run)) from None


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _line(error: OSError | PtyliveError) -> str:
    return error.line() if isinstance(error, PtyliveError) else f"{error.filename or 'a file'}: {error.strerror}"
