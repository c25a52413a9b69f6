"""A Dask cluster to refine on: started or found, its workers, one job on each at a time."""

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
from ptylive.server.cluster.queues import submitted
from ptylive.server.cluster.remote_job import RemoteJob
from ptylive.server.cluster.where import QUEUES, Where, parse_where
from ptylive.server.refinement.refine_job import RefineJob

CONNECT_S = 10.0
"""A scheduler that is there answers within this time."""
WORKERS_S = 30.0
"""And has a worker within this time."""
RECENT_S = 1.0
REST_S = 5.0
"""A worker that another program's refinement keeps busy is asked again after this time."""
LOCAL = "local"
REMEDY = "install it here and on the workers: pip install 'ptylive[cluster]'"

Tell = Callable[[str], None]


@contextmanager
def opened(text: str, threads: int, tell: Tell) -> Iterator[Cluster]:
    """The cluster that ``text`` names (:mod:`ptylive.server.cluster.where`), until the end of the block.

    threads: of each refinement at least; workers with more use all of theirs. Raises MetadataError for what is no
    cluster, PtyliveError for one that is not there or where Dask is missing.
    """
    where = parse_where(text)
    with ExitStack() as stack:
        cluster = Cluster(_connected(where, threads, stack), where, threads)
        _await_first_worker(cluster, tell)
        yield cluster


class LaterOpened:
    """A cluster that is connected to when its first job begins, for a server; so that it may be started after it."""

    def __init__(self, text: str, threads: int) -> None:
        """Raises MetadataError for what is no cluster."""
        self._where, self._threads = parse_where(text), threads
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._cluster: Cluster | None = None

    def launch(self, job: RefineJob) -> RemoteJob:
        """Start a job."""
        return RemoteJob(job, self._found)

    def _found(self) -> Cluster:
        """The cluster; connected to anew where its scheduler has gone. Raises PtyliveError."""
        with self._lock:
            if self._cluster is None or not self._cluster.is_there():
                self._stack.close()
                client = _connected(self._where, self._threads, self._stack)
                self._cluster = Cluster(client, self._where, self._threads)
            return self._cluster

    def close(self) -> None:
        """End what was started for it."""
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
        """Workers that are not asked before a time."""
        self._seen: tuple[float, Mapping[str, int]] = (-RECENT_S, {})

    def launch(self, job: RefineJob) -> RemoteJob:
        """Start a job on the next worker that is free."""
        return RemoteJob(job, lambda: self)

    def places(self) -> int:
        """How many workers there are; at least 1, so that a job waits for the first."""
        with suppress(PtyliveError):
            self.workers()
        return max(1, len(self._seen[1]))

    def workers(self) -> Mapping[str, int]:
        """Addresses with their threads, as of a second ago. Raises PtyliveError where the scheduler has gone."""
        when, found = self._seen
        if time.monotonic() - when < RECENT_S:
            return found
        try:
            found = dict(self.client.sync(self.client.scheduler.ncores, callback_timeout=CONNECT_S))
        except Exception as error:
            raise self.gone() from error
        self._seen = (time.monotonic(), found)
        return found

    def is_there(self) -> bool:
        """Whether the scheduler answers."""
        self._seen = (-RECENT_S, self._seen[1])
        try:
            self.workers()
        except PtyliveError:
            return False
        return True

    def gone(self) -> PtyliveError:
        """What to say of a scheduler that has ended."""
        return PtyliveError(
            f"the Dask scheduler on {self.where.words} has gone", "start it again, and go on from the last checkpoint"
        )

    def take(self) -> tuple[str, int] | None:
        """A worker that is free, for one job, with the threads it is to have; None where there is none now.

        Raises PtyliveError where the scheduler has gone.
        """
        now = time.monotonic()
        for address, threads in self.workers().items():
            with self._lock:
                if address not in self._taken and self._resting.get(address, now) <= now:
                    self._taken.add(address)
                    return address, max(threads, self._threads)
        return None

    def check_patience(self, waited_s: float) -> None:
        """Raise PtyliveError where nobody starts workers; a batch system may take hours to start one."""
        if waited_s > WORKERS_S and self.where.kind not in QUEUES and not self.workers():
            raise PtyliveError(
                f"the Dask scheduler on {self.where.words} has no workers", "start some: dask worker ADDRESS"
            )

    def release(self, address: str, *, rest: bool = False) -> None:
        """The job has ended there, or (``rest``) the worker is not to be had for a while."""
        with self._lock:
            self._taken.discard(address)
            if rest:
                self._resting[address] = time.monotonic() + REST_S


def _await_first_worker(cluster: Cluster, tell: Tell) -> None:
    """Raise PtyliveError where there is none, and none comes; one that a batch system starts is not waited for."""
    since = time.monotonic()
    if cluster.where.kind in QUEUES:
        tell(f"{cluster.where.workers} jobs are asked of {cluster.where.kind}; scans begin as they start")
    while not cluster.workers() and cluster.where.kind not in QUEUES:
        cluster.check_patience(time.monotonic() - since)
        time.sleep(RECENT_S)


def _connected(where: Where, threads: int, stack: ExitStack) -> Any:
    """A client of the cluster, which is started where that is asked for; ``stack`` ends both."""
    if importlib.util.find_spec("distributed") is None:
        raise PtyliveError("refining on a cluster needs Dask distributed, which is not installed", REMEDY)
    import dask
    from distributed import Client

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said in our own words
    dask.config.set({"distributed.comm.timeouts.connect": f"{CONNECT_S:g}s"})
    address = where.address
    if where.kind == LOCAL:
        address = stack.enter_context(_local(where.workers, threads))
    elif where.kind in QUEUES:
        address = stack.enter_context(submitted(where, REMEDY))
    try:
        client = Client(address, timeout=CONNECT_S, name="ptylive")
    except (OSError, TimeoutError, ValueError) as error:
        raise PtyliveError(
            f"no Dask scheduler answers at {where.words} within {CONNECT_S:g} s ({brief(str(error))})",
            "check the address, or start one there: dask scheduler",
        ) from None
    stack.callback(_closed, client)
    return client


def _closed(client: Any) -> None:
    with suppress(Exception):  # a scheduler that has gone: there is nobody to take leave of
        client.close(timeout=CONNECT_S)


@contextmanager
def _local(workers: int, threads: int) -> Iterator[Any]:
    """Processes of this machine."""
    from distributed import LocalCluster

    with tempfile.TemporaryDirectory(prefix="ptylive-workers-", ignore_cleanup_errors=True) as folder:
        with _unheard_interrupts():
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=threads,
                processes=True,
                dashboard_address=None,
                memory_limit=0,  # refinements have processes of their own
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
    """Processes that are started meanwhile do not hear Ctrl-C at the terminal: whoever started them ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
