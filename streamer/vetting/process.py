"""``python -m ptylive.streamer.vetting.process MEMORY_BYTES [MODULE …]``: reads files that may be damaged.

Tasks arrive on stdin, answers go to stdout (:mod:`ptylive.streamer.vetting.pipe`). A task that takes too long is ended
by a timer of the kernel, whose signal kills this process whatever it is doing: a library that loops in compiled code
lets no Python code run, and the parent may be gone. The end of stdin ends the process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from ptylive.schema import PtyliveError
from ptylive.schema.errors import open_elsewhere
from ptylive.schema.plain_errors import say_unraisable_in_a_line
from ptylive.streamer.vetting.pipe import pack, read_message

OURS = "ptylive."
"""Only functions of this program can be tasks."""


def main(arguments: list[str]) -> int:
    """Serve until stdin ends; return the exit status."""
    say_unraisable_in_a_line("ptylive file worker")
    memory_bytes = int(arguments[0])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(memory_bytes)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output printed by a library is not an answer
        for module in ("ptylive.streamer.source", *arguments[1:]):
            importlib.import_module(module)
        _say(out, {"ready": True})
        while True:
            try:
                request = read_message(sys.stdin.buffer.read)
            except EOFError:
                return 0
            _say(out, _answer(request, memory_bytes), request["path"])


def _limit(memory_bytes: int) -> None:
    """Limit memory, and forbid writing files and cores. Systems without such limits have only the time limit."""
    import resource

    limits = [(resource.RLIMIT_DATA, memory_bytes), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)]
    for kind, most in limits:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def _answer(request: dict[str, Any], memory_bytes: int) -> dict[str, Any]:
    """Run one task. A damaged file may raise any exception in the libraries that read it."""
    path = Path(request["path"])
    try:
        task = _function(request["task"])  # imports do not count towards a file's time
        _set_timers(request["cpu_s"], request["wall_s"])
        return {"value": task(path, **request["arguments"])}
    except PtyliveError as error:
        return {"error": str(error), "hint": error.hint}
    except MemoryError:
        problem = f"{path} could not be read in {memory_bytes / 2**20:.0f} MiB of memory"
        return {"error": problem, "hint": "is it damaged?"}
    except PermissionError:
        return {"error": f"{path} cannot be read: permission denied", "hint": "check its permissions"}
    except Exception as error:
        if found := open_elsewhere(path, error):
            return {"error": str(found), "hint": found.hint}
        text = " ".join(str(error).split())
        return {"error": f"{path} could not be read: {text or type(error).__name__}", "hint": "is it damaged?"}
    finally:
        _set_timers(0.0, 0.0)


def _set_timers(cpu_s: float, wall_s: float) -> None:
    """Set the time until this process is killed, in seconds of CPU time and of waiting; 0: never."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def _function(name: str) -> Any:
    """Return the function named ``module:function``."""
    module, _, function = name.partition(":")
    if not module.startswith(OURS):
        raise ValueError(f"{name} is not a task")
    return getattr(importlib.import_module(module), function)


def _say(out: BinaryIO, message: dict[str, Any], path: str = "") -> None:
    try:
        data = pack(message)
    except (ValueError, TypeError, OverflowError) as error:
        data = pack({"error": f"{path}: the result cannot be sent: {error}", "hint": "is it damaged?"})
    try:
        out.write(data)
        out.flush()
    except BrokenPipeError:  # the requesting process was killed: stdin has ended too
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
