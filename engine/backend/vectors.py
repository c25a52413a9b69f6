"""What compiled code should know of the vectors of this CPU."""

from __future__ import annotations

import llvmlite.binding as llvm
import numba

WIDEST = 16
"""Single-precision numbers in a vector of 512 bits."""


def features() -> dict[str, bool]:
    """Return vector instructions by LLVM's names, of this CPU or of the one that numba is set to compile for."""
    configured = numba.config.CPU_FEATURES
    if configured is None:
        return dict(llvm.get_host_cpu_features())
    return {each[1:]: each[0] == "+" for each in configured.split(",") if each[:1] in ("+", "-")}


def lanes() -> int:
    """Return the single-precision numbers per vector: 16 if the CPU has 512-bit registers, otherwise 8."""
    return WIDEST if features().get("avx512f") else 8


def exchanged_bytes() -> int:
    """Return the width of the parts of a vector within which numbers are best exchanged: 16 bytes, or 32.

    CPUs that exchange numbers once a clock transpose fastest by combining parts of 16 bytes as they are read; Zen 5
    exchanges them twice a clock in vectors of 512 bits, as often as it reads.
    """
    name = numba.config.CPU_NAME or llvm.get_host_cpu_name()
    return 32 if name == "znver5" and lanes() == WIDEST else 16
