"""Work of many jobs for a server: one piece at a time, in a separate process followed by a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ptylive.schema import CommandError
from ptylive.server.refinement.job_process import TERMINATE_TIMEOUT_S, ChildProcess

Hear = Callable[[Mapping[str, Any]], None]


class SideWork:
    """Work in a separate process. ``called``: its name for people; ``module``: of its process
    (:mod:`ptylive.server.refinement.side_process`).
    """

    def __init__(self, called: str, module: str, start: Callable[..., ChildProcess] = ChildProcess) -> None:
        self._called, self._module, self._start = called, module, start
        self._lock = threading.Lock()
        self._process: ChildProcess | None = None
        self._thread: threading.Thread | None = None
        self.stopping = False

    @property
    def runs(self) -> bool:
        """Whether the work is running."""
        return self._process is not None

    def begin(self, request: Mapping[str, Any], hear: Hear, on_ended: Callable[[str], None]) -> None:
        """Start the work. ``hear`` gets its messages, ``on_ended`` the reason for a failure, or ""; both in a thread.

        Raises CommandError if such work is already running.
        """
        with self._lock:
            if self._process is not None:
                raise CommandError(f"{self._called} is running", "stop it first")
            self._process = process = self._start(self._module, request)
            self.stopping = False
            arguments = (process, hear, on_ended)
            self._thread = threading.Thread(target=self._listen, args=arguments, name=self._called, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ask the work to stop; what is done is kept. Raises CommandError if none is running."""
        with self._lock:
            process = self._process
            if process is None:
                raise CommandError(f"{self._called} is not running", "it has ended already, or never began")
            self.stopping = True
        process.tell({"stop": True})

    def close(self) -> None:
        """End the work in whatever state it is; it can be resumed."""
        with self._lock:
            process, thread = self._process, self._thread
            self.stopping = True
        if process is not None:
            process.end()
        if thread is not None:
            thread.join(TERMINATE_TIMEOUT_S)

    def _listen(self, process: ChildProcess, hear: Hear, on_ended: Callable[[str], None]) -> None:
        ended: Mapping[str, Any] = {}
        for message in process.messages():
            if message["kind"] in ("ended", "failed"):
                ended = message
            else:
                hear(message)
        if not ended:
            ended = {"message": "" if self.stopping else process.ending()}
        with self._lock:
            self._process = None
        on_ended(str(ended.get("message", "")))
