"""Width of the vectors that compiled code may use here."""

from __future__ import annotations

import llvmlite.binding as llvm
import numba


def features() -> dict[str, bool]:
    """Return vector instructions by LLVM's names, of this CPU or of the one that numba is set to compile for."""
    configured = numba.config.CPU_FEATURES
    if configured is None:
        return dict(llvm.get_host_cpu_features())
    return {each[1:]: each[0] == "+" for each in configured.split(",") if each[:1] in ("+", "-")}


def lanes() -> int:
    """Return the single-precision numbers per vector: 16 if the CPU has 512-bit registers, otherwise 8."""
    return 16 if features().get("avx512f") else 8
