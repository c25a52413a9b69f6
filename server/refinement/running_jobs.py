"""Jobs that run at the same time, each followed by its own thread; stopped and ended together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from ptylive.server.refinement.job_process import RunningJob


class RunningJobs:
    """Running jobs by number; ``changed`` is held while they change, and notified of changes."""

    def __init__(self, changed: threading.Condition, name: str) -> None:
        self._changed, self._name = changed, name
        self._jobs: dict[int, RunningJob | None] = {}
        """Jobs by number; None while a job is being started."""
        self._threads: list[threading.Thread] = []
        self.stopping = False
        """Whether all jobs are to stop and no more are begun."""

    def __len__(self) -> int:
        """Return how many jobs are running or being started."""
        return len(self._jobs)

    @property
    def begun(self) -> int:
        """Number of jobs begun so far."""
        return len(self._threads)

    def begin(self, number: int, follow: Callable[[int], None]) -> None:
        """Call ``follow(number)`` in a thread; the job counts as running until that returns."""
        thread = threading.Thread(
            target=self._followed, args=(number, follow), name=f"{self._name} {number}", daemon=True
        )
        with self._changed:
            self._jobs[number] = None
            self._threads.append(thread)
        thread.start()

    def _followed(self, number: int, follow: Callable[[int], None]) -> None:
        try:
            follow(number)
        finally:
            with self._changed:
                del self._jobs[number]
                self._changed.notify_all()

    def messages(self, number: int, job: RunningJob) -> Iterator[dict[str, Any]]:
        """Iterate over the messages of a job started under a number; from now on it stops together with the others."""
        with self._changed:
            self._jobs[number] = job
            stopping = self.stopping
        for message in job.messages():
            if stopping:  # asked to stop before this job could be told
                job.tell({"stop": True})
                stopping = False
            yield message

    def stop(self) -> None:
        """Ask all running jobs to stop, once."""
        if not self.stopping:
            for job in self._all():
                job.tell({"stop": True})

    def end(self) -> None:
        """End all processes and threads, in whatever state they are."""
        for job in self._all():
            job.end()
        for thread in self._threads:
            thread.join()

    def _all(self) -> list[RunningJob]:
        """Return the running jobs; none is begun after this."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
            return [job for job in self._jobs.values() if job is not None]
