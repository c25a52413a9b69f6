"""The compiled transforms against numpy's, and the sizes for which they exist."""

import math

import numba
import numpy as np
import pytest
from rounding import U

from ptylive.engine.backend.multislice.fast_sizes import RADICES, WIDE, is_fast, padded_size, pitch_of
from ptylive.engine.backend.multislice.kernel_parts.planes import laid_out, plane_size, unlaid
from ptylive.engine.backend.multislice.planes_fft import FAST, code_of, turn_of
from ptylive.engine.backend.multislice.window import (
    add_filtered,
    filter_window,
    forward,
    forward_product,
    forward_scaled,
    inverse,
    inverse_product,
    inverse_scaled,
    propagate,
    window_of,
)
from ptylive.engine.backend.vector_code import STRIP


@numba.jit(**FAST)
def run_forward(window, x, y):
    forward(window, x[0], x[1], y[0], y[1])


@numba.jit(**FAST)
def run_inverse(window, x, y):
    inverse(window, x[0], x[1], y[0], y[1])


@numba.jit(**FAST)
def run_forward_product(window, x, factor, start, pitch, conjugate, y):
    forward_product(window, x, factor[0], factor[1], (start, pitch), conjugate, y)


@numba.jit(**FAST)
def run_inverse_product(window, x, factor, conjugate, y):
    inverse_product(window, x, factor[0], factor[1], conjugate, y)


@numba.jit(**FAST)
def run_inverse_scaled(window, x, factor, y):
    inverse_scaled(window, x, factor, y)


@numba.jit(**FAST)
def run_forward_scaled(window, x, factor, y):
    forward_scaled(window, x, factor, y)


@numba.jit(**FAST)
def run_filter_window(window, larger, rows, band, kept, spare, y):
    filter_window(window, larger[0], larger[1], rows, band, kept, spare, y)


@numba.jit(**FAST)
def run_add_filtered(window, x, w, band, kept, spare, more, larger, rows):
    add_filtered(window, x, w, band, kept, spare, more, larger[0], larger[1], rows)


def random_planes(size, seed=0, real="float32"):
    return laid_out(np.random.default_rng(seed + size).normal(size=(2, size, size)), np.dtype(real))


def wave_of(planes, size):
    re, im = unlaid(planes, size)
    return re + 1j * im


def check(got, size, expected, unit=U):
    # log2(n) passes along either axis, each rounding some three times, at worst all in the same direction; a product in
    # front rounds three times more
    error = np.linalg.norm(wave_of(got, size) - expected.T)
    assert error < 3 * (2 * math.log2(size) + 1) * unit * np.linalg.norm(expected)


def transform(wave, backwards):
    return np.fft.ifft2(wave) * wave.size if backwards else np.fft.fft2(wave)


@pytest.mark.parametrize(
    ("backwards", "size"),
    [
        (False, 48),
        (True, 32),
        (False, 128),
        (True, 128),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in [
                (False, 32),
                (True, 48),
                *((backwards, size) for backwards in (False, True) for size in (96, 144, 192, 256)),
            ]
        ),
    ],
)
def test_transform_is_numpys_transposed(backwards, size):
    planes, out = random_planes(size), np.zeros((2, plane_size(size)), np.float32)
    kept = planes.copy()
    (run_inverse if backwards else run_forward)(window_of(size), planes, out)
    check(out, size, transform(wave_of(planes, size), backwards))
    assert np.array_equal(planes, kept), "what is transformed is kept"


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("size", [48, 64, 512])
def test_transform_in_double_precision(backwards, size):
    planes, window = random_planes(size, real="float64"), window_of(size, "float64")
    out = np.zeros_like(planes)
    (run_inverse if backwards else run_forward)(window, planes, out)
    # numpy's transform rounds as well
    check(out, size, transform(wave_of(planes, size), backwards), 2 * np.finfo(float).eps)


