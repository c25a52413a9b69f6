"""Make compiled loops use 512-bit vectors wherever the CPU has them.

LLVM restricts loops to 256 bits on most Intel CPUs, because the first of them lowered their clock for wider ones.
Transforms are written for 512 bits regardless of LLVM's preference, so the clock is already affected, and loops of half
the width next to them only take longer: refinement and reduction of frames gain a tenth by it (docs/history/kernel.md).
"""

from __future__ import annotations

from types import ModuleType

from ptylive.engine.backend.at_import import change_at_import

CODE = "numba.core.codegen"
WIDE, HALVES = "+avx512f", "-prefer-256-bit"
"""CPU features by LLVM's names."""


def use_whole_vectors() -> None:
    """Make numba compile for vectors as wide as the CPU's, unless NUMBA_CPU_FEATURES sets its features.

    Call before anything is compiled: a process keeps the setting it started with.
    """
    change_at_import(CODE, _extend_features)


def _extend_features(code: ModuleType) -> None:
    """Extend the features that numba reports to LLVM for this CPU."""
    host_features = code.get_host_cpu_features

    def features() -> str:
        names = str(host_features())
        return f"{names},{HALVES}" if WIDE in names.split(",") else names

    code.get_host_cpu_features = features  # type: ignore[attr-defined]
