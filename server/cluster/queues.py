"""Workers as jobs of a batch system (SLURM, PBS, LSF, …), through dask-jobqueue."""

from __future__ import annotations

import importlib.util
import logging
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

from ptylive.schema import MetadataError, PtyliveError
from ptylive.server.cluster.where import QUEUES, Where

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"processes": 1, "scheduler_options": {"dashboard": False, "dashboard_address": ":0"}}
)
"""One worker per job, with all its cores; no web page of the scheduler, which would be open to everybody."""
SUBMIT_S, POLL_S, CLOSE_S = 60.0, 0.1, 10.0
"""Times allowed for submitting the jobs, between checks, and for closing the cluster."""


@contextmanager
def submitted(where: Where, remedy: str) -> Iterator[Any]:
    """Yield a cluster whose jobs were accepted; they are cancelled at the end.

    Raises PtyliveError if dask-jobqueue is missing (``remedy``) or the batch system accepts no jobs, MetadataError for
    options that dask-jobqueue refuses.
    """
    cluster = described(where, remedy)
    program = shlex.split(str(cluster.job_cls.submit_command))[0]
    try:
        if shutil.which(program) is None:
            raise PtyliveError(
                f"{where.kind} does not accept jobs on this machine: {program} is missing",
                "run this on a machine that submits jobs",
            )
        with _problems() as problems:
            cluster.scale(jobs=where.workers)
            _await_jobs(cluster, where, problems)
            cluster.adapt(minimum_jobs=where.workers, maximum_jobs=where.workers)  # replace jobs that end
            yield cluster
    finally:
        with suppress(Exception):
            cluster.close(timeout=CLOSE_S)


def described(where: Where, remedy: str = "") -> Any:
    """Return the dask-jobqueue cluster, with its scheduler but without jobs; its ``job_script()`` is submitted later.

    Raises the same errors as :func:`submitted`.
    """
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise PtyliveError(f"refining by {where.kind} needs dask-jobqueue, which is not installed", remedy)
    import dask_jobqueue

    try:
        return getattr(dask_jobqueue, QUEUES[where.kind])(**{**DEFAULTS, **where.options})
    except (TypeError, ValueError, RuntimeError) as error:
        raise MetadataError(
            f"dask-jobqueue does not accept these options for {where.kind}: {' '.join(str(error).split())}",
            "correct [cluster] of the TOML file, or dask's jobqueue.yaml",
        ) from None


def ended_jobs(cluster: Any, kind: str) -> tuple[str, ...]:
    """Return the numbers of the accepted jobs if all have ended; empty if one waits or runs, or if this is unknown.

    For SLURM only: whether other batch systems forget or keep ended jobs depends on their setup.
    """
    jobs = tuple(str(number) for job in cluster.workers.values() if (number := getattr(job, "job_id", None)))
    if kind != "slurm" or not jobs:
        return ()
    try:
        words = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"]
        reply = subprocess.run(words, capture_output=True, text=True, timeout=CLOSE_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return ()
    forgotten = reply.returncode != 0 and "Invalid job id" in reply.stderr
    return jobs if forgotten or (reply.returncode == 0 and not reply.stdout.strip()) else ()


def _await_jobs(cluster: Any, where: Where, problems: list[str]) -> None:
    """Wait until all jobs have a number. Raises PtyliveError with what the batch system reported instead."""
    give_up = time.monotonic() + SUBMIT_S
    while not problems and time.monotonic() < give_up:
        jobs = list(cluster.workers.values())
        if len(jobs) >= where.workers and all(getattr(job, "job_id", None) for job in jobs):
            return
        time.sleep(POLL_S)
    reason = problems[0] if problems else f"no answer within {SUBMIT_S:g} s"
    raise PtyliveError(
        f"{where.kind} did not accept the job: {reason}", "correct [cluster] of the TOML file, or dask's jobqueue.yaml"
    )


@contextmanager
def _problems() -> Iterator[list[str]]:
    """Collect problems with submitting jobs, which dask-jobqueue only writes to a log, with a traceback."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error = record.exc_info[1] if record.exc_info else None
            text = str(error or record.getMessage())
            messages.append(" ".join((text.rpartition("stderr:")[2].strip() or text).split()))

    log, listener = logging.getLogger("tornado.application"), Listener()
    handlers, propagate = log.handlers, log.propagate
    log.handlers, log.propagate = [listener], False
    try:
        yield messages
    finally:
        log.handlers, log.propagate = handlers, propagate
