"""``python -m ptylive.server.refinement.warm_refinement PIXELS [NICENESS]``: fill the compile cache for refinements.

In a process of its own: compiling takes seconds and must not hold up frames, and what the compiler took of memory (130
to 240 MB) is given back when the process ends. It ends with its parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ptylive.engine.backend.cache import compiled_mark
from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.schema.plain_errors import say_unraisable_in_a_line
from ptylive.server.process.parent_watch import exit_with_parent

LOWEST_PRIORITY = 19
POLL_S = 0.5
COMPILING = "compiling the refinement (first run on this machine)"


def main(arguments: list[str]) -> int:
    """Compile for a detector of n pixels a side; returns the exit status."""
    say_unraisable_in_a_line("ptylive warm-up")
    exit_with_parent()
    os.nice(int(arguments[1]) if len(arguments) > 1 else 0)
    mark = _mark(int(arguments[0]))
    from ptylive.engine.backend.multislice.warm_up import warm_up

    warm_up(padded_size(int(arguments[0])))
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return 0


def is_compiled(pixels: int) -> bool:
    """Whether what a detector of ``pixels`` along its longer side needs was compiled before."""
    return _mark(pixels).exists()


def start(pixels: int, niceness: int = 0) -> subprocess.Popen[bytes] | None:
    """A process that compiles for a detector, None where that was done before. Its stdin is its life: it ends when
    this process does, however that ends.
    """
    if is_compiled(pixels):
        return None
    command = [sys.executable, "-m", "ptylive.server.refinement.warm_refinement", str(pixels), str(niceness)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of :func:`start`, if it still runs, and leave nothing of it behind."""
    with suppress(ProcessLookupError):
        process.terminate()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


@contextmanager
def compiling(pixels: int, tell: Callable[[float, float | None, str | None], None]) -> Iterator[None]:
    """Have it done by a process of its own while something else is done here, then wait for it, saying so.

    Nothing breaks where that process fails: the refinement compiles for itself then.
    """
    process = start(pixels)
    if process is None:
        yield
        return
    started = time.monotonic()
    try:
        yield
        while process.poll() is None:
            tell(int(time.monotonic() - started), None, f"{COMPILING}, s")
            time.sleep(POLL_S)
    finally:
        end(process)


def _mark(pixels: int) -> Path:
    """An empty file beside the compiled code that says it is there."""
    return compiled_mark(f"refinement-{padded_size(pixels)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
