"""Two-dimensional FFT compiled with numba, on separate float32 planes of real and imaginary parts.

Stockham passes of radix 8, 4 and 3 run along the rows, with the inner loop over contiguous elements; then the plane is
transposed and the same passes run again. The result is therefore transposed, and so is everything that is kept in
Fourier space; the inverse transform brings the order back. Unnormalised in both directions.

Why it is written this way (each point was measured, docs/refinement.md):
- sizes are compile-time constants: LLVM vectorises the passes only when it can prove that the streams do not overlap;
- flat planes: two-dimensional indices carry numba's test for negative values;
- the 16 x 16 transpose is emitted as vector loads, shuffles and stores: loops are ten times slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.extending import intrinsic, overload, register_model

from ptylive.engine.backend.multislice.fast_sizes import RADICES

FAST = {"nopython": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
"""fastmath assumes finite numbers: whoever calls must test the results for NaN outside compiled code."""
BLOCK = 16


class SizeType(types.Type):  # type: ignore[misc,unused-ignore]
    """Type of a size that is known when code is compiled."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(name=f"Size({size})")


register_model(SizeType)(models.OpaqueModel)


@numba.jit(**FAST)
def _times(ar: float, ai: float, br: float, bi: float) -> tuple[float, float]:
    """Complex product."""
    return ar * br - ai * bi, ar * bi + ai * br


Pass = Any
"""A compiled function of the planes (xr, xi, yr, yi)."""


def _compiled(function: Callable[..., Any], name: str, *key: int) -> Pass:
    """The function under a name that says all it depends on.

    numba tells functions of one name and type apart by a number counted anew in every process. Two compiled versions
    from the cache, made in two processes, may then hold different functions under one symbol, and the second to be
    loaded calls those of the first: wrong numbers, seen with numba 0.68.
    """
    return numba.jit(**FAST)(_named(function, name, *key))


def _named(function: Callable[..., Any], name: str, *key: int) -> Callable[..., Any]:
    function.__qualname__ = "_".join([name, *(str(value).replace("-", "minus_") for value in key)])
    return function


def _radix_3(count: int, stride: int, sign: int) -> Pass:
    """One pass of radix 3 over ``count`` butterflies of ``stride`` contiguous elements."""
    wr, wi = _twiddles(3, count, sign)
    step = count * stride
    half, sine = np.float32(0.5), np.float32(sign * math.sqrt(3) / 2)

    def run(xr: Any, xi: Any, yr: Any, yi: Any) -> None:
        for p in range(count):
            a1r, a1i, a2r, a2i = wr[1, p], wi[1, p], wr[2, p], wi[2, p]
            source, target = p * stride, 3 * p * stride
            for t in range(stride):
                ar, ai = xr[source + t], xi[source + t]
                br, bi = xr[source + step + t], xi[source + step + t]
                cr, ci = xr[source + 2 * step + t], xi[source + 2 * step + t]
                sr, si = br + cr, bi + ci
                yr[target + t], yi[target + t] = ar + sr, ai + si
                vr, vi = ar - half * sr, ai - half * si
                er, ei = -sine * (bi - ci), sine * (br - cr)
                ur, ui = _times(vr + er, vi + ei, a1r, a1i)
                yr[target + stride + t], yi[target + stride + t] = ur, ui
                ur, ui = _times(vr - er, vi - ei, a2r, a2i)
                yr[target + 2 * stride + t], yi[target + 2 * stride + t] = ur, ui

    return _compiled(run, "radix_3", count, stride, sign)


def _radix_4(count: int, stride: int, sign: int) -> Pass:
    """One pass of radix 4 over ``count`` butterflies of ``stride`` contiguous elements."""
    wr, wi = _twiddles(4, count, sign)
    step = count * stride
    s = np.float32(sign)

    def run(xr: Any, xi: Any, yr: Any, yi: Any) -> None:
        for p in range(count):
            a1r, a1i, a2r, a2i, a3r, a3i = wr[1, p], wi[1, p], wr[2, p], wi[2, p], wr[3, p], wi[3, p]
            source, target = p * stride, 4 * p * stride
            for t in range(stride):
                ar, ai = xr[source + t], xi[source + t]
                br, bi = xr[source + step + t], xi[source + step + t]
                cr, ci = xr[source + 2 * step + t], xi[source + 2 * step + t]
                dr, di = xr[source + 3 * step + t], xi[source + 3 * step + t]
                s0r, s0i, s1r, s1i = ar + cr, ai + ci, ar - cr, ai - ci
                s2r, s2i = br + dr, bi + di
                s3r, s3i = s * (di - bi), s * (br - dr)  # sign * i * (b - d)
                yr[target + t], yi[target + t] = s0r + s2r, s0i + s2i
                ur, ui = _times(s1r + s3r, s1i + s3i, a1r, a1i)
                yr[target + stride + t], yi[target + stride + t] = ur, ui
                ur, ui = _times(s0r - s2r, s0i - s2i, a2r, a2i)
                yr[target + 2 * stride + t], yi[target + 2 * stride + t] = ur, ui
                ur, ui = _times(s1r - s3r, s1i - s3i, a3r, a3i)
                yr[target + 3 * stride + t], yi[target + 3 * stride + t] = ur, ui

    return _compiled(run, "radix_4", count, stride, sign)


