"""A refinement process that follows a script, for tests of code that starts one."""

from __future__ import annotations

import threading
from typing import ClassVar

ENDED = {
    "kind": "ended", "state": "done", "run": "run1", "algorithm": "lsq", "reason": "", "message": "", "problem": "",
    "backend": "cpu", "loss": 2.5, "results": "", "sentences": ["lsq: as asked"],
    "outcome": {"frames": 16, "epochs": 4, "frames_per_s": 5.0, "converged": True, "phase_deviation_rad": 0.02},
}  # fmt: skip


def progress(epoch: int, **more) -> dict:
    """A message of a running refinement."""
    numbers = {"epochs": 9, "loss": 4.0 - epoch / 10, "seconds": 1.0, "seconds_left": 2.0, "evaluations": 1.0}
    words = {"state": "running", "phase": "sweep", "message": "", "warning": "", "stages": []}
    return {"kind": "progress", "epoch": epoch, **numbers, **words, **more}


class Scripted:
    """Stands in for :class:`ptylive.server.refinement.job_process.JobProcess`.

    ``script`` holds messages, functions that are called with the job, and ``"wait"``: until a message is sent to it.
    """

    script: ClassVar[list] = []
    started: ClassVar[list[Scripted]] = []

    def __init__(self, job, process=None):
        self.job, self.process = job, process
        self.told, self.is_over = [], False
        self._awake = threading.Event()
        self.started.append(self)

    def messages(self):
        for step in list(self.script):
            if step == "wait":
                assert self._awake.wait(30)
            elif callable(step):
                step(self.job)
            else:
                yield dict(step)

    def tell(self, message):
        self.told.append(message)
        self._awake.set()

    def ending(self):
        return "it was killed"

    def lower_priority(self):
        pass

    def end(self):
        self.is_over = True
        self._awake.set()

    kill = end
