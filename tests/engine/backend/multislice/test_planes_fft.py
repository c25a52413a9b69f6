"""The compiled transform against numpy's, and the sizes it exists for."""

import math

import numba
import numpy as np
import pytest
from rounding import U

from ptylive.engine.backend.multislice.fast_sizes import RADICES, is_fast, padded_size
from ptylive.engine.backend.multislice.planes_fft import BLOCK, FAST
from ptylive.engine.backend.multislice.window import forward, inverse, window_of


@numba.jit(**FAST)
def run_forward(window, xr, xi, yr, yi):
    forward(window, xr, xi, yr, yi)


@numba.jit(**FAST)
def run_inverse(window, xr, xi, yr, yi):
    inverse(window, xr, xi, yr, yi)


@pytest.mark.parametrize(
    ("backwards", "size"),
    [
        (False, 48),
        (True, 32),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in [(False, 32), (True, 48), (False, 144), (True, 144)]),
    ],
)
def test_transform_is_numpys_transposed(backwards, size):
    rng = np.random.default_rng(size)
    wave = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    planes = [wave.real.astype(np.float32).ravel(), wave.imag.astype(np.float32).ravel()]
    out = [np.empty(size * size, np.float32) for _ in range(2)]
    (run_inverse if backwards else run_forward)(window_of(size), *planes, *out)
    expected = (np.fft.ifft2(wave) * size * size if backwards else np.fft.fft2(wave)).T
    got = (out[0] + 1j * out[1]).reshape(size, size)
    # log2(n) passes along either axis, each of which rounds some three times: all of them the same way at worst
    assert np.linalg.norm(got - expected) < 3 * 2 * math.log2(size) * U * np.linalg.norm(expected)


def test_radices_multiply_to_their_size_and_blocks_fit():
    for size, radices in RADICES.items():
        assert math.prod(radices) == size
        assert size % BLOCK == 0


@pytest.mark.parametrize(
    ("pixels", "size"), [(1, 32), (32, 32), (33, 48), (80, 96), (256, 256), (512, 512), (515, 516)]
)
def test_padded_size_holds_the_detector(pixels, size):
    assert padded_size(pixels) == size


def test_sizes_without_compiled_transform():
    assert not is_fast(80)
    assert is_fast(96)
