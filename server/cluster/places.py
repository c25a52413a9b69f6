"""Where many jobs run at a time: processes of this machine, or a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from ptylive.engine.backend import device
from ptylive.schema import MetadataError
from ptylive.server.cluster.fallback import Fallback
from ptylive.server.cluster.where import HERE, LOCAL, REFUSE, WAIT, WAYS, parse_where
from ptylive.server.refinement.job_process import JobProcess, Launch, RunningJob
from ptylive.server.refinement.refine_job import RefineJob

MOST_WORKERS = 1024

REMEMBER_S = {HERE: 60.0, WAIT: 4.0}
"""So long a cluster that is not there is not looked for again."""
Places = tuple[Launch, Callable[[], int]]
"""What starts a job, and how many can run at a time."""


@contextmanager
def places(
    workers: int | None,
    cluster: str | None,
    backend: str,
    threads: int,
    tell: Callable[[str], None],
    when: str = REFUSE,
) -> Iterator[Places]:
    """``workers``: processes of this machine, by default as many as suit it; ``cluster`` has workers of its own.

    ``tell`` gets a line where something takes long; ``when`` the cluster is not there: ``refuse``, ``wait`` for it, or
    run ``here``. Raises MetadataError for both, or for impossible numbers; PtyliveError for a cluster that is not there
    and not waited for.
    """
    if cluster is None:
        wanted = default_workers(backend, threads) if workers is None else workers
        if not 1 <= wanted <= MOST_WORKERS:
            raise MetadataError(f"{wanted} workers", f"give a number from 1 to {MOST_WORKERS}")
        yield process_of_its_own, lambda: wanted
        return
    if workers is not None:
        raise MetadataError(
            "--workers cannot be combined with --cluster",
            "give the number as --cluster local:N, or leave out --cluster",
        )
    if when not in WAYS:
        raise MetadataError(f"{when!r} is not a known way to go on without a cluster", f"use {', '.join(WAYS)}")
    if when == REFUSE or parse_where(cluster).kind == LOCAL:
        from ptylive.server.cluster.opening import opened

        with opened(cluster, threads, tell) as there:
            yield there.launch, there.places
        return
    with closing(fallback_of(cluster, when, process_of_its_own, threads, default_workers(backend, threads))) as there:
        yield there.launch, there.places


def fallback_of(cluster: str, when: str, here: Launch, threads: int, most: int) -> Fallback:
    """A cluster that is connected to when its first job begins, and what becomes of jobs while it is not there.

    ``here`` starts a job on this machine, at most ``most`` at a time. Raises MetadataError for what is no cluster.
    """
    from ptylive.server.cluster.opening import LaterOpened

    return Fallback(LaterOpened(cluster, threads, REMEMBER_S.get(when, 0.0)), when, here, most)


def process_of_its_own(job: RefineJob) -> RunningJob:
    """A job on this machine that Ctrl-C at the terminal does not reach."""
    return JobProcess(job, own_group=True)


def default_workers(backend: str, threads: int) -> int:
    """One for each core that a refinement would have to itself; one for a GPU, which they would share."""
    if backend != "cpu" and not device.missing():
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // threads)
