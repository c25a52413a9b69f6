"""Whole planes in strips: location of the strips, and a filter that keeps what is within a band."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ptylive.engine.backend.plane_passes import (
    Factor,
    Pass,
    Strip,
    emit_chosen_rows_transposed,
    emit_last_pass,
    emit_pass,
    emit_transpose,
    rows_in_order,
)
from ptylive.engine.backend.vector_code import Code


def moved(code: Code, factor: Factor, by: Any) -> Factor:
    """Return the factor starting at another column."""
    im = None if factor.im is None else code.at(factor.im, by)
    return factor._replace(re=code.at(factor.re, by), im=im)


def columns_of(code: Code, planes: tuple[Any, Any], first: Any, pitch: Any) -> Strip:
    """Return a strip of two planes, starting at a column."""
    return Strip(code.at(planes[0], first), code.at(planes[1], first), pitch)


def emit_first_passes(
    code: Code, passes: list[Pass], source: Strip, strip: Strip, factor: Factor | None = None
) -> None:
    """Emit all passes but the last one; the first one reads the source."""
    emit_pass(code, passes[0], source, strip, factor)
    for fft_pass in passes[1:-1]:
        emit_pass(code, fft_pass, strip, strip)


def scratch(code: Code, size: int) -> Strip:
    """Allocate a strip on the stack: a row's real parts, then its imaginary ones."""
    kind = ir.ArrayType(code.real, 2 * code.columns * size)
    with code.builder.goto_entry_block():
        room = code.builder.alloca(kind)
        room.align = 64
    start = code.builder.bitcast(room, code.real.as_pointer())
    return Strip(start, code.at(start, code.whole(code.columns)), 2 * code.columns)


class Filter:
    """Emits F^H A F: strips along the rows, then the other axis forth and back in one go, and the rows again.

    Along the other axis only the strips whose frequencies A transmits are processed.
    """

    def __init__(
        self, code: Code, forward_passes: list[Pass], inverse_passes: list[Pass], pitch: int, turn: int
    ) -> None:
        """Take passes of both directions, the pitch of planes, and the cyclic shift of the factor's columns."""
        self.code, self.forward_passes, self.inverse_passes, self.pitch, self.turn = (
            code,
            forward_passes,
            inverse_passes,
            pitch,
            turn,
        )
        self.size = forward_passes[0].size
        self.order = rows_in_order([fft_pass.radix for fft_pass in forward_passes])
        self.strip, self.second_strip = scratch(code, self.size), scratch(code, self.size)

    def real(self, plane: Any) -> Factor:
        """Return a real plane as a factor."""
        return Factor(plane, None, self.code.whole(self.pitch), None)

    def all(self, x: Strip, factor: Factor | None, band: Any, spare: Any, y: Strip, *, add: bool = False) -> None:
        """Emit the whole filter. band: A, in the layout of the kernel's model, and its number of non-zero columns."""
        code, columns = self.code, self.code.columns
        t, u = (spare[0], spare[1]), (spare[2], spare[3])
        strips = code.builder.udiv(code.sum(band[1], code.whole(columns - 1)), code.whole(columns))
        turned = [self.order[(place - self.turn) % self.size] for place in range(self.size)]
        with code.loop(self.size // columns) as loop:
            first = code.product(loop.index, columns)
            shifted_factor = None if factor is None else moved(code, factor, first)
            emit_first_passes(
                code, self.forward_passes, columns_of(code, (x.re, x.im), first, x.pitch), self.strip, shifted_factor
            )
            emit_pass(code, self.forward_passes[-1], self.strip, self.strip)
            begin, blocks = code.product(first, self.pitch), code.product(strips, columns // code.lanes)
            for source, target in zip(self.strip[:2], t, strict=True):
                address = code.at(target, begin)
                emit_chosen_rows_transposed(code, turned, blocks, source, self.strip.pitch, address, self.pitch)
        with code.loop(strips) as loop:
            first = code.product(loop.index, columns)
            emit_first_passes(code, self.forward_passes, columns_of(code, t, first, self.pitch), self.strip)
            emit_last_pass(code, self.forward_passes[-1], self.order, self.strip, self.second_strip)
            emit_first_passes(
                code, self.inverse_passes, self.second_strip, self.second_strip, moved(code, band[0], first)
            )
            emit_pass(code, self.inverse_passes[-1], self.second_strip, self.second_strip)
            begin = code.product(first, self.pitch)
            for source, target in zip(self.second_strip[:2], u, strict=True):
                emit_transpose(code, self.order, source, self.second_strip.pitch, code.at(target, begin), self.pitch)
        self._clear(u, code.product(strips, columns))
        with code.loop(self.size // columns) as loop:
            first = code.product(loop.index, columns)
            places = [(row + self.turn) % self.size for row in range(self.size)]
            emit_pass(code, self.inverse_passes[0], columns_of(code, u, first, self.pitch), self.strip, None, places)
            for fft_pass in self.inverse_passes[1:-1]:
                emit_pass(code, fft_pass, self.strip, self.strip)
            out = columns_of(code, (y.re, y.im), first, y.pitch)
            emit_last_pass(code, self.inverse_passes[-1], self.order, self.strip, out, add=add)

    def _clear(self, planes: tuple[Any, Any], first: Any) -> None:
        """Clear the rows from ``first`` on."""
        code = self.code
        with code.loop(code.builder.sub(code.whole(self.size), first)) as loop:
            row = code.product(code.sum(first, loop.index), self.pitch)
            for plane in planes:
                for column in range(0, self.size, code.lanes):
                    code.store(code.constant(0.0), plane, code.sum(row, code.whole(column)))
