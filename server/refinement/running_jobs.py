"""Jobs that run at the same time, each followed by a thread of its own; stopped and ended together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from ptylive.server.refinement.job_process import RunningJob


class RunningJobs:
    """By number; ``changed`` is held while they change, and told of it."""

    def __init__(self, changed: threading.Condition, name: str) -> None:
        self._changed, self._name = changed, name
        self._jobs: dict[int, RunningJob | None] = {}
        """None while it is being started."""
        self._threads: list[threading.Thread] = []
        self.stopping = False
        """Whether all are to stop: none is begun any more."""

    def __len__(self) -> int:
        """How many run, or are being started."""
        return len(self._jobs)

    @property
    def begun(self) -> int:
        """How many have been begun so far."""
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
        """What a job says that was started under a number, until it ends; from now on it is told to stop with all."""
        with self._changed:
            self._jobs[number] = job
            stopping = self.stopping
        for message in job.messages():
            if stopping:  # asked for before there was somebody to tell
                job.tell({"stop": True})
                stopping = False
            yield message

    def stop(self) -> None:
        """Ask all that run to stop; once."""
        if not self.stopping:
            for job in self._all():
                job.tell({"stop": True})

    def end(self) -> None:
        """Leave no process and no thread behind, however far they are."""
        for job in self._all():
            job.end()
        for thread in self._threads:
            thread.join()

    def _all(self) -> list[RunningJob]:
        """Those that run; none is begun after them."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
            return [job for job in self._jobs.values() if job is not None]
