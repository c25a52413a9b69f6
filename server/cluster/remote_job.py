"""A refinement job on a worker of a cluster, as who asked for it sees it; gone on with elsewhere when that dies."""

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
"""A worker that does not answer for this long is gone; one that is asked to end its job is not waited for so long."""
SAID_S = 60.0
WORKERS_S = 5.0
"""How many workers there are is looked at so often."""
MOST_LOST = 10
"""Workers in a row without an epoch between them: then it is the refinement that ends them."""


class WorkerLost(Exception):
    """A worker does not answer any more, or never did."""


class WorkerBusy(WorkerLost):
    """Another program's refinement runs on it."""


@dataclass(frozen=True)
class Sight:
    """What a worker sees of this machine's files."""

    recording: bool
    folder: bool
    has_recording: bool
    """It was sent there before."""


class FarRunner:
    """The runner on a worker, every call answered within a time. All raise WorkerLost where it is not."""

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
        """``cluster`` is asked when the messages are first asked for; it may raise PtyliveError."""
        self._job, self._cluster = replace(job, journal=None, ends_at_once=True), cluster
        self._outgoing: deque[Mapping[str, Any]] = deque()
        self._stopped, self._abandoned = threading.Event(), threading.Event()
        self._ending = "the refinement was ended"
        self._epoch = -1
        self._kept_before = self._kept()

    def messages(self) -> Iterator[dict[str, Any]]:
        """See RunningJob; files are brought home before the message that tells of them.

        A last one of kind ``failed`` has ``place_gone`` where nothing is known against the job itself; ``missing`` says
        of a cluster that may come back how it is missing.
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
            there = not isinstance(error, ClusterMissing) and cluster.is_there()
            gone = not there and not self._abandoned.is_set()
            missing = str(error) if gone else ""
            yield {"kind": "failed", "message": error.line(), "place_gone": gone, "missing": missing}
        except OSError as error:
            yield {"kind": "failed", "message": f"{error.filename or 'a file'}: {error.strerror or error}"}

    @property
    def rest(self) -> RefineJob:
        """What is left of the job: it goes on from the last checkpoint that came home."""
        return replace(self._job, resume=self._job.resume or self._kept() != self._kept_before)

    def tell(self, message: Mapping[str, Any]) -> None:
        """See RunningJob."""
        self._outgoing.append(message)
        if message.get("stop"):
            self._stopped.set()

    def ending(self) -> str:
        """See RunningJob."""
        return self._ending

    def step_back(self) -> None:
        """See RunningJob; frames arrive on this machine, refinements run on others."""

    def end(self) -> None:
        """See RunningJob; whoever reads the messages ends it."""
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
        """Address and threads of a worker that is free now; None where nobody wants one any more.

        Raises PtyliveError where the scheduler has gone or gets no worker.
        """
        said = -SAID_S
        since = time.monotonic()
        while not self._stopped.is_set():
            found = cluster.take()
            if found is not None:
                return found
            now = time.monotonic()
            cluster.check_patience(now - since)
            if now - said > SAID_S:
                said = now
                yield {"kind": "note", "message": f"waiting for a worker ({len(cluster.workers())} connected)"}
            time.sleep(POLL_S)
        return None

    def _on(self, cluster: Cluster, address: str, threads: int) -> Iterator[dict[str, Any]]:
        """The job on one worker. Raises WorkerLost, PtyliveError where it cannot be done anywhere."""
        name = f"ptylive-{secrets.token_hex(8)}"
        options = {"key": name, "workers": [address], "allow_other_workers": False, "actor": True, "pure": False}
        future = answered(lambda: cluster.client.submit(Runner, name, **options))
        runner: FarRunner | None = None
        try:
            runner = FarRunner(self._made(cluster, future, address))
            yield from self._with(runner, threads)
        finally:
            with suppress(Exception):
                if runner is not None:
                    runner.end()
            with suppress(Exception):
                future.cancel()

    def _made(self, cluster: Cluster, future: Any, address: str) -> Any:
        """The actor, once it is there. A worker that dies before would let us wait for ever."""
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

    def _with(self, runner: FarRunner, threads: int) -> Iterator[dict[str, Any]]:
        identity = FileIdentity.of(self._job.recording)
        sight = self._sight(runner, identity)
        home = Home(self._job, runner)
        if not (sight.recording or sight.has_recording):
            yield {"kind": "note", "message": "sending the recording"}
            self._send_recording(runner, identity)
        if not sight.folder:
            home.send()
        where = {"sees_recording": sight.recording, "sees_folder": sight.folder, "identity": identity.to_plain()}
        runner.start(replace(self._job, threads=threads), where)
        for message in self._heard(runner, None if sight.folder else home):
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

    def _heard(self, runner: FarRunner, home: Home | None) -> Iterator[dict[str, Any]]:
        """What the refinement says, until it ends; ``home``: where its files are to be brought from the worker."""
        looked = time.monotonic()
        while True:
            while self._outgoing:
                runner.tell(self._outgoing[0])
                self._outgoing.popleft()
            said = runner.hear()
            for message in said["messages"]:
                yield message if home is None else home.brought(message)
            if said["ended"] is not None:
                self._ending = str(said["ended"])
                return
            if home is not None and time.monotonic() - looked > CHECKPOINTS_S:
                home.fetch_checkpoints()
                looked = time.monotonic()
            self._check_wanted()
            time.sleep(POLL_S)

    def _check_wanted(self) -> None:
        if self._abandoned.is_set():
            raise _ended_here()

    def _sight(self, runner: FarRunner, identity: FileIdentity) -> Sight:
        """What the worker sees; a file beside the results tells whether it is the same folder."""
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
            raise PtyliveError(
                f"the worker has ptylive {answer['version']}, this machine {version('ptylive')}",
                "install the same version on both",
            )
        return Sight(answer["sees_recording"], answer["sees_folder"], answer["has_recording"])

    def _kept(self) -> tuple[int, ...]:
        """When the checkpoints here were written: there is something to go on from once that changes."""
        place = self._job.checkpoint
        if place is None:
            return ()
        number = len(self._job.preset.in_stages())
        paths = [checkpoints.of_stage(place, stage) for stage in range(1, number + 1)]
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def answered(ask: Callable[[], Any]) -> Any:
    """What a worker answers.

    Raises WorkerLost for whatever keeps it from that: the end of one comes as many an exception. PtyliveError where it
    has no ptylive.
    """
    try:
        return ask()
    except Exception as error:
        chain = f"{error!r} {error.__cause__!r}"
        if "No module named" in chain:
            raise PtyliveError(
                f"a worker lacks a module ({' '.join(chain.split())[:200]})", "install ptylive[cluster] there"
            ) from None
        raise WorkerLost(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _ended_here() -> PtyliveError:
    return PtyliveError("the refinement was ended", "continue from its last checkpoint")


def _with_workers(
    messages: Iterator[dict[str, Any]], address: str, cluster: Cluster
) -> Generator[dict[str, Any], None, None]:
    """The messages, and how many workers there are whenever that has changed."""
    number, looked = len(cluster.workers()), time.monotonic()
    for message in messages:
        yield message
        if time.monotonic() - looked < WORKERS_S:
            continue
        looked = time.monotonic()
        with suppress(PtyliveError):  # whether it has gone is seen where it is needed
            if len(cluster.workers()) != number:
                place = _place(address, cluster)
                number = place["workers"]
                yield place


def _place(address: str, cluster: Cluster) -> dict[str, Any]:
    number = len(cluster.workers())
    which = f"one of {number} workers" if number > 1 else "the only worker"
    return {"kind": "place", "message": f"on {address}, {which}", "workers": number}


def stopped_before(job: RefineJob) -> dict[str, Any]:
    """The last message of a job that was stopped while it waited for a place."""
    words = dict.fromkeys(("run", "algorithm", "reason", "problem", "backend", "results"), "")
    when = "while it waited; it can continue from its last checkpoint" if job.resume else "before it began"
    return {"kind": "ended", "state": "stopped", "loss": None, "message": f"stopped {when}", **words}
