"""A process that opens untrusted files, with limits on time and memory; it is restarted when killed.

One flipped bit can make the HDF5 library loop for ever inside a call that lets no other thread of the process run,
request all available memory, or crash. In a separate process this costs one file: its reader gets an InputFileError.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ptylive.schema import InputFileError
from ptylive.schema.plain_errors import ctrl_c_held
from ptylive.streamer.vetting.pipe import pack, read_message

_START_S = 120.0
_GRACE_S = 2.0
_TRIES = 2
_BY_THE_FILE = tuple(-getattr(signal, name) for name in ("SIGPROF", "SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL"))
"""Exit codes of the process that reading again would only reproduce."""
_MOST_REMEMBERED = 1000
_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Limits:
    """Limits of a task. cpu_s: CPU time, so that a busy machine or a slow disk condemns no file."""

    cpu_s: float = 3.0
    wall_s: float = 30.0
    memory_bytes: int = 2 * 2**30


class FileWorker:
    """Runs tasks on files in a separate process, one at a time; callable from any thread.

    The process is started at the first task, and ends with :meth:`close` or with its parent.
    """

    def __init__(self, limits: Limits | None = None, modules: tuple[str, ...] = ()) -> None:
        """``modules``: of the tasks, imported beforehand so that imports do not count towards a file's time."""
        self.limits = limits or Limits()
        self._modules = modules
        self._closed = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._condemned: OrderedDict[str, tuple[_Stamp, InputFileError]] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_id(self) -> int | None:
        """Id of the process, while it runs."""
        process = self._process
        return None if process is None else process.pid

    def read(self, task: Callable[..., Any], path: Path, limits: Limits | None = None, **arguments: Any) -> Any:
        """Return ``task(path, **arguments)`` from the other process; plain values and arrays, which are read-only.

        ``task``: a function of a module of this program. Raises InputFileError: raised by the task, or because the file
        could not be read within the limits. A file on which the process died is not opened again until it changes.
        """
        path = Path(path).absolute()
        stamp = stamp_of(path)
        allowed = limits or self.limits
        request = {
            "task": f"{task.__module__}:{task.__qualname__}",
            "path": str(path),
            "cpu_s": allowed.cpu_s,
            "wall_s": allowed.wall_s,
            "arguments": arguments,
        }
        with self._lock:
            condemned = self._condemned.get(str(path))
            if condemned is not None and condemned[0] == stamp:
                raise InputFileError(str(condemned[1]), condemned[1].hint)
            answer = self._answer(request, path, stamp, allowed)
        if "error" in answer:
            raise InputFileError(str(answer["error"]), str(answer.get("hint", "")))
        return answer["value"]

    def prepare(self) -> None:
        """Start the process, so that the first task does not wait for it; a failure is reported by that task."""
        with self._lock, contextlib.suppress(InputFileError):
            if not self._closed:
                self._running()

    def close(self) -> None:
        """End the process; the next task starts another, unless one was running: that one fails, and is the last."""
        if self._lock.acquire(timeout=_GRACE_S / 2):
            try:
                self._end()
            finally:
                self._lock.release()
        elif (process := self._process) is not None:
            self._closed = True
            process.kill()

    def _answer(self, request: dict[str, Any], path: Path, stamp: _Stamp, allowed: Limits) -> dict[str, Any]:
        """Return the answer to a request; repeat it if somebody else has killed the process."""
        for _ in range(_TRIES):
            if self._closed:
                break
            process = self._running()
            assert process.stdin is not None  # noqa: S101  (opened with pipes)
            started = time.monotonic()
            try:
                process.stdin.write(pack(request))
                process.stdin.flush()
                return dict(self._next(process, allowed.wall_s + _GRACE_S))
            except (EOFError, OSError, ValueError):
                self._end()
            code = process.returncode
            if code in _BY_THE_FILE:
                raise self._condemn(path, stamp, allowed, code)
            if time.monotonic() - started > allowed.wall_s:  # waiting for a disk, which may be quicker later
                raise InputFileError(f"{path} could not be read in {allowed.wall_s:g} s", "is its disk connected?")
        raise InputFileError(f"{path} could not be read: the process that reads it was killed", "try again")

    def _condemn(self, path: Path, stamp: _Stamp, allowed: Limits, code: int) -> InputFileError:
        """Remember a file that has ended the process; return the error."""
        why = f"in {allowed.cpu_s:.3g} s of computing" if code == -signal.SIGPROF else "(its reader crashed)"
        error = InputFileError(f"{path} could not be read {why}", "it is damaged: restore it from a copy")
        self._condemned[str(path)] = (stamp, error)
        while len(self._condemned) > _MOST_REMEMBERED:
            self._condemned.popitem(last=False)
        return error

    def _running(self) -> subprocess.Popen[bytes]:
        """Return the process, started if necessary. Raises InputFileError where it cannot be started."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        command = [sys.executable, "-m", "ptylive.streamer.vetting.process", str(self.limits.memory_bytes)]
        command += self._modules
        quiet = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            with ctrl_c_held():
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **quiet}
                )
            self._next(self._process, _START_S)
        except (EOFError, OSError, ValueError) as error:
            self._end()
            raise InputFileError(
                f"the process that reads files does not start: {error}", "see the lines above"
            ) from None
        return self._process

    def _next(self, process: subprocess.Popen[bytes], patience_s: float) -> Any:
        """Return the process's next message. EOFError when it has ended, or stays silent."""
        assert process.stdout is not None  # noqa: S101  (opened with pipes)
        handle, give_up = process.stdout.fileno(), time.monotonic() + patience_s
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)

        def read(n: int) -> bytes:
            parts, missing = [], n
            while missing:
                ready = waiting.poll(max(0.0, give_up - time.monotonic()) * 1000)
                part = os.read(handle, min(missing, 2**20)) if ready else b""
                if not part:
                    return b""
                parts.append(part)
                missing -= len(part)
            return b"".join(parts)

        return read_message(read)

    def _end(self) -> None:
        """Kill the process, if there is one; if the kernel holds it back, do not wait for it."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unsent data
                    pipe.close()
        try:
            process.wait(_GRACE_S / 4)  # killed by its own timer, or ending now that its stdin has ended
        except subprocess.TimeoutExpired:
            process.kill()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                return


def stamp_of(path: Path) -> _Stamp:
    """Identify the state of a file: size, time, inode. Raises InputFileError if it is not an ordinary file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputFileError(f"{path}: no such file", "check the path") from None
    except (OSError, ValueError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputFileError(f"{path}: {problem}", "check the path") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputFileError(f"{path} is not a file", "name the file itself")
    return found.st_size, found.st_mtime_ns, found.st_ino