@pytest.mark.slow
@pytest.mark.parametrize("conjugate", [1, -1])
def test_products_in_double_precision(conjugate):
    size, unit = 48, 2 * np.finfo(float).eps
    planes, factor, out = (random_planes(size, seed, "float64") for seed in range(3))
    wave, by = wave_of(planes, size), wave_of(factor, size)
    run_inverse_product(window_of(size, "float64"), planes, factor, conjugate, out)
    check(out, size, transform(wave * (by if conjugate == 1 else by.conj()), True), unit)
    run_inverse_scaled(window_of(size, "float64"), planes, factor[0], out)
    check(out, size, transform(wave * by.real, True), unit)
    run_forward_product(window_of(size, "float64"), planes, factor, 0, size, conjugate, out)
    check(out, size, transform(wave * (by if conjugate == 1 else by.conj()), False), unit)


@pytest.mark.parametrize("conjugate", [1, -1])
def test_a_window_of_a_larger_plane_is_multiplied_on_the_way_in(conjugate):
    size, pitch, start = 32, 41, 5 * 41 + 7
    planes, larger = random_planes(size), np.random.default_rng(1).normal(size=(2, size + 9, pitch)).astype(np.float32)
    re, im = larger[:, 5 : 5 + size, 7 : 7 + size]
    window = re + 1j * im
    out = np.empty((2, plane_size(size)), np.float32)
    run_forward_product(window_of(size), planes, larger.reshape(2, -1), start, pitch, conjugate, out)
    check(out, size, np.fft.fft2(wave_of(planes, size) * (window if conjugate == 1 else window.conj())))


@pytest.mark.parametrize("conjugate", [1, -1])
def test_a_spectrum_is_multiplied_on_the_way_back(conjugate):
    size = 128
    planes, factor, out = random_planes(size), random_planes(size, seed=1), np.empty((2, plane_size(size)), np.float32)
    run_inverse_product(window_of(size), planes, factor, conjugate, out)
    wave = wave_of(factor, size)
    check(out, size, transform(wave_of(planes, size) * (wave if conjugate == 1 else wave.conj()), True))


def test_a_spectrum_is_scaled_on_the_way_back():
    size = 128
    planes, factor, out = (
        random_planes(size),
        random_planes(size, seed=1)[0],
        np.empty((2, plane_size(size)), np.float32),
    )
    run_inverse_scaled(window_of(size), planes, factor, out)
    check(out, size, transform(wave_of(planes, size) * unlaid(factor, size), True))


def test_a_wave_is_scaled_on_the_way_out():
    size = 128
    planes, factor, out = random_planes(size), random_planes(size, seed=1)[0], np.zeros((2, plane_size(size)), "f4")
    run_forward_scaled(window_of(size), planes, factor, out)
    check(out, size, transform(wave_of(planes, size) * unlaid(factor, size), False))


def filters(size, reach, real):
    """A factor (P, P) without symmetry that is 0 beyond ``reach`` frequencies, and the arguments of its filter."""
    q = np.abs(np.fft.fftfreq(size) * size)
    band = np.random.default_rng(size).random((size, size)) * (q[:, None] <= reach) * (q[None, :] <= reach)
    turned = np.roll(band.T, turn_of(size), axis=1)
    kept = int(np.flatnonzero(turned.any(axis=0)).max()) + 1
    return band, laid_out(turned / size**2, np.dtype(real)), kept


