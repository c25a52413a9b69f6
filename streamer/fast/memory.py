"""Access to bytes at addresses, for compiled code: libzmq hands out addresses, not arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba as nb
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

COMPILED = {"nopython": True, "nogil": True, "cache": True, "error_model": "numpy", "boundscheck": False}
"""Options of compiled functions of this package that Python calls."""
INNER = {**COMPILED, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that only compiled code calls: without numba's wrapper for Python, which takes time to compile.
Calling such a function from Python ends the process.
"""


@intrinsic
def _pointer(_typing, address):
    """A void pointer from an integer."""

    def generate(_context, builder, _signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uintp), generate


@nb.jit(**COMPILED)
def bytes_at(address, length):
    """The ``length`` bytes at an address as an array (uint8); they are not copied, and nobody keeps them alive."""
    return nb.carray(_pointer(nb.uintp(address)), (length,), nb.uint8)


@nb.jit(**COMPILED)
def words_at(address, length):
    """Like :func:`bytes_at`, for ``length`` numbers int64."""
    return nb.carray(_pointer(nb.uintp(address)), (length,), nb.int64)


def _loader(bits: int, numba_type: types.Integer) -> Any:
    """A function (address) -> unsigned integer of ``bits`` bits, at any alignment."""

    @intrinsic
    def load(_typing, address):
        def generate(_context, builder, _signature, arguments):
            value = builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))
            value.align = 1
            return value

        return numba_type(types.uintp), generate

    return load


def _storer(bits: int, numba_type: types.Integer) -> Any:
    """A function (address, unsigned integer of ``bits`` bits), at any alignment."""

    @intrinsic
    def store(_typing, address, value):
        def generate(context, builder, _signature, arguments):
            done = builder.store(arguments[1], builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))
            done.align = 1
            return context.get_dummy_value()

        return types.void(types.uintp, numba_type), generate

    return store


@intrinsic
def copy32(_typing, target, source):
    """Copy 32 bytes from one address to another (uintp), at any alignment."""

    def generate(context, builder, _signature, arguments):
        lanes = ir.VectorType(ir.IntType(64), 4).as_pointer()
        value = builder.load(builder.inttoptr(arguments[1], lanes))
        value.align = 1
        done = builder.store(value, builder.inttoptr(arguments[0], lanes))
        done.align = 1
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), generate


@intrinsic
def fill32(_typing, target, word):
    """Store a word of 64 bits four times in a row at an address (uintp), at any alignment."""

    def generate(context, builder, _signature, arguments):
        kind = ir.VectorType(ir.IntType(64), 4)
        value = ir.Constant(kind, ir.Undefined)
        for lane in range(4):
            value = builder.insert_element(value, arguments[1], ir.Constant(ir.IntType(32), lane))
        done = builder.store(value, builder.inttoptr(arguments[0], kind.as_pointer()))
        done.align = 1
        return context.get_dummy_value()

    return types.void(types.uintp, types.uint64), generate


def shuffled_copy(order: Sequence[int]) -> Any:
    """A function (target, source) that copies ``len(order)`` bytes between two addresses (uintp), at any alignment.

    Byte k comes from position ``order[k]``. The processor does it a vector at a time.
    """

    @intrinsic
    def copy(_typing, target, source):
        def generate(context, builder, _signature, arguments):
            kind = ir.VectorType(ir.IntType(8), len(order))
            lanes = ir.VectorType(ir.IntType(32), len(order))
            value = builder.load(builder.inttoptr(arguments[1], kind.as_pointer()))
            value.align = 1
            mask = ir.Constant(lanes, [ir.Constant(ir.IntType(32), k) for k in order])
            moved = builder.shuffle_vector(value, ir.Constant(kind, ir.Undefined), mask)
            done = builder.store(moved, builder.inttoptr(arguments[0], kind.as_pointer()))
            done.align = 1
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp), generate

    return copy


load8, store8 = _loader(8, types.uint8), _storer(8, types.uint8)
load16 = _loader(16, types.uint16)
load64, store64 = _loader(64, types.uint64), _storer(64, types.uint64)
