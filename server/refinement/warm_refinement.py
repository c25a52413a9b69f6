"""Fill the compile cache: ``python -m ptylive.server.refinement.warm_refinement PIXELS [NICENESS [WAY…] [gpu]]``.

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

from ptylive.engine.backend.cache import compiled_mark, use_persistent_cache
from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.engine.backend.multislice.kernel_parts.ways import Way
from ptylive.schema import ScanHeader
from ptylive.schema.plain_errors import say_unraisable_in_a_line
from ptylive.server.process.parent_watch import exit_with_parent

LOWEST_PRIORITY = 19
POLL_S = 0.5
GPU = "gpu"
"""Beside the ways of the processor's kernel: that of a GPU."""
COMPILING = "compiling the refinement (first run on this machine)"


def main(arguments: list[str]) -> int:
    """Compile for a detector of n pixels a side; returns the exit status."""
    say_unraisable_in_a_line("ptylive warm-up")
    exit_with_parent()
    os.nice(int(arguments[1]) if len(arguments) > 1 else 0)
    pixels, wanted = int(arguments[0]), tuple(arguments[2:]) or tuple(Way)
    use_persistent_cache()
    from ptylive.engine.backend.multislice.warm_up import warm_up
    from ptylive.engine.simulation.first_on_gpu import warm_up_gpu

    for piece in wanted:
        if piece == GPU:
            warm_up_gpu(pixels)
        else:
            warm_up(padded_size(pixels), (Way(piece),))
        with suppress(OSError):  # a full disk: compiled again next time
            _mark(pixels, piece).touch()
    return 0


def way_of(header: ScanHeader) -> Way:
    """What a refinement of such a scan cannot begin without."""
    return Way.FRAMES if header.basis.is_raw else Way.COEFFICIENTS


def is_compiled(header: ScanHeader) -> bool:
    """Whether what a refinement of such a scan begins with was compiled before, or cannot be told from the header:
    coefficients may arrive without the shape of the detector.
    """
    shape = header.detector.shape
    return shape is None or _mark(max(shape), way_of(header)).exists()


def is_compiled_for_gpu(header: ScanHeader) -> bool:
    """Whether what a refinement of such a scan takes on a GPU was compiled before."""
    shape = header.detector.shape
    return shape is not None and _mark(max(shape), GPU).exists()


def start(
    header: ScanHeader, niceness: int = 0, *, ahead: bool = False, gpu: bool = False
) -> subprocess.Popen[bytes] | None:
    """A process that compiles what a refinement of such a scan begins with, and ``ahead`` of any other wish all ways
    of the kernel behind that, for a ``gpu`` too where there may be one; None where it was done before, or the
    detector's shape is not known. Its stdin is its life: it ends when this process does, however that ends.
    """
    shape = header.detector.shape
    if shape is None:
        return None
    pixels, first = max(shape), way_of(header)
    wanted = sorted(Way, key=lambda way: way is not first) if ahead else [first]
    pieces = [*wanted, GPU] if gpu else wanted
    missing = [piece for piece in pieces if not _mark(pixels, piece).exists()]
    if not missing:
        return None
    module = "ptylive.server.refinement.warm_refinement"
    command = [sys.executable, "-m", module, str(pixels), str(niceness), *missing]
    return subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)  # Ctrl-C is for this process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of :func:`start`, if it still runs, and leave nothing of it behind."""
    with suppress(ProcessLookupError):
        process.terminate()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


@contextmanager
def compiling(header: ScanHeader, tell: Callable[[float, float | None, str | None], None]) -> Iterator[None]:
    """Have it done by a process of its own while something else is done here, then wait for it, saying so.

    Nothing breaks where that process fails: the refinement compiles for itself then.
    """
    process = start(header)
    if process is None:
        yield
        return
    try:
        yield
        while process.poll() is None:
            tell(0, 0, COMPILING)
            time.sleep(POLL_S)
    finally:
        end(process)


def _mark(pixels: int, piece: str) -> Path:
    """An empty file beside the compiled code that says it is there."""
    return compiled_mark(f"refinement-{piece}-{padded_size(pixels)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
