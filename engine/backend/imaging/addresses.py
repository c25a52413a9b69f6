"""Memory and functions at addresses, for compiled code that receives frames in an external encoding."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_WORD = ir.IntType(64)


@intrinsic
def call_decoder(_typing, function, data, size, itemsize, target, target_bytes, work, told):
    """Call the C function at an address: int64 (data, size, itemsize, target, target_bytes, work, told), all 64 bits.

    It is the function supplied with :class:`ptylive.schema.CodedFrames`; 0 means decoded.
    """

    def generate(_context, builder, _signature, arguments):
        kind = ir.FunctionType(_WORD, [_WORD] * 7).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], kind), list(arguments[1:]))

    words = (types.uintp, types.uintp, types.int64, types.int64, types.uintp, types.int64, types.uintp, types.uintp)
    return types.int64(*words), generate


@intrinsic
def copy_memory(_typing, target, source, size):
    """Copy ``size`` bytes (int64) between two addresses (uintp)."""

    def generate(context, builder, _signature, arguments):
        byte = ir.IntType(8).as_pointer()
        copy = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, _WORD])
        target_pointer, source_pointer = (builder.inttoptr(address, byte) for address in arguments[:2])
        builder.call(copy, [target_pointer, source_pointer, arguments[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.int64), generate
