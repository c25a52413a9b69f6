"""Passes of the transform as vector instructions: butterflies, twiddles and transposes, emitted as LLVM code.

A pass is one step of a transform along the rows of a strip of columns, decimated in frequency (Gentleman and
Sande 1966): it may change the strip in place, and leaves the reordering of rows to the last reader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count as numbers
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from ptylive.engine.backend.vector_code import FLAGS, WORD, Code, Number


class Strip(NamedTuple):
    """Location of a strip's rows in memory: pointers, and the distance in numbers between rows."""

    re: Any
    im: Any
    pitch: Any
    """A constant, or a number known at run time."""


class Factor(NamedTuple):
    """Factor applied to rows of a strip as they are read: pointers; real if ``im`` is None."""

    re: Any
    im: Any
    pitch: Any
    """Distance in numbers between rows, known at run time."""
    conjugate: Any = None
    """-1 for the conjugate, otherwise 1: a number known at run time; None for 1."""


def butterfly(code: Code, x: Sequence[Number], sign: int) -> list[Number]:
    """Return the unnormalised transform of two or more numbers, exp(sign 2 pi i j k / n)."""
    n = len(x)
    if n == 2:
        return [code.plus(*x), code.minus(*x)]
    if n == 3:
        return _three(code, x, sign)
    first, second = next((a, n // a) for a in (4, 2, 3) if n % a == 0)
    if n == 4:
        first, second = 2, 2
    if math.gcd(first, second) == 1:
        return _without_rotations(code, x, (first, second), sign)
    inner = [butterfly(code, x[j::second], sign) for j in range(second)]
    out: list[Any] = [None] * n
    for k in range(first):
        turned = [code.rotated(inner[j][k], sign * j * k, n) for j in range(second)]
        out[k::first] = butterfly(code, turned, sign)
    return out


def _without_rotations(code: Code, x: Sequence[Number], radices: tuple[int, int], sign: int) -> list[Number]:
    """As :func:`butterfly`, for coprime radices: the prime-factor algorithm (Good 1958), by the Chinese remainder."""
    n, (first, second) = len(x), radices
    inner = [butterfly(code, [x[(first * j + second * a) % n] for a in range(first)], sign) for j in range(second)]
    out: list[Any] = [None] * n
    for k in range(first):
        for m, value in enumerate(butterfly(code, [each[k] for each in inner], sign)):
            out[(second * pow(second, -1, first) * k + first * pow(first, -1, second) * m) % n] = value
    return out


def _three(code: Code, x: Sequence[Number], sign: int) -> list[Number]:
    a, b, c = x
    total, difference = code.plus(b, c), code.rotated(code.minus(b, c), 1, 4)
    middle = code.minus(a, total._replace(pending=total.pending * 0.5))
    aside = difference._replace(pending=difference.pending * sign * math.sqrt(3) / 2)
    return [code.plus(a, total), code.plus(middle, aside), code.minus(middle, aside)]


class Pass(NamedTuple):
    """One pass of a transform of ``size`` rows: butterflies of ``radix``, after passes whose product is ``done``.

    It works on ``done`` independent blocks of rows: butterfly p of a block uses its rows p, p + groups, ….
    """

    size: int
    radix: int
    done: int
    sign: int

    @property
    def groups(self) -> int:
        """Number of butterflies of a block, each with its own twiddles."""
        return self.size // (self.radix * self.done)

    def twiddles(self) -> Any:
        """Return (groups, radix, 2): exp(sign 2 pi i k p / (radix groups))."""
        turns = np.outer(np.arange(self.groups), np.arange(self.radix)) / (self.radix * self.groups)
        angle = self.sign * 2 * np.pi * turns
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def rows_in_order(radices: Sequence[int]) -> list[int]:
    """Return where each row of the transform lies after in-place passes: the digits of its number are reversed."""
    size, rows = math.prod(radices), [0]
    for radix in radices:
        size //= radix
        rows = [row + digit * size for digit in range(radix) for row in rows]
    return rows


_table_numbers = numbers()


def emit_pass(
    code: Code,
    fft_pass: Pass,
    source: Strip,
    target: Strip,
    factor: Factor | None = None,
    places: Sequence[int] | None = None,
) -> None:
    """Transform rows of the source, times a factor, into the same rows of the target, which may be the source.

    places: location of each row in the source of a first pass, if rows are not consecutive.
    """
    radix, count = fft_pass.radix, fft_pass.groups
    row_places = (
        None
        if places is None
        else _row_table(code, [places[p + k * count] for p in range(count) for k in range(radix)])
    )
    table = _twiddle_table(code, fft_pass.twiddles()) if count > 1 else None
    with code.loop(count) as outer:
        factors = [_twiddle(code, table, outer.index, k, radix) for k in range(1, radix)] if table is not None else []
        with code.loop(fft_pass.done) as inner:
            row = code.sum(code.product(inner.index, radix * count), outer.index)
            for column in range(0, code.columns, code.lanes):
                if row_places is None:
                    legs = [_read(code, source, factor, row, k * count, column) for k in range(radix)]
                else:
                    first = code.product(outer.index, radix)
                    at = [code.builder.load(code.at(row_places, code.sum(first, code.whole(k)))) for k in range(radix)]
                    legs = [_read(code, source, factor, place, 0, column) for place in at]
                for k, value in enumerate(butterfly(code, legs, fft_pass.sign)):
                    result = code.times(value, factors[k - 1]) if factors and k else value
                    _write(code, result, target, row, k * count, column)


def emit_last_pass(
    code: Code, fft_pass: Pass, order: Sequence[int], source: Strip, target: Strip, *, add: bool = False
) -> None:
    """Transform rows of the source into ordered rows (:func:`rows_in_order`) of another strip, or add them to it."""
    begins = _row_table(code, order[: fft_pass.done])
    with code.loop(fft_pass.done) as loop:
        row = code.builder.load(code.at(begins, loop.index))
        for column in range(0, code.columns, code.lanes):
            legs = [_read(code, source, None, row, k, column) for k in range(fft_pass.radix)]
            for k, value in enumerate(butterfly(code, legs, fft_pass.sign)):
                present = _read(code, target, None, loop.index, k * fft_pass.done, column) if add else None
                result = value if present is None else code.plus(present, value)
                _write(code, result, target, loop.index, k * fft_pass.done, column)


def _place(code: Code, strip: Strip, row: Any, further: int, column: int) -> Any:
    """Return the index of a column in the row ``further`` rows after another one."""
    begin = code.product(row, strip.pitch)
    if isinstance(strip.pitch, int):
        return code.sum(begin, code.whole(further * strip.pitch + column))
    return code.sum(code.sum(begin, code.product(strip.pitch, further)), code.whole(column))


def _write(code: Code, value: Number, target: Strip, row: Any, further: int, column: int) -> None:
    """Write a value to the row ``further`` rows after another one."""
    at = _place(code, target, row, further, column)
    code.store(value.re, target.re, at)
    code.store(value.im, target.im, at)


def _read(code: Code, source: Strip, factor: Factor | None, row: Any, further: int, column: int) -> Number:
    """Read a value ``further`` rows after a row, times its factor."""
    at = _place(code, source, row, further, column)
    value = Number(code.load(source.re, at), code.load(source.im, at))
    if factor is None:
        return value
    position, legs = (
        code.sum(code.builder.mul(row, factor.pitch), code.whole(column)),
        code.product(factor.pitch, further),
    )
    re = code.load(code.at(factor.re, position), legs)
    if factor.im is None:
        return code.scaled(value, re)
    im = code.load(code.at(factor.im, position), legs)
    if factor.conjugate is not None:
        im = code.builder.fmul(im, code.everywhere(factor.conjugate), flags=FLAGS)
    return code.times(value, Number(re, im))


def _twiddle_table(code: Code, values: Any) -> Any:
    """Return a pointer to constants of the compiled module."""
    return _constants(code, code.real, [float(value) for value in values.astype(code.dtype).ravel()])


def _row_table(code: Code, rows: Sequence[int]) -> Any:
    return _constants(code, WORD, list(rows))


def _constants(code: Code, kind: Any, values: Sequence[float]) -> Any:
    row = ir.ArrayType(kind, len(values))
    table = cgutils.add_global_variable(code.builder.module, row, f".constants.{next(_table_numbers)}")
    table.linkage, table.global_constant = "internal", True
    table.initializer = ir.Constant(row, values)
    return code.builder.bitcast(table, kind.as_pointer())


def _twiddle(code: Code, table: Any, p: Any, k: int, radix: int) -> Number:
    at = code.sum(code.product(p, 2 * radix), code.whole(2 * k))
    re, im = (code.builder.load(code.at(table, code.sum(at, code.whole(part)))) for part in range(2))
    return Number(code.everywhere(re), code.everywhere(im))


def emit_transpose(code: Code, order: Sequence[int], source: Any, pitch: int, target: Any, target_pitch: int) -> None:
    """target[c target_pitch + r] = source[order[r] pitch + c] for rows of a strip's columns."""
    n = code.lanes
    begins, row_offsets = _row_table(code, order[::n]), [row - order[0] for row in order[:n]]
    if any(order[first + r] - order[first] != row_offsets[r] for first in range(0, len(order), n) for r in range(n)):
        raise ValueError(f"rows of a block are ordered differently from those of the first: {order}")
    with code.loop(len(order) // n) as loop:
        start = code.product(code.builder.load(code.at(begins, loop.index)), pitch)
        rows = [code.sum(start, code.whole(row * pitch)) for row in row_offsets]
        _transpose(code, source, rows, target, code.product(loop.index, n), target_pitch)


def emit_chosen_rows_transposed(
    code: Code, rows: Sequence[int], blocks: Any, source: Any, pitch: int, target: Any, target_pitch: int
) -> None:
    """Transpose like :func:`emit_transpose`, for arbitrary rows: the first ``blocks`` times the length of a vector."""
    n, row_places = code.lanes, _row_table(code, rows)
    with code.loop(blocks) as loop:
        begin = code.product(loop.index, n)
        begins = [
            code.product(code.builder.load(code.at(row_places, code.sum(begin, code.whole(k)))), pitch)
            for k in range(n)
        ]
        _transpose(code, source, begins, target, begin, target_pitch)


def _transpose(code: Code, source: Any, rows: Sequence[Any], target: Any, begin: Any, target_pitch: int) -> None:
    """Transpose as many rows of a strip as a vector has numbers to columns of the target.

    Parts of some bytes are combined as they are read, while loads have capacity to spare, and then transposed within
    themselves: with parts of 16 bytes this takes half as many exchanges as whole vectors would.
    """
    part = min(code.lanes, code.exchanged_bytes // code.dtype.itemsize)
    for column in range(0, code.columns, part):
        block = [_parts_of_rows(code, source, rows[r::part], column, part) for r in range(part)]
        for c, values in enumerate(_transposed_parts(code, block)):
            code.store(values, target, code.sum(begin, code.whole((column + c) * target_pitch)))


def _parts_of_rows(code: Code, source: Any, rows: Sequence[Any], column: int, part: int) -> Any:
    """Return a vector of the same ``part`` numbers of some rows."""
    n, part_type, places = code.lanes, ir.VectorType(code.real, part), ir.VectorType(ir.IntType(32), code.lanes)
    everywhere, undefined = ir.Constant(places, [k % part for k in range(n)]), ir.Constant(part_type, ir.Undefined)
    vector = ir.Constant(code.vector, ir.Undefined)
    for place, row in enumerate(rows):
        address = code.at(source, code.sum(row, code.whole(column)))
        read = code.builder.load(code.builder.bitcast(address, part_type.as_pointer()))
        read.align = code.dtype.itemsize
        wide = code.builder.shuffle_vector(read, undefined, everywhere)
        mask = ir.Constant(places, [n + k if k // part == place else k for k in range(n)])
        vector = code.builder.shuffle_vector(vector, wide, mask)
    return vector


def _transposed_parts(code: Code, rows: Sequence[Any]) -> list[Any]:
    """Transpose vectors within each part (as many as a part has numbers), exchanging off-diagonal blocks of 1, 2 …"""
    n, vectors, distance = code.lanes, list(rows), 1
    while distance < len(rows):
        low = [k if not k & distance else n + k - distance for k in range(n)]
        high = [k + distance if not k & distance else n + k for k in range(n)]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), n), lanes) for lanes in (low, high)]
        for i in (i for i in range(len(rows)) if not i & distance):
            first, second = vectors[i], vectors[i + distance]
            vectors[i] = code.builder.shuffle_vector(first, second, masks[0])
            vectors[i + distance] = code.builder.shuffle_vector(first, second, masks[1])
        distance *= 2
    return vectors
