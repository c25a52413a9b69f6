"""Compile the code that tests and servers share into the user's cache: once, instead of in each of their processes.

    python tools/compile_all.py

Takes about a minute and a half on a machine that has never run this version, no time on others.
"""

from __future__ import annotations

import fcntl
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.server.process.compilation import EVERYTHING, compile_missing

WINDOWS = (32, 64)
"""Pixels along a side of the models of most tests: transforms are compiled for each. Double precision is compiled on
demand by slow tests: its kernel takes as long as all of this.
"""
BANDED = (32,)
"""Sizes whose filters are compiled too."""
LOCK = Path(__file__).resolve().parents[1] / "build" / "compiling.lock"
"""Held until everything is compiled: tests that run in several processes wait for it."""


def compile_piece(piece: str) -> None:
    """Compile what live maps or receivers require."""
    use_persistent_cache()
    compile_missing(piece)


def compile_kernel() -> None:
    """Compile what refinements require."""
    use_persistent_cache()
    from ptylive.engine.backend.multislice.planes_fft import compiled_filters
    from ptylive.engine.backend.multislice.warm_up import warm_up

    for window in WINDOWS:
        warm_up(window)
        if window in BANDED:
            compiled_filters(window)


def main() -> None:
    """Compile everything that is missing, on two cores; several workers would compile the same code simultaneously."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("wb") as lock, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel = pool.submit(compile_kernel)
        for waiting in [kernel, *(pool.submit(compile_piece, piece) for piece in sorted(EVERYTHING))]:
            waiting.result()


if __name__ == "__main__":
    main()
