"""Compiled loops take vectors of 512 bits wherever the processor has them.

LLVM keeps loops to 256 bits on most processors of Intel's, because the first of them slowed their clock for wider ones.
Transforms are written in 512 whatever LLVM prefers, so that the clock is what it is, and loops of half the width beside
them only take longer: refinement and reduction of frames gain a tenth by it (docs/performance.md).
"""

from __future__ import annotations

from types import ModuleType

from ptylive.engine.backend.at_import import change_at_import

CODE = "numba.core.codegen"
WIDE, HALVES = "+avx512f", "-prefer-256-bit"
"""Of the features of a processor, by LLVM's names."""


def use_whole_vectors() -> None:
    """Have numba compile for vectors as wide as the processor's, unless it is told its features by NUMBA_CPU_FEATURES.

    Before anything is compiled: a process holds to what it began with.
    """
    change_at_import(CODE, _change)


def _change(code: ModuleType) -> None:
    """Add to what numba asks of LLVM about this processor."""
    ask = code.get_host_cpu_features

    def features() -> str:
        found = str(ask())
        return f"{found},{HALVES}" if WIDE in found.split(",") else found

    code.get_host_cpu_features = features  # type: ignore[attr-defined]
