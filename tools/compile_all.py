"""Compile into the user's cache what tests and servers share: once, instead of in each of their processes.

    python tools/compile_all.py

A minute on a machine that has never run this version, nothing on others.
"""

from __future__ import annotations

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.server.process.compilation import EVERYTHING, compile_missing

WINDOW = 16
"""Pixels along a side of the model that is compiled for refinements; any will do."""


def main() -> None:
    """Compile everything that is missing."""
    use_persistent_cache()
    for piece in sorted(EVERYTHING):
        compile_missing(piece)
    from ptylive.engine.backend.multislice.compiled_backend import warm_up

    warm_up(WINDOW)


if __name__ == "__main__":
    main()
