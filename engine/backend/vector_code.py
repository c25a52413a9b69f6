"""Vector instructions as LLVM code: loops, loads, stores and complex arithmetic on whole vectors.

Decisions that a Python loop would leave to the compiler (width of vectors, unrolling or vectorisation of loops,
possible overlap) are made explicitly here, so that they hold for every size and every CPU.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

STRIP = 16
"""Columns transformed at a time in single precision, half as many in double: a cache line of 64 bytes. Data between two
passes are then so small that they stay in the first-level cache: 32 KiB for 256 rows."""
SINGLE, DOUBLE = ir.FloatType(), ir.DoubleType()
FLAGS = ("contract", "nsz")
"""Flags of arithmetic: a product and a sum may become one multiply-add, and 0 has no sign."""
WORD = ir.IntType(64)
SINGLE_BYTES = 4


class Number(NamedTuple):
    """Complex numbers in two vectors, which are still to be multiplied by ``pending``."""

    re: Any
    im: Any
    pending: float = 1.0


class Code:
    """Emits instructions, in sequence, on vectors of ``lanes`` numbers of a type, SINGLE or DOUBLE.

    exchanged_bytes: see :func:`~ptylive.engine.backend.vectors.exchanged_bytes`.
    """

    def __init__(self, builder: Any, lanes: int, real: Any, exchanged_bytes: int) -> None:
        self.builder, self.lanes, self.real, self.exchanged_bytes = builder, lanes, real, exchanged_bytes
        self.vector = ir.VectorType(real, lanes)
        self.dtype = np.dtype(np.float32 if real == SINGLE else np.float64)
        self.columns = STRIP * SINGLE_BYTES // self.dtype.itemsize
        """Number of columns of a strip."""

    def loop(self, rounds: Any) -> AbstractContextManager[Any]:
        """Return a loop from 0 up to ``rounds``, a constant or a number known at run time; ``.index`` counts."""
        end = self.whole(rounds) if isinstance(rounds, int) else rounds
        return cgutils.for_range(self.builder, end)  # type: ignore[no-any-return,unused-ignore]

    def whole(self, value: int) -> Any:
        """Return an integer constant."""
        return ir.Constant(WORD, value)

    def sum(self, a: Any, b: Any) -> Any:
        """Return the sum of two integers."""
        return self.builder.add(a, b)

    def product(self, a: Any, factor: Any) -> Any:
        """Return the product of an integer and a constant, or another integer."""
        return self.builder.mul(a, self.whole(factor) if isinstance(factor, int) else factor)

    def at(self, base: Any, index: Any) -> Any:
        """Return the address of a number."""
        return self.builder.gep(base, [index])

    def load(self, base: Any, index: Any) -> Any:
        """Return the vector that begins at a number; it need not be aligned."""
        read = self.builder.load(self.builder.bitcast(self.at(base, index), self.vector.as_pointer()))
        read.align = self.dtype.itemsize
        return read

    def store(self, value: Any, base: Any, index: Any) -> None:
        """Store a vector; see :meth:`load`."""
        stored = self.builder.store(value, self.builder.bitcast(self.at(base, index), self.vector.as_pointer()))
        stored.align = self.dtype.itemsize

    def everywhere(self, scalar: Any) -> Any:
        """Return a vector filled with one number."""
        undefined, first = ir.Constant(self.vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        single = self.builder.insert_element(undefined, scalar, first)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(single, undefined, mask)

    def constant(self, value: float) -> Any:
        """Return a vector filled with one constant."""
        return ir.Constant(self.vector, [float(self.dtype.type(value))] * self.lanes)

    def plus(self, a: Number, b: Number) -> Number:
        """Return the sum."""
        return self._combined(a, b, 1.0)

    def minus(self, a: Number, b: Number) -> Number:
        """Return the difference."""
        return self._combined(a, b, -1.0)

    def _combined(self, a: Number, b: Number, sign: float) -> Number:
        """Return a + sign b. A pending factor of b costs nothing in a multiply-add; that of a stays pending."""
        ratio = sign * b.pending / a.pending
        return Number(self._added(a.re, b.re, ratio), self._added(a.im, b.im, ratio), a.pending)

    def _added(self, a: Any, b: Any, ratio: float) -> Any:
        """Return a + ratio b of vectors."""
        if abs(ratio) == 1.0:
            return (self.builder.fadd if ratio > 0 else self.builder.fsub)(a, b, flags=FLAGS)
        return self.multiply_add(b, self.constant(ratio), a)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c of vectors: one instruction where the CPU has it."""
        name = f"llvm.fmuladd.v{self.lanes}f{8 * self.dtype.itemsize}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), (a, b, c))

    def scaled(self, a: Number, factor: Any) -> Number:
        """Return the product with a real vector."""
        times = self.builder.fmul
        return Number(times(a.re, factor, flags=FLAGS), times(a.im, factor, flags=FLAGS), a.pending)

    def times(self, a: Number, b: Number) -> Number:
        """Return the complex product."""
        mul, add, subtract = self.builder.fmul, self.builder.fadd, self.builder.fsub
        re = subtract(mul(a.re, b.re, flags=FLAGS), mul(a.im, b.im, flags=FLAGS), flags=FLAGS)
        im = add(mul(a.re, b.im, flags=FLAGS), mul(a.im, b.re, flags=FLAGS), flags=FLAGS)
        return Number(re, im, a.pending * b.pending)

    def rotated(self, a: Number, numerator: int, denominator: int) -> Number:
        """Return a times exp(2 pi i numerator / denominator).

        The cosine stays pending, so that two multiply-adds by the tangent suffice (Linzer and Feig 1993), or two sums
        at an eighth of a turn.
        """
        quarters, rest = divmod(4 * numerator, denominator)
        turned = _quarter_turned(self.builder, a, quarters)
        if rest == 0:
            return turned
        angle = math.pi / 2 * rest / denominator
        if 2 * rest > denominator:  # i exp(i (angle - pi / 2)), so that the cosine is not the smaller one
            turned, angle = _quarter_turned(self.builder, turned, 1), angle - math.pi / 2
        tangent = 1.0 if 2 * rest == denominator else math.tan(angle)
        re, im = self._added(turned.re, turned.im, -tangent), self._added(turned.im, turned.re, tangent)
        return Number(re, im, a.pending * math.cos(angle))


def _quarter_turned(builder: Any, a: Number, quarters: int) -> Number:
    """Return a times i to the power of ``quarters``."""
    negated = builder.fneg
    re, im = [(a.re, a.im), (negated(a.im), a.re), (negated(a.re), negated(a.im)), (a.im, negated(a.re))][quarters % 4]
    return Number(re, im, a.pending)
