"""Passes of the transform: butterflies of every radix and vector width, each compared with its definition."""

import numpy as np
import pytest
from combinations import every_two
from emitted_code import compiled
from rounding import U

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
from ptylive.engine.backend.vector_code import DOUBLE, STRIP


def planes(rows, columns=STRIP):
    return np.random.default_rng(rows).normal(size=(2, rows, columns)).astype(np.float32)


@pytest.mark.parametrize(("radix", "sign", "lanes"), every_two([2, 3, 4, 6, 8, 12, 16], [-1, 1], [8, 16]))
def test_a_pass_of_one_radix_is_the_whole_transform(radix, sign, lanes):
    def emit(code, xr, xi, yr, yi):
        emit_pass(code, Pass(radix, radix, 1, sign), Strip(xr, xi, STRIP), Strip(yr, yi, STRIP))

    x, y = planes(radix), np.zeros((2, radix, STRIP), np.float32)
    compiled(emit, lanes)(*x, *y)
    wave = x[0] + 1j * x[1].astype(complex)
    expected = np.fft.fft(wave, axis=0) if sign < 0 else np.fft.ifft(wave, axis=0) * radix
    assert np.linalg.norm(y[0] + 1j * y[1] - expected) < 3 * np.log2(radix) * U * np.linalg.norm(expected)


@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("radix", [3, 8, 12])
def test_a_strip_of_double_precision_is_half_as_wide(radix, lanes):
    columns = STRIP // 2

    def emit(code, xr, xi, yr, yi):
        assert code.columns == columns
        emit_pass(code, Pass(radix, radix, 1, -1), Strip(xr, xi, columns), Strip(yr, yi, columns))

    x = np.random.default_rng(radix).normal(size=(2, radix, columns))
    y = np.zeros_like(x)
    compiled(emit, lanes, DOUBLE)(*x, *y)
    expected = np.fft.fft(x[0] + 1j * x[1], axis=0)
    unit = np.finfo(float).eps  # two roundings, as numpy's transform rounds as well
    assert np.linalg.norm(y[0] + 1j * y[1] - expected) < 3 * np.log2(radix) * unit * np.linalg.norm(expected)


@pytest.mark.parametrize("lanes", [8, 16])
def test_passes_in_place_and_rows_in_order_behind_the_last(lanes):
    radices = (4, 2, 3)
    order = rows_in_order(radices)

    def emit(code, xr, xi, yr, yi):
        strip = Strip(xr, xi, STRIP)
        emit_pass(code, Pass(24, 4, 1, -1), strip, strip)
        emit_pass(code, Pass(24, 2, 4, -1), strip, strip)
        emit_last_pass(code, Pass(24, 3, 8, -1), order, strip, Strip(yr, yi, STRIP))

    x, y = planes(24), np.zeros((2, 24, STRIP), np.float32)
    expected = np.fft.fft(x[0] + 1j * x[1].astype(complex), axis=0)
    compiled(emit, lanes)(*x, *y)
    assert np.linalg.norm(y[0] + 1j * y[1] - expected) < 3 * np.log2(24) * U * np.linalg.norm(expected)


def test_twiddles_of_double_precision_are_double():
    columns, order = STRIP // 2, rows_in_order((8, 3))

    def emit(code, xr, xi, yr, yi):
        strip = Strip(xr, xi, columns)
        emit_pass(code, Pass(24, 8, 1, -1), strip, strip)
        emit_last_pass(code, Pass(24, 3, 8, -1), order, strip, Strip(yr, yi, columns))

    x = np.random.default_rng(0).normal(size=(2, 24, columns))
    y, expected = np.zeros_like(x), np.fft.fft(x[0] + 1j * x[1], axis=0)
    compiled(emit, 8, DOUBLE)(*x, *y)
    unit = np.finfo(float).eps
    assert np.linalg.norm(y[0] + 1j * y[1] - expected) < 3 * np.log2(24) * unit * np.linalg.norm(expected)


def test_digits_of_a_row_are_reversed():
    assert rows_in_order((2, 3)) == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("lanes", [8, 16])
def test_a_real_factor_scales_what_is_read(lanes):
    def emit(code, xr, xi, w, y):
        factor = Factor(w, None, code.whole(STRIP + 3), None)
        out = Strip(y, code.at(y, code.whole(4 * STRIP)), STRIP)
        emit_pass(code, Pass(4, 4, 1, -1), Strip(xr, xi, STRIP), out, factor)

    x, w, y = planes(4), planes(5, STRIP + 3)[0], np.zeros((2, 4, STRIP), np.float32)
    compiled(emit, lanes)(*x, w, y)
    expected = np.fft.fft((x[0] + 1j * x[1].astype(complex)) * w[:4, :STRIP], axis=0)
    assert np.linalg.norm(y[0] + 1j * y[1] - expected) < 9 * U * np.linalg.norm(expected)


@pytest.mark.parametrize(("lanes", "exchanged_bytes"), [(8, 16), (8, 32), (8, 64), (16, 16), (16, 32)])
def test_rows_are_put_in_order_as_they_are_transposed(lanes, exchanged_bytes):
    order = rows_in_order((8, 4))

    def emit(code, xr, xi, yr, yi):
        emit_transpose(code, order, xr, STRIP, yr, 32)

    x, turned = planes(32), np.zeros((STRIP, 32), np.float32)
    compiled(emit, lanes, exchanged_bytes=exchanged_bytes)(*x, turned, turned)
    assert np.array_equal(turned, x[0][order].T)


@pytest.mark.parametrize("lanes", [8, 16])
def test_chosen_rows_are_transposed_a_block_at_a_time(lanes):
    rows = list(np.random.default_rng(0).permutation(32))

    def emit(code, xr, xi, yr, yi):
        emit_chosen_rows_transposed(code, [int(row) for row in rows], code.whole(1), xr, STRIP, yr, 32)

    x, turned = planes(32), np.zeros((STRIP, 32), np.float32)
    compiled(emit, lanes)(*x, turned, turned)
    assert np.array_equal(turned[:, :lanes], x[0][rows[:lanes]].T)
    assert not turned[:, lanes:].any()


def test_rows_that_lie_otherwise_are_read_and_sums_are_added():
    places = [int(row) for row in np.random.default_rng(1).permutation(8)]

    def emit(code, xr, xi, yr, yi):
        strip = Strip(xr, xi, STRIP)
        emit_pass(code, Pass(8, 4, 1, -1), strip, Strip(yr, yi, STRIP), None, places)
        emit_last_pass(code, Pass(8, 2, 4, -1), rows_in_order((4, 2)), Strip(yr, yi, STRIP), strip, add=True)

    x, y = planes(8), np.zeros((2, 8, STRIP), np.float32)
    before = x[0] + 1j * x[1].astype(complex)
    compiled(emit, 16)(*x, *y)
    expected = before + np.fft.fft(before[places], axis=0)
    assert np.linalg.norm(x[0] + 1j * x[1] - expected) < 12 * U * np.linalg.norm(expected)


def test_blocks_whose_rows_lie_otherwise_are_refused():
    with pytest.raises(ValueError, match="ordered differently"):
        compiled(lambda code, x, *_: emit_transpose(code, rows_in_order((12, 4)), x, STRIP, x, 48), 16)
