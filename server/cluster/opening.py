"""A Dask cluster for refinements, started or existing, whose workers take one job each at a time."""

from __future__ import annotations

import importlib.util
import logging
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from ptylive.schema import PtyliveError
from ptylive.schema.errors import brief
from ptylive.server.cluster.queues import ended_jobs, submitted
from ptylive.server.cluster.remote_job import RemoteJob
from ptylive.server.cluster.where import LOCAL, QUEUES, ClusterMissing, Where, parse_where
from ptylive.server.refinement.refine_job import RefineJob

CONNECT_S = 10.0
"""Time within which an existing scheduler answers."""
WORKERS_S = 30.0
"""Time within which it has a worker."""
RECENT_S = 1.0
JOBS_S = 10.0
"""Minimum interval between queries of a batch system for its jobs."""
UNFIT_S = 60.0
"""Time after which a worker of another version is looked at again: it may have been restarted."""
OF_LOOPS = ("tornado.application", "asyncio")
"""Loggers of Dask's event loop: a worker given up that answers late would otherwise be a traceback on the terminal."""
REST_S = 5.0
"""Time after which a worker kept busy by another program's refinement is tried again."""
REMEDY = "install it here and on the workers: pip install 'ptylive[cluster]'"

Tell = Callable[[str], None]


@contextmanager
def opened(text: str, threads: int, tell: Tell) -> Iterator[Cluster]:
    """Open the cluster that ``text`` names (:mod:`ptylive.server.cluster.where`) until the end of the block.

    threads: minimum per refinement; workers with more use all of theirs. Raises MetadataError if ``text`` is not a
    cluster, PtyliveError if the cluster cannot be reached or Dask is missing.
    """
    where = parse_where(text)
    with ExitStack() as stack:
        cluster = Cluster(_connected(where, threads, stack), where, threads)
        _await_first_worker(cluster, tell)
        yield cluster


class LaterOpened:
    """A cluster connected to when its first job begins, so that it may be started after the server."""

    def __init__(self, text: str, threads: int, remember_s: float = 0.0) -> None:
        """``remember_s``: time before a missing cluster is tried again. Raises MetadataError for an invalid cluster."""
        self._where, self._threads, self._remember_s = parse_where(text), threads, remember_s
        self._missed: tuple[float, ClusterMissing] | None = None
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._cluster: Cluster | None = None
        self.is_missing = False
        """Whether the cluster was missing when it was last needed."""

    @property
    def words(self) -> str:
        """Location of the cluster, for people."""
        return self._where.words

    def workers(self) -> int | None:
        """Return the number of workers, without waiting; None while not connected."""
        cluster = self._cluster
        return None if cluster is None or self.is_missing else cluster.seen

    def launch(self, job: RefineJob) -> RemoteJob:
        """Start a job."""
        return RemoteJob(job, self._connection)

    def _connection(self) -> Cluster:
        """Return the cluster, reconnecting if its scheduler has gone. Raises PtyliveError."""
        with self._lock:
            if self._missed is not None and time.monotonic() - self._missed[0] < self._remember_s:
                raise self._missed[1]
            try:
                return self._connected_to()
            except ClusterMissing as error:
                self._missed = (time.monotonic(), error)
                raise

    def _connected_to(self) -> Cluster:
        self.is_missing = self._cluster is None or not self._cluster.is_there()
        if self._cluster is None or self.is_missing:
            self._stack.close()
            client = _connected(self._where, self._threads, self._stack)
            self._cluster = Cluster(client, self._where, self._threads)
            self.is_missing = False
        return self._cluster

    def close(self) -> None:
        """End what was started for the cluster."""
        with self._lock:
            self._cluster = None
            self._stack.close()


