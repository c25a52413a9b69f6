"""How wide the vectors are that compiled code may use here."""

from __future__ import annotations

import llvmlite.binding as llvm
import numba


def features() -> dict[str, bool]:
    """Vector instructions by LLVM's names, of this processor or of the one that numba is told to compile for."""
    told = numba.config.CPU_FEATURES
    if told is None:
        return dict(llvm.get_host_cpu_features())
    return {each[1:]: each[0] == "+" for each in told.split(",") if each[:1] in ("+", "-")}


def lanes() -> int:
    """Single-precision numbers of a vector: 16 where the processor has registers of 512 bits, else 8."""
    return 16 if features().get("avx512f") else 8
