"""Two-dimensional FFT of separate planes of real and imaginary parts, compiled for one size and precision at a time.

A strip of columns, one cache line wide, goes through all passes along the rows while it is in the first-level cache,
and is written transposed; the strips of the result go through the same passes and back to their places. A plane is thus
read and written twice, whatever the number of passes. Rows are put in order as they leave the strip. The result is
transposed, and so is everything that is kept in Fourier space; the inverse transform restores the order.
Unnormalised in both directions. A factor on a wave in front of a transform is applied as the first pass
reads the wave. docs/history/kernel.md has the measurements.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from ptylive.engine.backend.multislice.fast_sizes import RADICES, WIDE, pitch_of
from ptylive.engine.backend.plane_passes import (
    Factor,
    Pass,
    Strip,
    emit_last_pass,
    emit_pass,
    emit_transpose,
    rows_in_order,
)
from ptylive.engine.backend.plane_strips import Filter, columns_of, emit_first_passes, moved, scratch
from ptylive.engine.backend.vector_code import DOUBLE, SINGLE, Code
from ptylive.engine.backend.vectors import WIDEST, exchanged_bytes, lanes

FAST = {"nopython": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}
"""fastmath assumes finite numbers: callers must test the results for NaN outside compiled code. Without numba's
reference counting (``_nrt``) nothing can be allocated; with it, an array's count changed wherever a loop was handed
the array, and this atomic operation waits until all earlier writes are in the cache."""
INNER = {**FAST, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For functions called only from compiled code: without numba's wrappers for calls from Python, which unpack every
array of every tuple and take a seventh of the compile time. Calling such a function from Python ends the process."""
FORWARD, INVERSE = -1, +1
SINGLE_BITS, BLOCK = 32, 8


