"""Where many jobs run at a time: processes on this machine, or a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from ptylive.engine.backend import device
from ptylive.schema import MetadataError
from ptylive.server.cluster.fallback import Fallback
from ptylive.server.cluster.where import HERE, LOCAL, MOST_WORKERS, REFUSE, WAIT, WorkersAsked, check_way, parse_where
from ptylive.server.refinement.job_process import JobProcess, Launch, RunningJob
from ptylive.server.refinement.refine_job import RefineJob

REMEMBER_S = {HERE: 60.0, WAIT: 4.0}
"""How long a missing cluster is not tried again."""
Places = tuple[Launch, Callable[[], int]]
"""Functions that start a job, and that return how many can run at a time."""


@contextmanager
def places(asked: WorkersAsked, backend: str, threads: int, tell: Callable[[str], None]) -> Iterator[Places]:
    """Yield places for jobs on the workers that are asked for, each with this backend and number of threads.

    ``tell`` takes a line when something takes long. Raises MetadataError if workers of this machine and a cluster are
    asked for, or for impossible numbers; PtyliveError for a cluster that is missing and not waited for.
    """
    cluster, when = asked.cluster, asked.when_missing
    check_way(when, cluster)
    if cluster is None:
        wanted = default_workers(backend, threads) if asked.number is None else asked.number
        if not 1 <= wanted <= MOST_WORKERS:
            raise MetadataError(f"{wanted} workers", f"give a number from 1 to {MOST_WORKERS}")
        yield process_of_its_own, lambda: wanted
        return
    if asked.number is not None:
        raise MetadataError(
            "--workers cannot be combined with --cluster",
            "give the number as --cluster local:N, or leave out --cluster",
        )
    if when == REFUSE or parse_where(cluster).kind == LOCAL:
        from ptylive.server.cluster.opening import opened

        with opened(cluster, threads, tell) as offered:
            yield offered.launch, offered.places
        return
    with closing(fallback_of(cluster, when, process_of_its_own, threads, default_workers(backend, threads))) as offered:
        yield offered.launch, offered.places


def fallback_of(cluster: str, when: str, here: Launch, threads: int, most: int) -> Fallback:
    """Return a cluster connected to when its first job begins, with the fallback for jobs while it is missing.

    ``here`` starts a job on this machine, at most ``most`` at a time. Raises MetadataError for an invalid cluster.
    """
    from ptylive.server.cluster.opening import LaterOpened

    return Fallback(LaterOpened(cluster, threads, REMEMBER_S.get(when, 0.0)), when, here, most)


def process_of_its_own(job: RefineJob) -> RunningJob:
    """Start a job on this machine that Ctrl-C at the terminal does not reach."""
    return JobProcess(job)


def default_workers(backend: str, threads: int) -> int:
    """Return the default number of workers: as many as get separate cores; one for a GPU, which they would share."""
    if backend != "cpu" and not device.missing():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)
