"""A refinement job on a worker of a cluster, as seen by its requester; it continues elsewhere if that worker dies."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.schema import PtyliveError
from ptylive.schema.files.atomic import NO_ROOM
from ptylive.server.cluster.home import Home
from ptylive.server.cluster.runner import Runner
from ptylive.server.cluster.transfer import FileIdentity, pieces
from ptylive.server.cluster.where import ClusterMissing
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.wire.messages import pack, unpack

if TYPE_CHECKING:
    from ptylive.server.cluster.opening import Cluster

POLL_S, CHECKPOINTS_S = 0.2, 2.0
CALL_S, END_S = 60.0, 10.0
"""Time after which a worker that does not answer counts as gone, and the shorter wait for one told to end its job."""
SAID_S = 60.0
WORKERS_S = 5.0
"""Interval at which the number of workers is checked."""
MOST_LOST = 10
"""Workers lost in a row without an epoch in between, after which the refinement is taken to be the cause."""


class WorkerLost(Exception):
    """Raised when a worker no longer answers, or never did."""


class WorkerBusy(WorkerLost):
    """Raised when another program's refinement runs on the worker."""


class WorkerUnfit(WorkerLost):
    """Raised when a worker can do no job of this machine; ``why`` is for the case that no other worker can."""

    def __init__(self, why: PtyliveError) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(frozen=True)
class Sight:
    """Which of this machine's files a worker can see."""

    recording: bool
    folder: bool
    has_recording: bool
    """Whether the recording was sent to the worker before."""


