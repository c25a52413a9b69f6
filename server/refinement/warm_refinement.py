"""Fill the compile cache: ``python -m ptylive.server.refinement.warm_refinement PIXELS [NICENESS [WAY…] [gpu]]``.

It runs in a separate process: compiling takes seconds and must not hold up frames, and the compiler's memory (130 to
240 MB) is released when the process ends. It ends with its parent.
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
from ptylive.engine.backend.multislice.kernel_parts.kernel_paths import KernelPath
from ptylive.schema import ScanHeader
from ptylive.schema.plain_errors import say_unraisable_in_a_line
from ptylive.server.process.parent_watch import exit_with_parent

LOWEST_PRIORITY = 19
POLL_S = 0.5
GPU = "gpu"
"""Name of the GPU kernel, in addition to the variants of the CPU kernel."""
COMPILING = "compiling the refinement (first run on this machine)"


def main(arguments: list[str]) -> int:
    """Compile for a detector of n pixels a side; return the exit status."""
    say_unraisable_in_a_line("ptylive warm-up")
    exit_with_parent()
    os.nice(int(arguments[1]) if len(arguments) > 1 else 0)
    pixels, wanted = int(arguments[0]), tuple(arguments[2:]) or tuple(KernelPath)
    use_persistent_cache()
    from ptylive.engine.backend.multislice.warm_up import warm_up
    from ptylive.engine.simulation.first_on_gpu import warm_up_gpu

    for piece in wanted:
        if piece == GPU:
            warm_up_gpu(pixels)
        else:
            warm_up(padded_size(pixels), (KernelPath(piece),))
        with suppress(OSError):  # full disk: compile again next time
            _mark(pixels, piece).touch()
    return 0


def way_of(header: ScanHeader) -> KernelPath:
    """Return the kernel variant that a refinement of such a scan needs to begin."""
    return KernelPath.FRAMES if header.basis.is_raw else KernelPath.COEFFICIENTS


def is_compiled(header: ScanHeader) -> bool:
    """Return whether the code that a refinement of such a scan begins with was compiled before; also True if the header
    does not determine it, since coefficients may arrive without the shape of the detector.
    """
    shape = header.detector.shape
    return shape is None or _mark(max(shape), way_of(header)).exists()


def is_compiled_for_gpu(header: ScanHeader) -> bool:
    """Return whether the code that a refinement of such a scan needs on a GPU was compiled before."""
    shape = header.detector.shape
    return shape is not None and _mark(max(shape), GPU).exists()


def start(
    header: ScanHeader, niceness: int = 0, *, ahead: bool = False, gpu: bool = False
) -> subprocess.Popen[bytes] | None:
    """Start a process that compiles what a refinement of such a scan begins with, followed, with ``ahead``, by all
    other variants of the kernel, and with ``gpu`` by the GPU kernel. Returns None if all is compiled already, or the
    detector's shape is unknown. The process ends when its stdin closes, thus when this process ends in whatever way.
    """
    shape = header.detector.shape
    if shape is None:
        return None
    pixels, first = max(shape), way_of(header)
    wanted = sorted(KernelPath, key=lambda way: way is not first) if ahead else [first]
    pieces = [*wanted, GPU] if gpu else wanted
    missing = [piece for piece in pieces if not _mark(pixels, piece).exists()]
    if not missing:
        return None
    module = "ptylive.server.refinement.warm_refinement"
    command = [sys.executable, "-m", module, str(pixels), str(niceness), *missing]
    return subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)  # Ctrl-C reaches only this process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of :func:`start` if it is still running, and release its resources."""
    with suppress(ProcessLookupError):
        process.terminate()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


@contextmanager
def compiling(header: ScanHeader, tell: Callable[[float, float | None, str | None], None]) -> Iterator[None]:
    """Compile in a separate process while the body runs, then wait for it and report so.

    A failure of that process does no harm: the refinement then compiles the code itself.
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
    """Return the path of an empty file next to the compiled code that marks its presence."""
    return compiled_mark(f"refinement-{piece}-{padded_size(pixels)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
