"""Planes of the kernel: rows and planes lie where the kernel expects them, with nothing but zeros in between."""

import numpy as np
import pytest

from ptylive.engine.backend.multislice.fast_sizes import pitch_of
from ptylive.engine.backend.multislice.kernel_parts.buffers import PAGE
from ptylive.engine.backend.multislice.kernel_parts.planes import LINE, laid_out, plane_size, unlaid, zeros_at_a_line


@pytest.mark.parametrize("size", [32, 128])
def test_rows_begin_a_pitch_apart(size):
    planes = np.random.default_rng(size).normal(size=(2, 3, size, size))
    flat = laid_out(planes)
    assert (flat.shape, flat.dtype) == ((2, 3, plane_size(size)), np.float32)
    assert flat.flags.c_contiguous
    assert np.array_equal(unlaid(flat, size), planes.astype(np.float32))
    assert flat[1, 2, pitch_of(size)] == np.float32(planes[1, 2, 1, 0])
    rows = flat[..., : size * pitch_of(size)].reshape(2, 3, size, -1)
    assert not rows[..., size:].any()
    assert not flat[..., size * pitch_of(size) :].any()


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("size", [32, 48, 64, 96, 128, 192, 256, 512])
def test_the_same_row_of_two_planes_lies_in_other_sets_of_the_cache(size, real):
    """At a multiple of a page the rows of a wave's real and imaginary part would displace each other."""
    flat = laid_out(np.zeros((2, size, size)), np.dtype(real))
    assert LINE <= (flat[1].ctypes.data - flat[0].ctypes.data) % PAGE <= PAGE - LINE
    assert flat[1].ctypes.data % LINE == 0


@pytest.mark.parametrize("size", [32, 128])
def test_sums_in_another_type_are_read_in_the_layout_of_the_kernel(size):
    planes = np.random.default_rng(size).normal(size=(3, size, size)).astype(np.float32)
    assert np.array_equal(unlaid(laid_out(planes).astype(np.float64), size), planes)
    doubles = laid_out(planes, np.dtype(np.float64))
    assert np.array_equal(unlaid(doubles.astype(np.float32), size), planes)


def test_what_is_written_to_the_view_is_in_the_plane():
    flat = laid_out(np.zeros((1, 128, 128)))
    unlaid(flat, 128)[0, 1, 2] = 5
    assert flat[0, pitch_of(128) + 2] == 5


@pytest.mark.parametrize("size", [32, 128])
def test_planes_begin_where_a_line_of_the_cache_does(size):
    """A vector that straddles two cache lines is read as two, so that a transform takes half as long again."""
    for _ in range(5):
        assert laid_out(np.ones((2, size, size))).ctypes.data % LINE == 0
        begun = zeros_at_a_line((2, 3, size), np.dtype(np.float64))
        assert (begun.shape, begun.dtype, begun.any()) == ((2, 3, size), np.float64, False)
        assert begun.ctypes.data % LINE == 0
        assert begun.flags.c_contiguous
