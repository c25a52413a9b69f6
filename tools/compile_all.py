"""Compile into the user's cache what tests and servers share: once, instead of in each of their processes.

    python tools/compile_all.py

One to two minutes on a machine that has never run this version, nothing on others.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.server.process.compilation import EVERYTHING, compile_missing

WINDOWS = (32, 48, 64)
"""Pixels along a side of the models of most tests: the kernel of refinements is compiled for each."""


def compile_pieces() -> None:
    """What live maps and receivers need."""
    use_persistent_cache()
    for piece in sorted(EVERYTHING):
        compile_missing(piece)


def compile_kernel(window: int) -> None:
    """What refinements need."""
    use_persistent_cache()
    from ptylive.engine.backend.multislice.compiled_backend import warm_up

    warm_up(window)


def main() -> None:
    """Compile everything that is missing, on all cores."""
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), get_context("spawn")) as pool:
        waiting = [pool.submit(compile_pieces), *(pool.submit(compile_kernel, window) for window in WINDOWS)]
        for one in waiting:
            one.result()


if __name__ == "__main__":
    main()
