"""What happens to a job while its cluster is missing: it waits, runs on this machine, or fails with a message."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ptylive.server.cluster.remote_job import stopped_before
from ptylive.server.cluster.where import HERE, REFUSE
from ptylive.server.refinement.job_process import Launch, RunningJob
from ptylive.server.refinement.refine_job import RefineJob

if TYPE_CHECKING:
    from ptylive.server.cluster.opening import LaterOpened

AGAIN_S = 5.0
"""Time after which a missing cluster is tried again."""
POLL_S = 0.2


class Fallback:
    """A cluster, and what to do while it is missing; ``when``: ``wait``, ``here`` or ``refuse``.

    ``here`` starts a job on this machine, at most ``most`` of them at a time.
    """

    def __init__(self, cluster: LaterOpened, when: str, here: Launch, most: int) -> None:
        self.cluster, self.when, self.here, self._most = cluster, when, here, most
        self.room = threading.Semaphore(most)
        """Free places on this machine."""

    def launch(self, job: RefineJob) -> RunningJob:
        """Start a job."""
        return FallbackJob(job, self)

    def close(self) -> None:
        """End what was started for the cluster."""
        self.cluster.close()

    def places(self) -> int:
        """Return how many jobs can run at a time now, at least 1, so that one of them waits."""
        workers = self.cluster.workers()
        if workers is None and self.when == HERE:
            return self._most if self.cluster.is_missing else 1
        return max(1, workers or 0)


class FallbackJob:
    """A job (:class:`RunningJob`) on a cluster that may disappear and come back."""

    def __init__(self, job: RefineJob, fallback: Fallback) -> None:
        self._job, self._fallback = job, fallback
        self._lock = threading.Lock()
        self._running: RunningJob | None = None
        self._stopped, self._abandoned, self._back = threading.Event(), threading.Event(), False

    def messages(self) -> Iterator[dict[str, Any]]:
        """See RunningJob; a last message of kind ``failed`` has ``place_gone`` set if the job is not at fault."""
        job = self._job
        while True:
            running = self._fallback.cluster.launch(job)
            missing: dict[str, Any] | None = None
            for message in self._of(running):
                if message.get("missing"):
                    missing = message
                else:
                    yield message
            if missing is None:
                return
            job = running.rest
            if self._fallback.when == REFUSE or self._abandoned.is_set():
                yield missing
                return
            if self._fallback.when == HERE:
                yield from self._here(job, str(missing["missing"]))
                return
            yield {"kind": "note", "message": f"waiting for the cluster: {missing['missing']}"}
            if self._stopped.wait(AGAIN_S):
                yield stopped_before(job)
                return

    def _here(self, job: RefineJob, why: str) -> Generator[dict[str, Any], None, None]:
        """Continue the job on this machine from where it was."""
        room = self._fallback.room
        if not room.acquire(blocking=False):
            yield {"kind": "note", "message": f"waiting for a free place on this machine: {why}"}
            while not room.acquire(timeout=POLL_S):
                if self._stopped.is_set():
                    yield stopped_before(job)
                    return
        try:
            if self._stopped.is_set():
                yield stopped_before(job)
                return
            yield {"kind": "place", "message": f"on this machine: {why}", "workers": 0}
            yield from self._of(self._fallback.here(replace(job, ends_at_once=True)))
        finally:
            room.release()

    def _of(self, running: RunningJob) -> Iterator[dict[str, Any]]:
        """Iterate over the messages of a running job, passing on a stop that was requested before it existed."""
        with self._lock:
            self._running = running
            stopping = self._stopped.is_set()
        if self._back:
            running.lower_priority()
        for message in running.messages():
            if stopping:
                running.tell({"stop": True})
                stopping = False
            yield message

    def tell(self, message: Mapping[str, Any]) -> None:
        """See RunningJob."""
        with self._lock:
            if message.get("stop"):
                self._stopped.set()
            running = self._running
        if running is not None:
            running.tell(message)

    def ending(self) -> str:
        """See RunningJob."""
        return "the refinement was ended" if self._running is None else self._running.ending()

    def lower_priority(self) -> None:
        """See RunningJob."""
        self._back = True
        if self._running is not None:
            self._running.lower_priority()

    def end(self) -> None:
        """See RunningJob."""
        self._abandoned.set()
        with self._lock:
            self._stopped.set()
            running = self._running
        if running is not None:
            running.end()
