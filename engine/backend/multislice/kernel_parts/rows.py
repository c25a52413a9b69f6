"""Products of planes with what belongs to a row or a column, or lies elsewhere: emitted in whole vectors.

Rows of a plane are short. A compiler's own loop over one begins by comparing all addresses for overlap and ends with
what does not fill a vector, which takes as long as the row itself. Here rows are multiples of a vector
(:mod:`ptylive.engine.backend.multislice.fast_sizes`), and planes never overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ptylive.engine.backend.multislice.planes_fft import INNER, code_of
from ptylive.engine.backend.vector_code import Code, Number


def _pointers(context: Any, builder: Any, kinds: Any, arrays: Any) -> list[Any]:
    """Return the data pointers of a tuple of arrays."""
    values = [builder.extract_value(arrays, number) for number in range(len(kinds))]
    return [context.make_array(kind)(context, builder, value).data for kind, value in zip(kinds, values, strict=True)]


def _row_loop(code: Code, size: Any, emit: Callable[[Any], Callable[[Any], None]]) -> None:
    """Emit a loop over rows and vectors: ``emit(row)`` is called in front of a row, what it returns for each vector."""
    vectors = code.builder.udiv(size, code.whole(code.lanes))
    with code.loop(size) as row:
        emit_vector = emit(row.index)
        with code.loop(vectors) as loop:
            emit_vector(code.product(loop.index, code.lanes))


def _number(code: Code, pointers: Any, at: Any) -> Number:
    return Number(code.load(pointers[0], at), code.load(pointers[1], at))


def _scalar(code: Code, pointers: Any, at: Any, scale: Any) -> Number:
    """Return a vector filled with one complex number, times a scale."""
    parts = (code.builder.load(code.at(pointer, at)) for pointer in pointers)
    return Number(*(code.everywhere(code.builder.fmul(part, scale)) for part in parts))


def _store(code: Code, value: Number, pointers: Any, at: Any) -> None:
    code.store(value.re, pointers[0], at)
    code.store(value.im, pointers[1], at)


def _conjugate(code: Code, value: Number) -> Number:
    return Number(value.re, code.builder.fneg(value.im))


Emit = Callable[[Code, Any, Any, Number, Any], None]
"""Emits what is done with two planes, the ramp at a vector, and the vector's place."""


def _by_ramp(emit: Emit) -> Callable[..., Any]:
    """Return a code generator that goes through two planes with their ramp: for (size, pitch, scale, arrays)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = code_of(builder, signature.args[2])
        of = _pointers(context, builder, signature.args[3], args[3])
        source, along_columns, along_rows, target = of[:2], of[2:4], of[4:6], of[6:]

        def emit_row(row: Any) -> Callable[[Any], None]:
            factor, begin = _scalar(code, along_rows, row, args[2]), code.product(row, args[1])

            def emit_vector(column: Any) -> None:
                ramp = code.times(_number(code, along_columns, column), factor)
                emit(code, source, target, ramp, code.sum(begin, column))

            return emit_vector

        _row_loop(code, args[0], emit_row)
        return context.get_dummy_value()

    return codegen


def _shift(code: Code, source: Any, target: Any, ramp: Number, at: Any) -> None:
    _store(code, code.times(_number(code, source, at), ramp), target, at)


def _shift_back(code: Code, source: Any, target: Any, ramp: Number, at: Any) -> None:
    product = code.times(_number(code, source, at), _conjugate(code, ramp))
    _store(code, code.plus(_number(code, target, at), product), target, at)


@intrinsic
def _fill_shifted(_context: Any, size: Any, pitch: Any, scale: Any, arrays: Any) -> Any:
    return types.void(types.int64, types.int64, scale, arrays), _by_ramp(_shift)


@intrinsic
def _add_unshifted(_context: Any, size: Any, pitch: Any, scale: Any, arrays: Any) -> Any:
    return types.void(types.int64, types.int64, scale, arrays), _by_ramp(_shift_back)


@intrinsic
def _scatter(_context: Any, size: Any, pitch: Any, start: Any, width: Any, arrays: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = code_of(builder, signature.args[4][0].dtype)
        of = _pointers(context, builder, signature.args[4], args[4])
        entering, wave, total = of[:2], of[2:4], of[4:]

        def emit(row: Any) -> Callable[[Any], None]:
            begin, target = code.product(row, args[1]), code.sum(args[2], code.product(row, args[3]))

            def emit_vector(column: Any) -> None:
                at, there = code.sum(begin, column), code.sum(target, column)
                product = code.times(_number(code, wave, at), _conjugate(code, _number(code, entering, at)))
                _store(code, code.plus(_number(code, total, there), product), total, there)

            return emit_vector

        _row_loop(code, args[0], emit)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, arrays), codegen


@intrinsic
def _convert(_context: Any, size: Any, pitch: Any, recorded: Any, out: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code, given = code_of(builder, out.dtype), signature.args[2].dtype
        source, target = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in zip(signature.args[2:], args[2:], strict=True)
        )

        def emit(row: Any) -> Callable[[Any], None]:
            first, begin = code.product(row, args[0]), code.product(row, args[1])

            def emit_vector(column: Any) -> None:
                address = code.at(source, code.sum(first, column))
                kind = ir.VectorType(address.type.pointee, code.lanes)
                read = builder.load(builder.bitcast(address, kind.as_pointer()))
                read.align = given.bitwidth // 8
                if isinstance(given, types.Integer):
                    read = builder.uitofp(read, code.vector)
                elif given.bitwidth > 8 * code.dtype.itemsize:
                    read = builder.fptrunc(read, code.vector)
                elif given.bitwidth < 8 * code.dtype.itemsize:
                    read = builder.fpext(read, code.vector)
                code.store(read, target, code.sum(begin, column))

            return emit_vector

        _row_loop(code, args[0], emit)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, recorded, out), codegen


@numba.jit(**INNER)
def shifted_probe(window: Any, probe_re: Any, probe_im: Any, ramp: Any, amplitude: Any, out: Any) -> None:
    """Out = amplitude * probe * ramp / P, on transposed planes."""
    planes = (probe_re, probe_im, ramp[0, 0], ramp[0, 1], ramp[1, 0], ramp[1, 1], out[0], out[1])
    _fill_shifted(window.size, window.pitch, amplitude * probe_re.dtype.type(1 / window.size), planes)


@numba.jit(**INNER)
def add_unshifted(window: Any, wave: Any, ramp: Any, amplitude: Any, total_re: Any, total_im: Any) -> None:
    """Total += amplitude * conj(ramp) * wave / P: the adjoint of :func:`shifted_probe`."""
    planes = (wave[0], wave[1], ramp[0, 0], ramp[0, 1], ramp[1, 0], ramp[1, 1], total_re, total_im)
    _add_unshifted(window.size, window.pitch, amplitude * wave.dtype.type(1 / window.size), planes)


@numba.jit(**INNER)
def scatter(window: Any, entering: Any, wave: Any, total_re: Any, total_im: Any, start: int, width: int) -> None:
    """Total += conj(entering) * wave in the window that begins at flat index ``start``."""
    planes = (entering[0], entering[1], wave[0], wave[1], total_re, total_im)
    _scatter(window.size, window.pitch, start, width, planes)


@numba.jit(**INNER)
def convert(window: Any, recorded: Any, out: Any) -> None:
    """Out = recorded numbers (P * P), of any type, in a plane's rows and in its type."""
    _convert(window.size, window.pitch, recorded, out)
