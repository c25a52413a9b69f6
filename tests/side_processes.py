"""A process next to the server that follows a script, for tests of code that starts one."""

from __future__ import annotations

import threading
from typing import ClassVar


class Process:
    """Stands in for :class:`ptylive.server.refinement.job_process.ChildProcess`.

    ``script`` holds messages, and ``"wait"``: until it is told to stop.
    """

    script: ClassVar[list] = []
    started: ClassVar[list[Process]] = []

    def __init__(self, module, request):
        self.module, self.request, self._awake = module, request, threading.Event()
        self.started.append(self)

    def messages(self):
        for step in list(self.script):
            if step == "wait":
                assert self._awake.wait(30)
            else:
                yield step

    def tell(self, message):
        assert message == {"stop": True}
        self._awake.set()

    def ending(self):
        return "the process was killed (signal 9)"

    def end(self):
        self._awake.set()
