"""Products in rows, each compared with numpy: sizes without and with gaps between rows, both precisions."""

import numba
import numpy as np
import pytest
from quick_first import quick_first
from rounding import U

from ptylive.engine.backend.multislice.kernel_parts.planes import laid_out, unlaid
from ptylive.engine.backend.multislice.kernel_parts.rows import add_unshifted, convert, scatter, shifted_probe
from ptylive.engine.backend.multislice.planes_fft import FAST
from ptylive.engine.backend.multislice.window import window_of

SIZES = quick_first([(48, "float32"), (128, "float32"), (48, "float64")], 2)


@numba.jit(**FAST)
def run_shifted_probe(window, probe, ramp, amplitude, out):
    shifted_probe(window, probe[0], probe[1], ramp, amplitude, out)


@numba.jit(**FAST)
def run_add_unshifted(window, wave, ramp, amplitude, total):
    add_unshifted(window, wave, ramp, amplitude, total[0], total[1])


@numba.jit(**FAST)
def run_scatter(window, entering, wave, total, start, width):
    scatter(window, entering, wave, total[0], total[1], start, width)


@numba.jit(**FAST)
def run_convert(window, recorded, out):
    convert(window, recorded, out)


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def complex_of(planes, size):
    return unlaid(planes, size)[0] + 1j * unlaid(planes, size)[1].astype(complex)


def close(found, expected, real):
    # some eight roundings of single numbers
    return (
        np.abs(found - expected).max() < 8 * (U if real == "float32" else np.finfo(float).eps) * np.abs(expected).max()
    )


def ramps(size, real):
    """Ramp as the kernel keeps it, and as a plane: the first axis of the ramp runs along columns."""
    ramp = drawn(1, 2, 2, size).astype(real)
    along_columns, along_rows = (axis[0] + 1j * axis[1].astype(complex) for axis in ramp)
    return ramp, along_rows[:, None] * along_columns[None, :]


@pytest.mark.parametrize(("size", "real"), SIZES)
def test_probe_is_shifted(size, real):
    probe, out = laid_out(drawn(0, 2, size, size), np.dtype(real)), laid_out(np.zeros((2, size, size)), np.dtype(real))
    ramp, plane = ramps(size, real)
    run_shifted_probe(window_of(size, real), probe, ramp, np.dtype(real).type(0.75), out)
    assert close(complex_of(out, size), 0.75 / size * complex_of(probe, size) * plane, real)


@pytest.mark.parametrize(("size", "real"), SIZES)
def test_gradient_is_shifted_back_and_added(size, real):
    wave, total = (laid_out(drawn(seed, 2, size, size), np.dtype(real)) for seed in (2, 3))
    ramp, plane = ramps(size, real)
    expected = complex_of(total, size) + 0.75 / size * complex_of(wave, size) * plane.conj()
    run_add_unshifted(window_of(size, real), wave, ramp, np.dtype(real).type(0.75), total)
    assert close(complex_of(total, size), expected, real)


@pytest.mark.parametrize(("size", "real"), SIZES)
def test_gradient_of_a_slice_is_added_in_its_window(size, real):
    entering, wave = (laid_out(drawn(seed, 2, size, size), np.dtype(real)) for seed in (4, 5))
    total = drawn(6, 2, size + 5, size + 9).astype(real)
    expected = total[0] + 1j * total[1].astype(complex)
    expected[3 : 3 + size, 7 : 7 + size] += complex_of(entering, size).conj() * complex_of(wave, size)
    flat = total.reshape(2, -1)
    run_scatter(window_of(size, real), entering, wave, flat, 3 * (size + 9) + 7, size + 9)
    found = flat.reshape(total.shape)
    assert close(found[0] + 1j * found[1], expected, real)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize(("size", "real"), quick_first(SIZES))
def test_counts_of_every_type_become_numbers_of_the_planes(size, real, kind):
    recorded = np.random.default_rng(7).integers(0, 256, (size, size)).astype(kind)
    if kind == np.uint16:
        recorded *= 257  # up to the largest, which a signed number would not hold
    out = laid_out(np.zeros((size, size)), np.dtype(real))
    run_convert(window_of(size, real), recorded.reshape(-1), out)
    assert np.array_equal(unlaid(out, size), recorded.astype(real))