FILTERED = [
    (32, 10, "float32"),
    (32, 16, "float32"),
    (32, 3, "float32"),
    pytest.param(64, 3, "float32", marks=pytest.mark.slow),
    pytest.param(48, 16, "float64", marks=pytest.mark.slow),
    *(pytest.param(n, n // 3, real, marks=pytest.mark.slow) for n in RADICES for real in ("float32", "float64")),
]


@pytest.mark.parametrize(("size", "reach", "real"), FILTERED)
def test_a_filter_passes_what_its_band_holds(size, reach, real):
    """Filters a window of a larger plane, and a product that is added to such a window; as exact as two transforms."""
    rng, window, unit = np.random.default_rng(2), window_of(size, real, banded=True), 4 * np.finfo(real).eps
    band, factor, kept = filters(size, reach, real)
    rows, columns, start = size + 5, size + 9, 2 * (size + 9) + 3
    larger = rng.normal(size=(2, rows, columns)).astype(real)
    cut = larger[:, 2 : 2 + size, 3 : 3 + size].astype(float)
    spare, y, x = (random_planes(size, seed, real) for seed in range(3))
    run_filter_window(window, larger.reshape(2, -1), (start, columns), factor, kept, spare, y)
    expected = np.fft.ifft2(np.fft.fft2(cut[0] + 1j * cut[1]) * band)
    check(y, size, expected.T, unit)
    w, more, before = random_planes(size, 4, real), random_planes(size, 5, real), larger.copy()
    product, kept_x = wave_of(x, size) * wave_of(w, size).conj(), x.copy()
    run_add_filtered(window, x, w, factor, kept, spare, more, larger.reshape(2, -1), (start, columns))
    added = (larger - before)[:, 2 : 2 + size, 3 : 3 + size]
    expected = np.fft.ifft2(np.fft.fft2(product.astype(complex)) * band)
    apart = np.linalg.norm(added[0] + 1j * added[1] - expected)
    rounded = unit * np.linalg.norm(before)  # rounding of the sum with the previous content
    assert apart < 3 * (2 * math.log2(size) + 1) * unit * np.linalg.norm(expected) + rounded
    larger[:, 2 : 2 + size, 3 : 3 + size] = before[:, 2 : 2 + size, 3 : 3 + size]
    assert np.array_equal(larger, before), "nothing is written beside the window"
    assert np.array_equal(x, kept_x), "what is filtered is kept"


@numba.jit(**FAST)
def run_propagate(window, x, w, rows, band, kept, conjugate, spare, y):
    propagate(window, x, w[0], w[1], rows, band[0], band[1], kept, conjugate, spare, y)


@pytest.mark.parametrize("conjugate", [1, -1])
@pytest.mark.parametrize("size", [32, pytest.param(64, marks=pytest.mark.slow)])
def test_a_propagation_within_a_band_is_a_complex_filter(size, conjugate):
    window = window_of(size, banded=True)
    band, _, kept = filters(size, size // 3, "float32")
    factor = band * np.exp(1j * np.random.default_rng(0).normal(size=(size, size)))
    turned = np.roll(factor.T, turn_of(size), axis=1)
    x, w, y = (random_planes(size, seed) for seed in range(3))
    wave, by = wave_of(x, size), wave_of(w, size)
    run_propagate(window, x, w, (0, size), laid_out(np.stack([turned.real, turned.imag])), kept, conjugate, x, y)
    by, factor = (by, factor) if conjugate == 1 else (by.conj(), factor.conj())
    check(y, size, (np.fft.ifft2(np.fft.fft2(wave * by) * factor) * size**2).T, 2 * U)


def test_a_band_of_two_thirds_stands_together():
    for size in RADICES:
        places = (np.arange(-(size // 3), size // 3 + 1) + turn_of(size)) % size
        assert places.max() - places.min() == 2 * (size // 3), size


def test_radices_multiply_to_their_size_and_strips_fit():
    for size, radices in [*RADICES.items(), *WIDE.items()]:
        assert math.prod(radices) == size
        assert size % STRIP == 0


@pytest.mark.parametrize(
    ("pixels", "size"), [(1, 32), (32, 32), (33, 48), (80, 96), (256, 256), (512, 512), (515, 516)]
)
def test_padded_size_holds_the_detector(pixels, size):
    assert padded_size(pixels) == size


def test_rows_of_crowded_sizes_stand_a_line_of_the_cache_apart():
    assert [pitch_of(size) for size in (64, 96, 128, 192, 256)] == [64, 96, 144, 192, 272]
    assert [pitch_of(size, 8) for size in (64, 96, 128, 192)] == [72, 96, 136, 200], "of 8 bytes a number"


def test_sizes_without_compiled_transform():
    assert not is_fast(80)
    assert is_fast(96)


@pytest.mark.parametrize("width", [16, 32])
def test_code_exchanges_numbers_as_this_processor_does_best(width, monkeypatch):
    monkeypatch.setattr("ptylive.engine.backend.multislice.planes_fft.exchanged_bytes", lambda: width)
    assert code_of(None, numba.types.float32).exchanged_bytes == width
