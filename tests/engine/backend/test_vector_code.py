"""Complex arithmetic on vectors: rotations with a pending factor, and what is made of them."""

import cmath

import numpy as np
import pytest
from emitted_code import compiled
from rounding import U

from ptylive.engine.backend.vector_code import Number


@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize(("numerator", "denominator"), [(0, 1), (1, 4), (-1, 8), (3, 8), (1, 12), (5, 16), (-7, 16)])
def test_a_rotated_number_is_added_to_another_rotated_one(numerator, denominator, lanes):
    def emit(code, xr, xi, yr, yi):
        x = Number(code.load(xr, code.whole(0)), code.load(xi, code.whole(0)))
        total = code.minus(code.plus(x, code.rotated(x, numerator, denominator)), code.rotated(x, 1, 16))
        code.store(total.re, yr, code.whole(0))
        code.store(total.im, yi, code.whole(0))

    x = np.random.default_rng(0).normal(size=(2, lanes)).astype(np.float32)
    y = np.zeros_like(x)
    compiled(emit, lanes)(*x, *y)
    factor = 1 + cmath.exp(2j * cmath.pi * numerator / denominator) - cmath.exp(2j * cmath.pi / 16)
    expected = (x[0] + 1j * x[1].astype(complex)) * factor
    # two rotations and two sums of numbers up to three times as large
    assert np.abs(y[0] + 1j * y[1] - expected).max() < 3 * 8 * U * np.abs(x).max()
