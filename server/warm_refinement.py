"""``python -m ptylive.server.warm_refinement PIXELS``: fill the compile cache before a refinement needs it.

In a process of its own and at the lowest priority: compiling takes seconds and must not hold up frames, and what the
compiler took of memory (130 to 240 MB) is given back when the process ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.backend.fast_sizes import padded_size

LOWEST_PRIORITY = 19


def main(arguments: list[str]) -> int:
    """Compile for a detector of so many pixels a side; returns the exit status."""
    os.nice(LOWEST_PRIORITY)
    mark = _mark(int(arguments[0]))
    from ptylive.engine.backend.multislice_compiled import warm_up

    warm_up(padded_size(int(arguments[0])))
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return 0


@contextmanager
def compiling(pixels: int) -> Iterator[None]:
    """Have it done by a process of its own while something else is done here, unless it was done before.

    Nothing breaks where that process fails: the refinement compiles for itself then.
    """
    if _mark(pixels).exists():
        yield
        return
    command = [sys.executable, "-m", "ptylive.server.warm_refinement", str(pixels)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    except BaseException:
        process.terminate()  # there will be no refinement to wait for
        raise
    finally:
        process.wait()


def _mark(pixels: int) -> Path:
    """An empty file beside the compiled code that says it is there."""
    return use_persistent_cache() / f"refinement-{padded_size(pixels)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