def _radix_8(count: int, stride: int, sign: int) -> Pass:
    """One pass of radix 8: radix 4 on the even and on the odd inputs, then one radix-2 step."""
    wr, wi = _twiddles(8, count, sign)
    step = count * stride
    s, c = np.float32(sign), np.float32(math.sqrt(0.5))

    def _four(ar: Any, ai: Any, br: Any, bi: Any, cr: Any, ci: Any, dr: Any, di: Any) -> Any:
        """Radix-4 butterfly without twiddles."""
        s0r, s0i, s1r, s1i = ar + cr, ai + ci, ar - cr, ai - ci
        s2r, s2i, s3r, s3i = br + dr, bi + di, s * (di - bi), s * (br - dr)
        return s0r + s2r, s0i + s2i, s1r + s3r, s1i + s3i, s0r - s2r, s0i - s2i, s1r - s3r, s1i - s3i

    four = _compiled(_four, "four", sign)

    def run(xr: Any, xi: Any, yr: Any, yi: Any) -> None:
        for p in range(count):
            w1r, w1i, w2r, w2i, w3r, w3i = wr[1, p], wi[1, p], wr[2, p], wi[2, p], wr[3, p], wi[3, p]
            w4r, w4i, w5r, w5i, w6r, w6i = wr[4, p], wi[4, p], wr[5, p], wi[5, p], wr[6, p], wi[6, p]
            w7r, w7i = wr[7, p], wi[7, p]
            a, o = p * stride, 8 * p * stride
            for t in range(stride):
                e0r, e0i, e1r, e1i, e2r, e2i, e3r, e3i = four(
                    xr[a + t],
                    xi[a + t],
                    xr[a + 2 * step + t],
                    xi[a + 2 * step + t],
                    xr[a + 4 * step + t],
                    xi[a + 4 * step + t],
                    xr[a + 6 * step + t],
                    xi[a + 6 * step + t],
                )
                o0r, o0i, ur, ui, vr, vi, zr, zi = four(
                    xr[a + step + t],
                    xi[a + step + t],
                    xr[a + 3 * step + t],
                    xi[a + 3 * step + t],
                    xr[a + 5 * step + t],
                    xi[a + 5 * step + t],
                    xr[a + 7 * step + t],
                    xi[a + 7 * step + t],
                )
                # the eighth roots of unity: (1 + sign i) sqrt(1/2), sign i, (-1 + sign i) sqrt(1/2)
                o1r, o1i = c * (ur - s * ui), c * (ui + s * ur)
                o2r, o2i = -s * vi, s * vr
                o3r, o3i = c * (-zr - s * zi), c * (-zi + s * zr)
                yr[o + t], yi[o + t] = e0r + o0r, e0i + o0i
                ur, ui = _times(e1r + o1r, e1i + o1i, w1r, w1i)
                yr[o + stride + t], yi[o + stride + t] = ur, ui
                ur, ui = _times(e2r + o2r, e2i + o2i, w2r, w2i)
                yr[o + 2 * stride + t], yi[o + 2 * stride + t] = ur, ui
                ur, ui = _times(e3r + o3r, e3i + o3i, w3r, w3i)
                yr[o + 3 * stride + t], yi[o + 3 * stride + t] = ur, ui
                ur, ui = _times(e0r - o0r, e0i - o0i, w4r, w4i)
                yr[o + 4 * stride + t], yi[o + 4 * stride + t] = ur, ui
                ur, ui = _times(e1r - o1r, e1i - o1i, w5r, w5i)
                yr[o + 5 * stride + t], yi[o + 5 * stride + t] = ur, ui
                ur, ui = _times(e2r - o2r, e2i - o2i, w6r, w6i)
                yr[o + 6 * stride + t], yi[o + 6 * stride + t] = ur, ui
                ur, ui = _times(e3r - o3r, e3i - o3i, w7r, w7i)
                yr[o + 7 * stride + t], yi[o + 7 * stride + t] = ur, ui

    return _compiled(run, "radix_8", count, stride, sign)


