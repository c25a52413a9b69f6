"""Prefetch memory before it is needed: patterns come from main memory, and each is read only once."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ptylive.engine.backend.multislice.planes_fft import FAST

LINE = 64
"""Bytes of a cache line on all current CPUs."""
_READ, _KEEP, _DATA = 0, 3, 1
"""Arguments of LLVM's prefetch: for reading, keep in every cache level, data cache."""


@intrinsic
def _ask(_context: Any, values: Any, index: Any) -> Any:
    """Prefetch the line that holds a byte of an array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, small = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, small, small, small])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        hints = [ir.Constant(small, value) for value in (_READ, _KEEP, _DATA)]
        builder.call(function, [builder.bitcast(builder.gep(data, [arguments[1]]), byte), *hints])
        return context.get_dummy_value()

    return types.void(values, types.intp), generate


@numba.jit(**FAST)
def prefetch(recorded: Any) -> None:
    """Prefetch all bytes of an array (N,) uint8."""
    for k in range(0, recorded.shape[0], LINE):
        _ask(recorded, k)