class FarRunner:
    """Proxy of the runner on a worker. Every method raises WorkerLost if it is not answered within a time limit."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, offer: Mapping[str, Any]) -> dict[str, Any]:
        """See Runner."""
        return unpack(self._call("begin", pack(offer)))

    def start(self, job: RefineJob, where: Mapping[str, Any]) -> None:
        """See Runner."""
        self._call("start", pack(job.to_plain()), pack(where))

    def tell(self, message: Mapping[str, Any]) -> None:
        """See Runner."""
        self._call("tell", pack(message))

    def hear(self) -> dict[str, Any]:
        """See Runner."""
        return unpack(self._call("hear"))

    def put(self, name: str, start: int, piece: bytes) -> None:
        """See Runner."""
        self._call("put", name, start, piece)

    def put_recording(self, identity: FileIdentity, path: str, start: int, piece: bytes) -> None:
        """See Runner."""
        self._call("put_recording", identity.to_plain(), path, start, piece)

    def get(self, name: str, start: int) -> bytes:
        """See Runner."""
        return bytes(self._call("get", name, start))

    def changed(self, names: list[str]) -> list[str]:
        """See Runner."""
        return list(self._call("changed", names))

    def end(self) -> None:
        """See Runner."""
        self._call("end", patience_s=END_S)

    def _call(self, method: str, *arguments: Any, patience_s: float = CALL_S) -> Any:
        return answered(lambda: getattr(self._actor, method)(*arguments).result(timeout=patience_s))


class RemoteJob:
    """A job on a cluster (:class:`ptylive.server.refinement.job_process.RunningJob`)."""

    def __init__(self, job: RefineJob, cluster: Callable[[], Cluster]) -> None:
        """``cluster`` is called when the first message is requested; it may raise PtyliveError."""
        self._job, self._cluster = replace(job, journal=None, ends_at_once=True), cluster
        self._outgoing: deque[Mapping[str, Any]] = deque()
        self._stopped, self._abandoned = threading.Event(), threading.Event()
        self._ending = "the refinement was ended"
        self._epoch = -1
        self._checkpoints_before = self._checkpoint_times()

    def messages(self) -> Iterator[dict[str, Any]]:
        """See RunningJob; files are fetched before the message that announces them.

        A last message of kind ``failed`` has ``place_gone`` set if the job itself is not at fault; ``missing`` says
        what is wrong with a cluster that may come back.
        """
        try:
            cluster = self._cluster()
        except PtyliveError as error:
            missing = str(error) if isinstance(error, ClusterMissing) else ""
            yield {"kind": "failed", "message": error.line(), "place_gone": True, "missing": missing}
            return
        try:
            yield from self._everywhere(cluster)
        except PtyliveError as error:
            cluster_up = not isinstance(error, ClusterMissing) and cluster.is_there()
            gone = not cluster_up and not self._abandoned.is_set()
            missing = str(error) if gone else ""
            yield {"kind": "failed", "message": error.line(), "place_gone": gone, "missing": missing}
        except OSError as error:
            yield {"kind": "failed", "message": f"{error.filename or 'a file'}: {error.strerror or error}"}

    @property
    def rest(self) -> RefineJob:
        """The remaining job, which continues from the last checkpoint that was fetched."""
        return replace(self._job, resume=self._job.resume or self._checkpoint_times() != self._checkpoints_before)

    def tell(self, message: Mapping[str, Any]) -> None:
        """See RunningJob."""
        self._outgoing.append(message)
        if message.get("stop"):
            self._stopped.set()

    def ending(self) -> str:
        """See RunningJob."""
        return self._ending

    def lower_priority(self) -> None:
        """See RunningJob; does nothing, since frames arrive on this machine and the refinement runs on another."""

    def end(self) -> None:
        """See RunningJob; the reader of the messages ends it."""
        self._abandoned.set()
        self._stopped.set()

    # -- one worker after the other -----------------------------------------------------------------------------------

    def _everywhere(self, cluster: Cluster) -> Iterator[dict[str, Any]]:
        lost_in_a_row, epoch_before = 0, self._epoch
        while True:
            found = yield from self._free_worker(cluster)
            if found is None:
                yield stopped_before(self._job)
                return
            address, threads = found
            yield _place(address, cluster)
            lost: WorkerLost | None = None
            try:
                yield from _with_workers(self._on(cluster, address, threads), address, cluster)
            except WorkerLost as error:
                lost = error
            finally:
                cluster.release(address, rest=lost is not None)
            if lost is None:
                return
            if isinstance(lost, WorkerBusy):
                continue
            if isinstance(lost, WorkerUnfit):
                cluster.reject(address, lost.why)
                yield {"kind": "note", "message": f"{lost}: it is not used", "lost": address}
                continue
            if not cluster.is_there():
                raise cluster.gone()
            lost_in_a_row = 1 if self._epoch > epoch_before else lost_in_a_row + 1
            epoch_before = self._epoch
            if lost_in_a_row >= MOST_LOST:
                raise PtyliveError(f"{MOST_LOST} workers in a row were lost, the last: {lost}", "see the workers' logs")
            yield {
                "kind": "note",
                "message": f"{address} was lost ({lost}): continuing on another worker",
                "lost": address,
            }
            self._job = self.rest

    def _free_worker(self, cluster: Cluster) -> Generator[dict[str, Any], None, tuple[str, int] | None]:
        """Wait for a free worker and return its address and threads; None if the job was stopped meanwhile.

        Raises PtyliveError if the scheduler has gone or gets no worker.
        """
        reported_at = -SAID_S
        since = time.monotonic()
        while not self._stopped.is_set():
            found = cluster.take()
            if found is not None:
                return found
            now = time.monotonic()
            cluster.check_patience(now - since)
            if now - reported_at > SAID_S:
                reported_at = now
                yield {"kind": "note", "message": f"waiting for a worker ({len(cluster.workers())} connected)"}
            time.sleep(POLL_S)
        return None

    def _on(self, cluster: Cluster, address: str, threads: int) -> Iterator[dict[str, Any]]:
        """Run the job on one worker. Raises WorkerLost, or PtyliveError if it cannot be done anywhere."""
        name = f"ptylive-{secrets.token_hex(8)}"
        options = {"key": name, "workers": [address], "allow_other_workers": False, "actor": True, "pure": False}
        future = answered(lambda: cluster.client.submit(Runner, name, **options))
        runner: FarRunner | None = None
        try:
            runner = FarRunner(self._actor_of(cluster, future, address))
            yield from self._running_on(runner, address, threads)
        finally:
            with suppress(Exception):
                if runner is not None:
                    runner.end()
            with suppress(Exception):
                future.cancel()

    def _actor_of(self, cluster: Cluster, future: Any, address: str) -> Any:
        """Wait for the actor and return it, with a time limit in case the worker dies first."""
        give_up = time.monotonic() + CALL_S
        while not self._abandoned.is_set():
            try:
                return answered(lambda: future.result(timeout=1.0))
            except WorkerLost as error:
                if not isinstance(error.__cause__, TimeoutError):
                    raise
                if address not in cluster.workers() or time.monotonic() > give_up:
                    raise
        raise _ended_here()

    def _running_on(self, runner: FarRunner, address: str, threads: int) -> Iterator[dict[str, Any]]:
        identity = FileIdentity.of(self._job.recording)
        sight = self._sight(runner, address, identity)
        home = Home(self._job, runner)
        if not (sight.recording or sight.has_recording):
            yield {"kind": "note", "message": "sending the recording"}
            self._send_recording(runner, identity)
        if not sight.folder:
            home.send()
        access = {"sees_recording": sight.recording, "sees_folder": sight.folder, "identity": identity.to_plain()}
        runner.start(replace(self._job, threads=threads), access)
        for message in self._messages_of(runner, None if sight.folder else home):
            if message["kind"] == "progress":
                self._epoch = max(self._epoch, int(message["epoch"]))
            elif message["kind"] == "tried":
                self._epoch += 1
            yield message

    def _send_recording(self, runner: FarRunner, identity: FileIdentity) -> None:
        path = str(self._job.recording)
        for start, piece in pieces(self._job.recording):
            self._check_wanted()
            runner.put_recording(identity, path, start, piece)
        runner.put_recording(identity, path, identity.file_bytes, b"")

    def _messages_of(self, runner: FarRunner, home: Home | None) -> Iterator[dict[str, Any]]:
        """Iterate over the refinement's messages until it ends; ``home`` fetches its files from the worker."""
        looked = time.monotonic()
        while True:
            while self._outgoing:
                runner.tell(self._outgoing[0])
                self._outgoing.popleft()
            reply = runner.hear()
            for message in reply["messages"]:
                yield message if home is None else home.brought(message)
            if reply["ended"] is not None:
                self._ending = str(reply["ended"])
                return
            if home is not None and time.monotonic() - looked > CHECKPOINTS_S:
                home.fetch_checkpoints()
                looked = time.monotonic()
            self._check_wanted()
            time.sleep(POLL_S)

    def _check_wanted(self) -> None:
        if self._abandoned.is_set():
            raise _ended_here()

    def _sight(self, runner: FarRunner, address: str, identity: FileIdentity) -> Sight:
        """Return what the worker can see; a marker file next to the results shows whether its folder is the same."""
        results = self._job.results
        marker = results.with_name(f".{results.name}.{secrets.token_hex(8)}.seen")
        offer = {
            "identity": identity.to_plain(),
            "recording": str(self._job.recording),
            "folder": str(results.parent),
            "marker": marker.name,
        }
        marker.write_text(marker.name, encoding="utf-8")
        try:
            answer = runner.begin(offer)
        finally:
            marker.unlink(missing_ok=True)
        if answer["busy"]:
            raise WorkerBusy("it is busy")
        if answer["version"] != version("ptylive"):
            why = f"the worker {address} has ptylive {answer['version']}, this machine {version('ptylive')}"
            raise WorkerUnfit(PtyliveError(why, "install the same version on both"))
        return Sight(answer["sees_recording"], answer["sees_folder"], answer["has_recording"])

    def _checkpoint_times(self) -> tuple[int, ...]:
        """Return when the local checkpoints were written: once this changes, there is something to resume from."""
        place = self._job.checkpoint
        if place is None:
            return ()
        number = len(self._job.preset.in_stages())
        paths = [checkpoints.of_stage(place, stage) for stage in range(1, number + 1)]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def answered(ask: Callable[[], Any]) -> Any:
    """Return a worker's answer.

    Raises WorkerLost for whatever prevents it, since the end of a worker shows as many different exceptions, and
    PtyliveError if ptylive is not installed on the worker.
    """
    try:
        return ask()
    except Exception as error:
        chain = f"{error!r} {error.__cause__!r}"
        if "No module named" in chain:
            raise PtyliveError(
                f"a worker lacks a module ({' '.join(chain.split())[:200]})", "install ptylive[cluster] there"
            ) from None
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise WorkerLost("no room on its disk") from error
        raise WorkerLost(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _ended_here() -> PtyliveError:
    return PtyliveError("the refinement was ended", "continue from its last checkpoint")


def _with_workers(
    messages: Iterator[dict[str, Any]], address: str, cluster: Cluster
) -> Generator[dict[str, Any], None, None]:
    """Pass on the messages, and add one with the number of workers whenever it has changed."""
    number, looked = len(cluster.workers()), time.monotonic()
    for message in messages:
        yield message
        if time.monotonic() - looked < WORKERS_S:
            continue
        looked = time.monotonic()
        with suppress(PtyliveError):  # a lost cluster is detected where it is needed
            if len(cluster.workers()) != number:
                place = _place(address, cluster)
                number = place["workers"]
                yield place


def _place(address: str, cluster: Cluster) -> dict[str, Any]:
    number = len(cluster.workers())
    words = f"one of {number} workers" if number > 1 else "the only worker"
    return {"kind": "place", "message": f"on {address}, {words}", "workers": number}


def stopped_before(job: RefineJob) -> dict[str, Any]:
    """Return the last message of a job that was stopped while it waited for a place."""
    words = dict.fromkeys(("run", "algorithm", "reason", "problem", "backend", "results"), "")
    circumstance = "while it waited; it can continue from its last checkpoint" if job.resume else "before it began"
    return {"kind": "ended", "state": "stopped", "loss": None, "message": f"stopped {circumstance}", **words}