class Cluster:
    """Workers of a Dask scheduler. Callable from any thread."""

    def __init__(self, client: Any, where: Where, threads: int) -> None:
        self.client, self.where, self._threads = client, where, threads
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._resting: dict[str, float] = {}
        """Workers that are not tried again before the given time."""
        self._unfit: dict[str, tuple[float, PtyliveError]] = {}
        """Workers that can do no job until the given time, and why."""
        self._seen: tuple[float, Mapping[str, int]] = (-RECENT_S, {})
        self._asked = -JOBS_S
        self._ended: tuple[str, ...] = ()

    def launch(self, job: RefineJob) -> RemoteJob:
        """Start a job on the next free worker."""
        return RemoteJob(job, lambda: self)

    def places(self) -> int:
        """Return the number of workers, at least 1, so that a job waits for the first worker."""
        with suppress(PtyliveError):
            self.workers()
        return max(1, self.seen)

    @property
    def seen(self) -> int:
        """Number of workers when last queried."""
        return len(self._seen[1])

    def workers(self) -> Mapping[str, int]:
        """Return addresses with their threads, at most a second old. Raises PtyliveError if the scheduler has gone."""
        looked_at, found = self._seen
        if time.monotonic() - looked_at < RECENT_S:
            return found
        try:
            found = dict(self.client.sync(self.client.scheduler.ncores, callback_timeout=CONNECT_S))
        except Exception as error:
            raise self.gone() from error
        self._seen = (time.monotonic(), found)
        return found

    def is_there(self) -> bool:
        """Return whether the scheduler answers."""
        self._seen = (-RECENT_S, self._seen[1])
        try:
            self.workers()
        except PtyliveError:
            return False
        return True

    def gone(self) -> ClusterMissing:
        """Return the error for a scheduler that has ended."""
        return ClusterMissing(
            f"the Dask scheduler on {self.where.words} is gone",
            "restart it; --resume continues from the last checkpoint, if there is one",
        )

    def take(self) -> tuple[str, int] | None:
        """Take a free worker for one job and return it with the threads to use; None if there is none now.

        Raises PtyliveError if the scheduler has gone, or if none of its workers can do the job.
        """
        now = time.monotonic()
        workers = self.workers()
        with self._lock:
            unfit = {address: error for address, (until, error) in self._unfit.items() if until > now}
        if workers and workers.keys() <= unfit.keys():
            raise next(unfit[address] for address in workers)
        for address, threads in workers.items():
            if address in unfit:
                continue
            with self._lock:
                if address not in self._taken and self._resting.get(address, now) <= now:
                    self._taken.add(address)
                    return address, max(threads, self._threads)
        return None

    def check_patience(self, waited_s: float) -> None:
        """Raise ClusterMissing if no workers will start. A batch system may take hours to start one, so this applies to
        it only once all jobs for workers have ended.
        """
        if waited_s <= WORKERS_S or self.workers():
            return
        if self.where.kind not in QUEUES:
            raise ClusterMissing(
                f"the Dask scheduler on {self.where.words} has no workers", "start workers with: dask worker ADDRESS"
            )
        if ended := self._ended_twice():
            raise ClusterMissing(
                f"{self.where.kind} has ended job {', '.join(ended)} without starting a worker",
                f"see its output, slurm-{ended[0]}.out unless [cluster] names another file; correct [cluster]",
            )

    def _ended_twice(self) -> tuple[str, ...]:
        """Return the jobs once all have been found ended twice: jobs that had a worker are replaced by new ones."""
        with self._lock:
            now = time.monotonic()
            if now - self._asked < JOBS_S:
                return ()
            self._asked = now
            before, self._ended = self._ended, ended_jobs(self.client.cluster, self.where.kind)
            return self._ended if self._ended == before else ()

    def reject(self, address: str, why: PtyliveError) -> None:
        """Use no more, for a while, a worker that can do no job."""
        with self._lock:
            self._unfit[address] = (time.monotonic() + UNFIT_S, why)

    def release(self, address: str, *, rest: bool = False) -> None:
        """Free a worker whose job has ended; with ``rest`` it is not used again for a while."""
        with self._lock:
            self._taken.discard(address)
            if rest:
                self._resting[address] = time.monotonic() + REST_S


def _await_first_worker(cluster: Cluster, tell: Tell) -> None:
    """Wait for the first worker, but not for one from a batch system. Raises PtyliveError if none comes."""
    since = time.monotonic()
    if cluster.where.kind in QUEUES:
        request = f"{cluster.where.workers} jobs requested from {cluster.where.kind}; scans begin as the jobs start"
        tell(f"{request}. If none starts, see its list of jobs and the output of ended jobs")
    while not cluster.workers() and cluster.where.kind not in QUEUES:
        cluster.check_patience(time.monotonic() - since)
        time.sleep(RECENT_S)


def _connected(where: Where, threads: int, stack: ExitStack) -> Any:
    """Return a client of the cluster, which is started first if requested; ``stack`` ends both."""
    if importlib.util.find_spec("distributed") is None:
        raise PtyliveError("refining on a cluster needs Dask distributed, which is not installed", REMEDY)
    import dask
    from distributed import Client

    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    for name in (*names, *OF_LOOPS):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is reported in our own words
    dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_S:g}s"})
    address = where.address
    if where.kind == LOCAL:
        address = stack.enter_context(_local(where.workers, threads))
    elif where.kind in QUEUES:
        address = stack.enter_context(submitted(where, REMEDY))
    try:
        client = Client(address, timeout=CONNECT_S, name="ptylive")
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterMissing(
            f"no Dask scheduler answers at {where.words} within {CONNECT_S:g} s ({brief(str(error))})",
            "check the address, or start one there: dask scheduler",
        ) from None
    stack.callback(_close_quietly, client)
    return client


def _close_quietly(client: Any) -> None:
    with suppress(Exception):  # the scheduler may have gone already
        client.close(timeout=CONNECT_S)


@contextmanager
def _local(workers: int, threads: int) -> Iterator[Any]:
    """Start a cluster of processes on this machine."""
    from distributed import LocalCluster

    with tempfile.TemporaryDirectory(prefix="ptylive-workers-", ignore_cleanup_errors=True) as folder:
        with _unheard_interrupts():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=threads,
                processes=True,
                dashboard_address=None,
                memory_limit=0,  # refinements run in separate processes
                local_directory=folder,
                silence_logs=logging.CRITICAL,
            )
        try:
            yield cluster
        finally:
            with suppress(Exception):
                cluster.close(timeout=CONNECT_S)


@contextmanager
def _unheard_interrupts() -> Iterator[None]:
    """Make processes started in this block ignore Ctrl-C at the terminal; their parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