class SizeType(types.Type):  # type: ignore[misc,unused-ignore]
    """Type of a size that is known when code is compiled."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(name=f"Size({size})")


register_model(SizeType)(models.OpaqueModel)


class Transforms(NamedTuple):
    """C functions of (nothing, xr, xi, …, yr, yi): transposed F … or F^H … into y; x is kept."""

    forward: Any
    """F x."""
    inverse: Any
    """F^H x."""
    forward_product: Any
    """F (x w), of (…, wr, wi, pitch, yr, yi): w has ``pitch`` elements per row."""
    inverse_product: Any
    """F^H (x w)."""
    inverse_scaled: Any
    """F^H (x w) for a real w: (…, w, yr, yi)."""
    forward_scaled: Any
    """F (x w) for a real w."""


class Filters(NamedTuple):
    """C functions that keep a band A, with columns rotated by :func:`turn_of`; natural order on both sides."""

    filter_window: Any
    """F^H A F x for a window of a larger plane: (…, pitch, a, kept, tr, ti, ur, ui, yr, yi)."""
    propagate: Any
    """y = F^H A F (x w): (…, wr, wi, pitch, conjugate, ar, ai, conjugate, kept, tr, ti, ur, ui, yr, yi)."""
    add_filtered: Any
    """y += F^H A F (x conj(w)), y a window of a larger plane: (…, wr, wi, a, kept, tr, ti, ur, ui, yr, yi, pitch)."""


def compiled_transforms(size: int, real: str = "float32") -> Transforms:
    """The transforms of planes of size x size. Compiled on first use, or loaded from the persistent cache.

    real: float32 or float64.
    """
    number = getattr(types, real)
    of_size, plane = SizeType(size), types.CPointer(number)
    pair = (plane, plane)

    def compiled(function: Callable[..., None], *types_between: Any) -> Any:
        signature = types.void(of_size, *pair, *types_between, *pair)
        return numba.cfunc(signature, cache=True, error_model="numpy")(function)

    by_wave = (*pair, types.int64)
    return Transforms(
        compiled(_run_forward),
        compiled(_run_inverse),
        compiled(_run_forward_product, *by_wave),
        compiled(_run_inverse_product, *by_wave),
        compiled(_run_inverse_scaled, plane),
        compiled(_run_forward_scaled, plane),
    )


def compiled_filters(size: int, real: str = "float32") -> Filters:
    """The filters of planes of size x size; as :func:`compiled_transforms`."""
    number = getattr(types, real)
    of_size, plane = SizeType(size), types.CPointer(number)
    pair = (plane, plane)

    def compiled(function: Callable[..., None], *further_types: Any) -> Any:
        return numba.cfunc(types.void(of_size, *pair, *further_types), cache=True, error_model="numpy")(function)

    spare = (*pair, *pair)
    return Filters(
        compiled(_run_filter_window, types.int64, plane, types.int64, *spare, *pair),
        compiled(_run_propagate, *pair, types.int64, number, *pair, number, types.int64, *spare, *pair),
        compiled(_run_add_filtered, *pair, plane, types.int64, *spare, *pair, types.int64),
    )


def _run_forward(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    _forward(size, xr, xi, yr, yi)


def _run_inverse(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    _inverse(size, xr, xi, yr, yi)


def _run_forward_product(size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, yr: Any, yi: Any) -> None:
    _forward_product(size, xr, xi, wr, wi, pitch, yr, yi)


def _run_inverse_product(size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, yr: Any, yi: Any) -> None:
    _inverse_product(size, xr, xi, wr, wi, pitch, yr, yi)


def _run_inverse_scaled(size: Any, xr: Any, xi: Any, w: Any, yr: Any, yi: Any) -> None:
    _inverse_scaled(size, xr, xi, w, yr, yi)


def _run_forward_scaled(size: Any, xr: Any, xi: Any, w: Any, yr: Any, yi: Any) -> None:
    _forward_scaled(size, xr, xi, w, yr, yi)


def _run_filter_window(
    size: Any, xr: Any, xi: Any, pitch: Any, a: Any, kept: Any, tr: Any, ti: Any, ur: Any, ui: Any, yr: Any, yi: Any
) -> None:
    _filter_window(size, xr, xi, pitch, a, kept, tr, ti, ur, ui, yr, yi)


def _run_propagate(
    size: Any,
    xr: Any,
    xi: Any,
    wr: Any,
    wi: Any,
    pitch: Any,
    conjugate: Any,
    ar: Any,
    ai: Any,
    back: Any,
    kept: Any,
    tr: Any,
    ti: Any,
    ur: Any,
    ui: Any,
    yr: Any,
    yi: Any,
) -> None:
    _propagate(size, xr, xi, wr, wi, pitch, conjugate, ar, ai, back, kept, tr, ti, ur, ui, yr, yi)


def _run_add_filtered(
    size: Any,
    xr: Any,
    xi: Any,
    wr: Any,
    wi: Any,
    a: Any,
    kept: Any,
    tr: Any,
    ti: Any,
    ur: Any,
    ui: Any,
    yr: Any,
    yi: Any,
    pitch: Any,
) -> None:
    _add_filtered(size, xr, xi, wr, wi, a, kept, tr, ti, ur, ui, yr, yi, pitch)


@intrinsic
def _forward(_context: Any, size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
    return types.void(size, xr, xi, yr, yi), _transform(size.size, FORWARD, xr.dtype)


@intrinsic
def _inverse(_context: Any, size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
    return types.void(size, xr, xi, yr, yi), _transform(size.size, INVERSE, xr.dtype)


@intrinsic
def _forward_product(_context: Any, size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, yr: Any, yi: Any) -> Any:
    return types.void(size, xr, xi, wr, wi, pitch, yr, yi), _transform(size.size, FORWARD, xr.dtype)


@intrinsic
def _inverse_product(_context: Any, size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, yr: Any, yi: Any) -> Any:
    return types.void(size, xr, xi, wr, wi, pitch, yr, yi), _transform(size.size, INVERSE, xr.dtype)


@intrinsic
def _inverse_scaled(_context: Any, size: Any, xr: Any, xi: Any, w: Any, yr: Any, yi: Any) -> Any:
    return types.void(size, xr, xi, w, yr, yi), _transform(size.size, INVERSE, xr.dtype)


@intrinsic
def _forward_scaled(_context: Any, size: Any, xr: Any, xi: Any, w: Any, yr: Any, yi: Any) -> Any:
    return types.void(size, xr, xi, w, yr, yi), _transform(size.size, FORWARD, xr.dtype)


@intrinsic
def _filter_window(
    _context: Any,
    size: Any,
    xr: Any,
    xi: Any,
    pitch: Any,
    a: Any,
    kept: Any,
    tr: Any,
    ti: Any,
    ur: Any,
    ui: Any,
    yr: Any,
    yi: Any,
) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        emit = _filter(size.size, xr.dtype, builder)
        emit.all(
            Strip(args[1], args[2], args[3]),
            None,
            (emit.real(args[4]), args[5]),
            args[6:10],
            Strip(args[10], args[11], emit.pitch),
        )
        return context.get_dummy_value()

    return types.void(size, xr, xi, pitch, a, kept, tr, ti, ur, ui, yr, yi), codegen


@intrinsic
def _propagate(
    _context: Any,
    size: Any,
    xr: Any,
    xi: Any,
    wr: Any,
    wi: Any,
    pitch: Any,
    conjugate: Any,
    ar: Any,
    ai: Any,
    back: Any,
    kept: Any,
    tr: Any,
    ti: Any,
    ur: Any,
    ui: Any,
    yr: Any,
    yi: Any,
) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        emit = _filter(size.size, xr.dtype, builder)
        x, y = Strip(args[1], args[2], emit.pitch), Strip(args[15], args[16], emit.pitch)
        band = Factor(args[7], args[8], emit.code.whole(emit.pitch), args[9])
        emit.all(x, Factor(*args[3:7]), (band, args[10]), args[11:15], y)
        return context.get_dummy_value()

    return types.void(size, xr, xi, wr, wi, pitch, conjugate, ar, ai, back, kept, tr, ti, ur, ui, yr, yi), codegen


@intrinsic
def _add_filtered(
    _context: Any,
    size: Any,
    xr: Any,
    xi: Any,
    wr: Any,
    wi: Any,
    a: Any,
    kept: Any,
    tr: Any,
    ti: Any,
    ur: Any,
    ui: Any,
    yr: Any,
    yi: Any,
    pitch: Any,
) -> Any:
    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        emit = _filter(size.size, xr.dtype, builder)
        conjugate = ir.Constant(emit.code.real, -1.0)
        factor = Factor(args[3], args[4], emit.code.whole(emit.pitch), conjugate)
        x, y = Strip(args[1], args[2], emit.pitch), Strip(args[11], args[12], args[13])
        emit.all(x, factor, (emit.real(args[5]), args[6]), args[7:11], y, add=True)
        return context.get_dummy_value()

    return types.void(size, xr, xi, wr, wi, a, kept, tr, ti, ur, ui, yr, yi, pitch), codegen


def turn_of(size: int) -> int:
    """Places by which frequencies are rotated in a filter, so that those of a band are contiguous from 0 on.

    A band of two thirds begins at -size / 3; blocks of a transpose begin at multiples of 8.
    """
    return BLOCK * -(-size // (3 * BLOCK))


def _filter(size: int, number: Any, builder: Any) -> Filter:
    """Code emitter for a filter."""
    forward_passes, inverse_passes = (_passes(radices_of(size, lanes() == WIDEST), sign) for sign in (FORWARD, INVERSE))
    return Filter(
        code_of(builder, number), forward_passes, inverse_passes, pitch_of(size, number.bitwidth // 8), turn_of(size)
    )


def code_of(builder: Any, number: Any) -> Code:
    """Code emitter for a number type, in the widest vectors."""
    real = SINGLE if number == types.float32 else DOUBLE
    return Code(builder, lanes() * SINGLE_BITS // number.bitwidth, real, exchanged_bytes())


def radices_of(size: int, wide: bool) -> tuple[int, ...]:
    """Radices of the passes of one transform along the rows of a plane with ``size`` rows."""
    return (WIDE if wide else RADICES)[size]


def _passes(radices: tuple[int, ...], sign: int) -> list[Pass]:
    done, passes = 1, []
    for radix in radices:
        passes.append(Pass(math.prod(radices), radix, done, sign))
        done *= radix
    return passes


def _transform(size: int, sign: int, number: Any) -> Any:
    """Code emitter for a transform, for arguments as in :class:`Transforms`; number: type of the planes' elements."""
    pitch, radices = pitch_of(size, number.bitwidth // 8), radices_of(size, lanes() == WIDEST)
    passes, order = _passes(radices, sign), rows_in_order(radices)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        code = code_of(builder, number)
        x, y = (args[1], args[2]), (args[-2], args[-1])
        factor, strip = _factor(code, args[3:-2], pitch), scratch(code, size)
        with code.loop(size // code.columns) as loop:
            first = code.product(loop.index, code.columns)
            shifted_factor = None if factor is None else moved(code, factor, first)
            emit_first_passes(code, passes, columns_of(code, x, first, pitch), strip, shifted_factor)
            emit_pass(code, passes[-1], strip, strip)
            begin = code.product(loop.index, code.columns * pitch)
            for source, target in zip(strip[:2], y, strict=True):
                emit_transpose(code, order, source, strip.pitch, code.at(target, begin), pitch)
        with code.loop(size // code.columns) as loop:
            out = columns_of(code, y, code.product(loop.index, code.columns), pitch)
            emit_first_passes(code, passes, out, strip)
            emit_last_pass(code, passes[-1], order, strip, out)
        return context.get_dummy_value()

    return codegen


def _factor(code: Code, args: Any, pitch: int) -> Factor | None:
    """The factor given by the arguments between x and y: none, a real plane, or a wave with its pitch."""
    if not args:
        return None
    return Factor(*args) if len(args) > 1 else Factor(args[0], None, code.whole(pitch))
