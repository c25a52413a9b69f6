"""Compile into the user's cache what tests and servers share: once, instead of in each of their processes.

    python tools/compile_all.py

About a minute and a half on a machine that has never run this version, nothing on others.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.server.process.compilation import EVERYTHING, compile_missing

WINDOWS = (32, 48, 64, 96, 128)
"""Pixels along a side of the models of most tests: transforms are compiled for each."""
DOUBLE = (32, 48)
"""The same of those in double precision; of the kernel its way for frames: tests of the others are slow ones."""
BANDED = (32, 48, 64)
"""Whose filters are compiled too."""


def compile_piece(piece: str) -> None:
    """What live maps or receivers need."""
    use_persistent_cache()
    compile_missing(piece)


def compile_kernel(precision: str, windows: tuple[int, ...]) -> None:
    """What refinements need."""
    use_persistent_cache()
    from ptylive.engine.backend.multislice.kernel_parts.ways import Way
    from ptylive.engine.backend.multislice.planes_fft import compiled_filters
    from ptylive.engine.backend.multislice.problem import Precision
    from ptylive.engine.backend.multislice.warm_up import warm_up

    ways = tuple(Way) if precision == "single" else (Way.FRAMES,)
    for window in windows:
        warm_up(window, ways, Precision(precision))
        if window in BANDED:
            compiled_filters(window, Precision(precision).real.name)


def main() -> None:
    """Compile everything that is missing, on two cores; several workers would compile the same at a time."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        kernels = [pool.submit(compile_kernel, *each) for each in (("single", WINDOWS), ("double", DOUBLE))]
        for waiting in [*kernels, *(pool.submit(compile_piece, piece) for piece in sorted(EVERYTHING))]:
            waiting.result()


if __name__ == "__main__":
    main()
