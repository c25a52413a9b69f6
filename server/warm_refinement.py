"""``python -m ptylive.server.warm_refinement PIXELS``: fill the compile cache before a refinement needs it.

In a process of its own and at the lowest priority: compiling takes seconds and must not hold up frames.
"""

from __future__ import annotations

import os
import sys

LOWEST_PRIORITY = 19


def main(arguments: list[str]) -> int:
    """Compile for a detector of so many pixels a side; returns the exit status."""
    os.nice(LOWEST_PRIORITY)
    from ptylive.engine.backend.cache import use_persistent_cache

    use_persistent_cache()
    from ptylive.engine.backend.fast_sizes import padded_size
    from ptylive.engine.backend.multislice_compiled import warm_up

    warm_up(padded_size(int(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
