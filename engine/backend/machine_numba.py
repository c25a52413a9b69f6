"""GIL-free loops that do one thing as fast as the CPU can, for the bounds of ``ptylive bench --bounds``."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

FAST = {"nopython": True, "nogil": True, "fastmath": True, "boundscheck": False}
CHAINS = 12
"""Independent multiply-adds: two per clock, each with a latency of four or five, within 16 registers."""
NAMED = ("avx512f", "avx512bf16", "avx2", "avx", "fma", "f16c", "sse4.2", "neon", "sve", "asimd")


def features() -> list[str]:
    """Return the vector instructions available to the compiler here, by LLVM's names."""
    available = llvm.get_host_cpu_features()
    return [name for name in NAMED if available.get(name)]


def lanes() -> int:
    """Return the number of single-precision values in the widest vectors."""
    available = features()
    return 16 if "avx512f" in available else 8 if "avx" in available else 4


@intrinsic
def _multiply_add_rounds(_context: Any, rounds: Any, factor: Any, term: Any) -> Any:
    """Iterate CHAINS vectors of x <- x factor + term; return the sum of their first lanes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        kind = ir.VectorType(ir.FloatType(), lanes())

        def vector(value: Any) -> Any:
            filled = ir.Constant(kind, ir.Undefined)
            for lane in range(kind.count):
                filled = builder.insert_element(filled, value, ir.Constant(ir.IntType(32), lane))
            return filled

        by, plus = vector(arguments[1]), vector(arguments[2])
        chains = [cgutils.alloca_once_value(builder, plus) for _ in range(CHAINS)]
        with cgutils.for_range(builder, arguments[0]):
            for chain in chains:
                product = builder.fmul(builder.load(chain), by, flags=["contract"])
                builder.store(builder.fadd(product, plus, flags=["contract"]), chain)
        total = ir.Constant(ir.FloatType(), 0.0)
        for number, chain in enumerate(chains):
            lane = ir.Constant(ir.IntType(32), number % kind.count)
            total = builder.fadd(total, builder.extract_element(builder.load(chain), lane))
        return total

    return types.float32(types.intp, types.float32, types.float32), generate


@numba.jit(**FAST)
def multiply_adds(rounds: int) -> Any:
    """Perform ``rounds`` x CHAINS x lanes multiply-adds in single precision."""
    return _multiply_add_rounds(rounds, np.float32(0.999), np.float32(0.001))


@numba.jit(**FAST)
def read(values: Any, rounds: int) -> Any:
    """Read float32 values ``rounds`` times; return a value that keeps the compiler from removing the loop."""
    total = np.float32(0)
    for _ in range(rounds):
        for k in range(values.size):
            total += values[k]
        values[0] = total
    return total


@numba.jit(nopython=True, nogil=True)
def ticks(rounds: int) -> Any:
    """Perform two dependent one-clock operations per round, which measures the clock."""
    x = np.int64(rounds)
    for k in range(rounds):
        x = (x ^ k) + rounds
    return x
