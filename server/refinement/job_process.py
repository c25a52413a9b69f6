"""A refinement job that has been started: in a process on this machine, or elsewhere through the same protocol."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgpack
import psutil

from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.wire.messages import ANY_TEXT, MAX_MESSAGE_BYTES, pack_exactly

TERMINATE_TIMEOUT_S = 5.0
NICENESS = 10
"""Niceness of a refinement during a scan."""
_PIPE_BYTES = 2**16
NO_GPU = 3
"""Exit status of a standby process for a GPU (:class:`Standby`) if there is no GPU to share."""
REFINE_PROCESS = "ptylive.server.refinement.refine_process"


class RunningJob(Protocol):
    """A job that was started. Its methods can be called from any thread, :meth:`messages` from one."""

    def messages(self) -> Iterator[dict[str, Any]]:
        """Iterate over its messages until it ends; the last is of kind ``ended`` or ``failed`` unless it was killed."""
        ...

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send it a message (:mod:`ptylive.server.refinement.refine_inbox`); ignored if it has ended."""
        ...

    def ending(self) -> str:
        """Return in words, after the last message, how it ended, for a job that did not report this itself."""
        ...

    def lower_priority(self) -> None:
        """Lower its priority because a scan arrives on this machine: frames come first."""
        ...

    def end(self) -> None:
        """End it now in whatever state it is; its last checkpoint stays."""
        ...


Launch = Callable[[RefineJob], RunningJob]
"""Function that starts a job. Raises PtyliveError if it cannot be started."""


def _command(module: str) -> tuple[str, ...]:
    return sys.executable, "-m", module


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, which Ctrl-C at the terminal does not reach."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)


class ChildProcess:
    """A process ``python -m MODULE`` that receives a request and exchanges msgpack messages in both directions.

    Ctrl-C at the terminal does not reach it: the parent tells it to stop.
    """

    def __init__(
        self,
        module: str,
        request: Mapping[str, Any],
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """``process``: a process of ``module`` that already waits for its request, instead of a new one."""
        self._request = request
        self._talk = threading.Lock()
        """Held while writing to the process; the request is always written first."""
        self._talk.acquire()
        self._process = process or _started(_command(module))

    called = "the process"

    def messages(self) -> Iterator[dict[str, Any]]:
        """See :class:`RunningJob`; the request is sent when the first message is requested."""
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  (we asked for the pipe)
        try:
            self._write(self._request)
        finally:
            self._talk.release()
        unpacker = msgpack.Unpacker(raw=False, unicode_errors=ANY_TEXT, max_buffer_size=MAX_MESSAGE_BYTES)
        while chunk := stdout.read1(_PIPE_BYTES):  # type: ignore[attr-defined]
            unpacker.feed(chunk)
            yield from unpacker
        self._process.wait()

    def tell(self, message: Mapping[str, Any]) -> None:
        """See :class:`RunningJob`."""
        with self._talk:
            self._write(message)

    def ending(self) -> str:
        """See :class:`RunningJob`."""
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return f"{self.called} was killed (signal 9), as the system does when memory runs out"
        return f"{self.called} ended with status {status}"

    def lower_priority(self) -> None:
        """See :class:`RunningJob`."""
        lower_priority(self._process.pid)

    def end(self) -> None:
        """See :class:`RunningJob`."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(TERMINATE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def kill(self) -> None:
        """Kill the process without waiting for its end."""
        self._process.kill()

    def _write(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101  (we asked for the pipe)
        try:
            self._process.stdin.write(pack_exactly(message))
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has just ended; the reader of its messages will notice


class JobProcess(ChildProcess):
    """A job in a process on this machine (:class:`RunningJob`)."""

    called = "the refinement process"

    def __init__(self, job: RefineJob, process: subprocess.Popen[bytes] | None = None) -> None:
        super().__init__(REFINE_PROCESS, job.to_plain(), process)


class Standby:
    """A standby process for the next refinement on a GPU, with modules imported and kernels loaded on the card.

    This preparation takes three seconds, as long as many refinements there. Without a GPU the process ends
    automatically and is not started again. Methods can be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._useless = False
        """Whether there is no GPU, or none that two processes can share."""

    def prepare(self, pixels: int) -> None:
        """Start preparing a process for detectors of n pixels a side; an existing one is kept, whatever its size."""
        with self._lock:
            if self._alive() or self._useless:
                return
            self._process = _started((*_command(REFINE_PROCESS), str(pixels)))

    def take(self) -> subprocess.Popen[bytes] | None:
        """Hand out the process for a job, in whatever state it is; None if there is none."""
        with self._lock:
            process, self._process = (self._process if self._alive() else None), None
            return process

    def close(self) -> None:
        """End the process and start no more."""
        process = self.take()
        with self._lock:
            self._useless = True
        if process is not None:
            process.terminate()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _alive(self) -> bool:
        if self._process is None:
            return False
        status = self._process.poll()
        self._useless = self._useless or status == NO_GPU
        return status is None


def lower_priority(pid: int) -> None:
    """Lower the priority of a ptylive process; threads it starts later inherit it."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if sys.platform != "linux":
            process.nice(NICENESS)
            return
        for thread in process.threads():
            os.setpriority(os.PRIO_PROCESS, thread.id, max(NICENESS, os.getpriority(os.PRIO_PROCESS, thread.id)))