def _twiddles(radix: int, count: int, sign: int) -> tuple[Any, Any]:
    """exp(sign 2 pi i k p / (radix count)) as float32 planes (radix, count)."""
    angle = sign * 2 * np.pi * np.outer(np.arange(radix), np.arange(count)) / (radix * count)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def _passes(size: int, sign: int) -> list[Pass]:
    """The passes of one transform along the rows of a size x size plane."""
    make = {3: _radix_3, 4: _radix_4, 8: _radix_8}
    passes, done, left = [], 1, size
    for radix in RADICES[size]:
        passes.append(make[radix](left // radix, done * size, sign))
        done, left = done * radix, left // radix
    return passes


@intrinsic
def _transpose_block(
    _context: Any, source: Any, source_offset: Any, target: Any, target_offset: Any, pitch: Any
) -> Any:
    """target[target_offset + c pitch + r] = source[source_offset + r pitch + c] for 16 x 16 float32 values."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), BLOCK)
        from_data, to_data = args[0], args[2]

        def address(data: Any, start: Any, row: int) -> Any:
            offset = builder.add(start, builder.mul(args[4], ir.Constant(args[4].type, row)))
            return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())

        rows = []
        for i in range(BLOCK):
            row = builder.load(address(from_data, args[1], i))
            row.align = 4
            rows.append(row)
        distance = 1
        while distance < BLOCK:  # swap the off-diagonal sub-blocks of 1, 2, 4 and 8 elements
            low = [k if not k & distance else BLOCK + k - distance for k in range(BLOCK)]
            high = [k + distance if not k & distance else BLOCK + k for k in range(BLOCK)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), lanes) for lanes in (low, high)]
            for i in (i for i in range(BLOCK) if not i & distance):
                first, second = rows[i], rows[i + distance]
                rows[i] = builder.shuffle_vector(first, second, masks[0])
                rows[i + distance] = builder.shuffle_vector(first, second, masks[1])
            distance *= 2
        for i in range(BLOCK):
            builder.store(rows[i], address(to_data, args[3], i)).align = 4
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp, types.intp), codegen


@numba.jit(**FAST)
def _transpose(source: Any, target: Any, size: int) -> None:
    for i in range(0, size, BLOCK):
        for j in range(0, size, BLOCK):
            _transpose_block(source, i * size + j, target, j * size + i, size)


PLANE = types.CPointer(types.float32)


def compiled_transforms(size: int) -> tuple[Any, Any]:
    """C functions (forward, inverse), each of (nothing, xr, xi, yr, yi): transposed F x or F^H x into y; x is used up.

    Compiled on first use, or loaded from the persistent cache.
    """
    kept = numba.cfunc(types.void(SizeType(size), *[PLANE] * 4), cache=True, fastmath=True, error_model="numpy")
    return kept(_run_forward), kept(_run_inverse)


def _run_forward(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    _forward(size, xr, xi, yr, yi)


def _run_inverse(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    _inverse(size, xr, xi, yr, yi)


def _forward(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    raise NotImplementedError


def _inverse(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> None:
    raise NotImplementedError


@overload(_forward)
def _forward_of(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
    return _transform(size.size, -1)


@overload(_inverse)
def _inverse_of(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
    return _transform(size.size, +1)


def _transform(size: int, sign: int) -> Pass:
    """Passes, transpose, passes: an odd number of moves between x and y, so that the result lies in y."""
    passes = _passes(size, sign)
    makers: dict[int, Callable[..., Pass]] = {2: _two_passes, 3: _three_passes, 4: _four_passes}
    return _named(makers[len(passes)](size, *passes), "transform", size, sign)


def _two_passes(pixels: int, first: Pass, second: Pass) -> Pass:
    def transform(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
        first(xr, xi, yr, yi)
        second(yr, yi, xr, xi)
        _transpose(xr, yr, pixels)
        _transpose(xi, yi, pixels)
        first(yr, yi, xr, xi)
        second(xr, xi, yr, yi)

    return transform


def _three_passes(pixels: int, first: Pass, second: Pass, third: Pass) -> Pass:
    def transform(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
        first(xr, xi, yr, yi)
        second(yr, yi, xr, xi)
        third(xr, xi, yr, yi)
        _transpose(yr, xr, pixels)
        _transpose(yi, xi, pixels)
        first(xr, xi, yr, yi)
        second(yr, yi, xr, xi)
        third(xr, xi, yr, yi)

    return transform


def _four_passes(pixels: int, first: Pass, second: Pass, third: Pass, fourth: Pass) -> Pass:
    def transform(size: Any, xr: Any, xi: Any, yr: Any, yi: Any) -> Any:
        first(xr, xi, yr, yi)
        second(yr, yi, xr, xi)
        third(xr, xi, yr, yi)
        fourth(yr, yi, xr, xi)
        _transpose(xr, yr, pixels)
        _transpose(xi, yi, pixels)
        first(yr, yi, xr, xi)
        second(xr, xi, yr, yi)
        third(yr, yi, xr, xi)
        fourth(xr, xi, yr, yi)

    return transform
