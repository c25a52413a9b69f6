"""Compile into the user's cache what tests and servers share: once, instead of in each of their processes.

    python tools/compile_all.py

About a minute on a machine that has never run this version, nothing on others.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.server.process.compilation import EVERYTHING, compile_missing

WINDOWS = (32, 48, 64, 128)
"""Pixels along a side of the models of most tests: transforms are compiled for each."""


def compile_pieces() -> None:
    """What live maps and receivers need."""
    use_persistent_cache()
    for piece in sorted(EVERYTHING):
        compile_missing(piece)


def compile_kernel() -> None:
    """What refinements need."""
    use_persistent_cache()
    from ptylive.engine.backend.multislice.warm_up import warm_up

    for window in WINDOWS:
        warm_up(window)


def main() -> None:
    """Compile everything that is missing, on two cores."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for waiting in [pool.submit(compile_pieces), pool.submit(compile_kernel)]:
            waiting.result()


if __name__ == "__main__":
    main()
