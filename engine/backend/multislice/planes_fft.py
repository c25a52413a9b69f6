"""Two-dimensional FFT of separate planes of real and imaginary parts, compiled for one size and precision at a time.

A strip of columns, a line of the cache wide, goes through all passes along the rows while it lies in the nearest cache,
and is written transposed; the strips of what comes out go through the same passes and back to their places. So a plane
is read and written twice, whatever the number of passes. Rows are put in order as they leave the strip. The result is
transposed, and so is everything that is kept in Fourier space; the inverse transform brings the order back.
Unnormalised in both directions. What a wave is multiplied by in front of a transform is multiplied as the first pass
reads it. docs/performance.md has what was measured.
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
    DOUBLE,
    SINGLE,
    Code,
    Factor,
    Pass,
    Strip,
    emit_chosen_rows_transposed,
    emit_last_pass,
    emit_pass,
    emit_transpose,
    rows_in_order,
)
from ptylive.engine.backend.vectors import lanes

FAST = {"nopython": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}
"""fastmath assumes finite numbers: whoever calls must test the results for NaN outside compiled code. Without numba's
own counting of references (``_nrt``) nothing can be allocated: the count of an array went up and down wherever a loop
was handed one, and an atomic operation waits until everything written before is in the cache."""
FORWARD, INVERSE = -1, +1
WIDEST_LANES = 16
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
    """F (x w), of (…, wr, wi, pitch, conjugate, yr, yi): w has ``pitch`` numbers a row; conjugated where that is -1."""
    inverse_product: Any
    """F^H (x w)."""
    inverse_scaled: Any
    """F^H (x w) of a real w: (…, w, yr, yi)."""
    forward_scaled: Any
    """F (x w)."""
    filter_window: Any
    """F^H A F x of a window of a larger plane: (…, pitch, a, kept, tr, ti, ur, ui, yr, yi), natural on both sides."""
    add_filtered: Any
    """y += F^H A F (x conj(w)), y a window of a larger plane: (…, wr, wi, a, kept, tr, ti, ur, ui, yr, yi, pitch)."""


def compiled_transforms(size: int, real: str = "float32") -> Transforms:
    """The transforms of planes of size x size. Compiled on first use, or loaded from the persistent cache.

    real: float32 or float64.
    """
    number = getattr(types, real)
    of_size, plane = SizeType(size), types.CPointer(number)
    pair = (plane, plane)

    def kept(function: Callable[..., None], *more: Any) -> Any:
        signature = types.void(of_size, *pair, *more, *pair)
        return numba.cfunc(signature, cache=True, error_model="numpy")(function)

    by_wave = (*pair, types.int64, number)
    return Transforms(
        kept(_run_forward),
        kept(_run_inverse),
        kept(_run_forward_product, *by_wave),
        kept(_run_inverse_product, *by_wave),
        kept(_run_inverse_scaled, plane),
        kept(_run_forward_scaled, plane),
        kept(_run_filter_window, types.int64, plane, types.int64, *pair, *pair),
        numba.cfunc(
            types.void(of_size, *pair, *pair, plane, types.int64, *pair, *pair, *pair, types.int64),
            cache=True,
            error_model="numpy",
        )(_run_add_filtered),
    )


def _run_forward(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    _forward(size, xr, xi, yr, yi)


def _run_inverse(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    _inverse(size, xr, xi, yr, yi)


def _run_forward_product(
    size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, conjugate: Any, yr: Any, yi: Any
) -> None:
    _forward_product(size, xr, xi, wr, wi, pitch, conjugate, yr, yi)


def _run_inverse_product(
    size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, conjugate: Any, yr: Any, yi: Any
) -> None:
    _inverse_product(size, xr, xi, wr, wi, pitch, conjugate, yr, yi)


def _run_inverse_scaled(size: Any, xr: Any, xi: Any, w: Any, yr: Any, yi: Any) -> None:
    _inverse_scaled(size, xr, xi, w, yr, yi)


def _run_forward_scaled(size: Any, xr: Any, xi: Any, w: Any, yr: Any, yi: Any) -> None:
    _forward_scaled(size, xr, xi, w, yr, yi)


def _run_filter_window(
    size: Any, xr: Any, xi: Any, pitch: Any, a: Any, kept: Any, tr: Any, ti: Any, ur: Any, ui: Any, yr: Any, yi: Any
) -> None:
    _filter_window(size, xr, xi, pitch, a, kept, tr, ti, ur, ui, yr, yi)


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
def _forward_product(
    _context: Any, size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, conjugate: Any, yr: Any, yi: Any
) -> Any:
    return types.void(size, xr, xi, wr, wi, pitch, conjugate, yr, yi), _transform(size.size, FORWARD, xr.dtype)


@intrinsic
def _inverse_product(
    _context: Any, size: Any, xr: Any, xi: Any, wr: Any, wi: Any, pitch: Any, conjugate: Any, yr: Any, yi: Any
) -> Any:
    return types.void(size, xr, xi, wr, wi, pitch, conjugate, yr, yi), _transform(size.size, INVERSE, xr.dtype)


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
        emit = _Filter(size.size, xr.dtype, builder)
        emit.all(Strip(args[1], args[2], args[3]), None, args[4:6], args[6:10], Strip(args[10], args[11], emit.pitch))
        return context.get_dummy_value()

    return types.void(size, xr, xi, pitch, a, kept, tr, ti, ur, ui, yr, yi), codegen


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
        emit = _Filter(size.size, xr.dtype, builder)
        conjugate = ir.Constant(emit.code.real, -1.0)
        factor = Factor(args[3], args[4], emit.code.whole(emit.pitch), conjugate)
        x, y = Strip(args[1], args[2], emit.pitch), Strip(args[11], args[12], args[13])
        emit.all(x, factor, args[5:7], args[7:11], y, add=True)
        return context.get_dummy_value()

    return types.void(size, xr, xi, wr, wi, a, kept, tr, ti, ur, ui, yr, yi, pitch), codegen


def turn_of(size: int) -> int:
    """Places by which frequencies are turned in a filter, so that those of a band stand together from 0 on.

    A band of two thirds reaches from -size / 3; blocks of a transpose begin at multiples of 8.
    """
    return BLOCK * -(-size // (3 * BLOCK))


class _Filter:
    """Emits F^H A F: strips along the rows, the other axis there and back in one go, and the rows again.

    Of the other axis only those strips are looked at whose frequencies A lets through.
    """

    def __init__(self, size: int, number: Any, builder: Any) -> None:
        width, self.size, self.pitch = lanes(), size, pitch_of(size, number.bitwidth // 8)
        real = SINGLE if number == types.float32 else DOUBLE
        self.code = Code(builder, width * SINGLE_BITS // number.bitwidth, real)
        radices = radices_of(size, width == WIDEST_LANES)
        self.there, self.back = _passes(radices, FORWARD), _passes(radices, INVERSE)
        self.order = rows_in_order(radices)
        self.strip, self.other = _scratch(self.code, size), _scratch(self.code, size)

    def all(self, x: Strip, factor: Factor | None, band: Any, spare: Any, y: Strip, *, add: bool = False) -> None:
        """Everything. band: A, as the kernel's model has it, and how many of its columns are not 0."""
        code, columns = self.code, self.code.columns
        t, u = (spare[0], spare[1]), (spare[2], spare[3])
        strips = code.builder.udiv(code.sum(band[1], code.whole(columns - 1)), code.whole(columns))
        turn = turn_of(self.size)
        turned = [self.order[(place - turn) % self.size] for place in range(self.size)]
        with code.loop(self.size // columns) as loop:
            first = code.product(loop.index, columns)
            here = None if factor is None else _moved(code, factor, first)
            _emit_first_passes(code, self.there, _columns(code, (x.re, x.im), first, x.pitch), self.strip, here)
            emit_pass(code, self.there[-1], self.strip, self.strip)
            begin, blocks = code.product(first, self.pitch), code.product(strips, columns // code.lanes)
            for source, target in zip(self.strip[:2], t, strict=True):
                to = code.at(target, begin)
                emit_chosen_rows_transposed(code, turned, blocks, source, self.strip.pitch, to, self.pitch)
        with code.loop(strips) as loop:
            first = code.product(loop.index, columns)
            _emit_first_passes(code, self.there, _columns(code, t, first, self.pitch), self.strip)
            emit_last_pass(code, self.there[-1], self.order, self.strip, self.other)
            scale = Factor(code.at(band[0], first), None, code.whole(self.pitch), None)
            _emit_first_passes(code, self.back, self.other, self.other, scale)
            emit_pass(code, self.back[-1], self.other, self.other)
            begin = code.product(first, self.pitch)
            for source, target in zip(self.other[:2], u, strict=True):
                emit_transpose(code, self.order, source, self.other.pitch, code.at(target, begin), self.pitch)
        self._clear(u, code.product(strips, columns))
        with code.loop(self.size // columns) as loop:
            first = code.product(loop.index, columns)
            places = [(row + turn) % self.size for row in range(self.size)]
            emit_pass(code, self.back[0], _columns(code, u, first, self.pitch), self.strip, None, places)
            for one in self.back[1:-1]:
                emit_pass(code, one, self.strip, self.strip)
            out = _columns(code, (y.re, y.im), first, y.pitch)
            emit_last_pass(code, self.back[-1], self.order, self.strip, out, add=add)

    def _clear(self, planes: tuple[Any, Any], first: Any) -> None:
        """Rows from one on are 0."""
        code = self.code
        with code.loop(code.builder.sub(code.whole(self.size), first)) as loop:
            row = code.product(code.sum(first, loop.index), self.pitch)
            for plane in planes:
                for column in range(0, self.size, code.lanes):
                    code.store(code.constant(0.0), plane, code.sum(row, code.whole(column)))


def radices_of(size: int, wide: bool) -> tuple[int, ...]:
    """Of the passes of one transform along the rows of a plane of that many rows."""
    return (WIDE.get(size) if wide else None) or RADICES[size]


def _passes(radices: tuple[int, ...], sign: int) -> list[Pass]:
    done, passes = 1, []
    for radix in radices:
        passes.append(Pass(math.prod(radices), radix, done, sign))
        done *= radix
    return passes


def _transform(size: int, sign: int, number: Any) -> Any:
    """What emits the code of a transform, for arguments as :class:`Transforms` has them; number: type of planes'."""
    width, pitch = lanes(), pitch_of(size, number.bitwidth // 8)
    real = SINGLE if number == types.float32 else DOUBLE
    radices = radices_of(size, width == WIDEST_LANES)
    passes, order = _passes(radices, sign), rows_in_order(radices)

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        code = Code(builder, width * SINGLE_BITS // number.bitwidth, real)
        x, y = (args[1], args[2]), (args[-2], args[-1])
        factor, strip = _factor(code, args[3:-2], pitch), _scratch(code, size)
        with code.loop(size // code.columns) as loop:
            first = code.product(loop.index, code.columns)
            here = None if factor is None else _moved(code, factor, first)
            _emit_first_passes(code, passes, _columns(code, x, first, pitch), strip, here)
            emit_pass(code, passes[-1], strip, strip)
            begin = code.product(loop.index, code.columns * pitch)
            for source, target in zip(strip[:2], y, strict=True):
                emit_transpose(code, order, source, strip.pitch, code.at(target, begin), pitch)
        with code.loop(size // code.columns) as loop:
            out = _columns(code, y, code.product(loop.index, code.columns), pitch)
            _emit_first_passes(code, passes, out, strip)
            emit_last_pass(code, passes[-1], order, strip, out)
        return context.get_dummy_value()

    return codegen


def _factor(code: Code, args: Any, pitch: int) -> Factor | None:
    """Of the arguments between x and y: none, a real plane, or a wave with its pitch and sign."""
    if not args:
        return None
    return Factor(*args) if len(args) > 1 else Factor(args[0], None, code.whole(pitch), None)


def _moved(code: Code, factor: Factor, by: Any) -> Factor:
    """From another column on."""
    im = None if factor.im is None else code.at(factor.im, by)
    return factor._replace(re=code.at(factor.re, by), im=im)


def _columns(code: Code, planes: tuple[Any, Any], first: Any, pitch: Any) -> Strip:
    return Strip(code.at(planes[0], first), code.at(planes[1], first), pitch)


def _emit_first_passes(
    code: Code, passes: list[Pass], source: Strip, strip: Strip, factor: Factor | None = None
) -> None:
    """All passes but the last one; the first one reads the source."""
    emit_pass(code, passes[0], source, strip, factor)
    for one in passes[1:-1]:
        emit_pass(code, one, strip, strip)


def _scratch(code: Code, size: int) -> Strip:
    """Room for a strip on the stack: a row's real parts, then its imaginary ones."""
    kind = ir.ArrayType(code.real, 2 * code.columns * size)
    with code.builder.goto_entry_block():
        room = code.builder.alloca(kind)
        room.align = 64
    start = code.builder.bitcast(room, code.real.as_pointer())
    return Strip(start, code.at(start, code.whole(code.columns)), 2 * code.columns)
