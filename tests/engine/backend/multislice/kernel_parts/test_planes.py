"""Planes of the kernel: rows lie where the kernel expects them, with nothing in between."""

import numpy as np
import pytest

from ptylive.engine.backend.multislice.fast_sizes import pitch_of
from ptylive.engine.backend.multislice.kernel_parts.planes import LINE, laid_out, plane_size, unlaid, zeros_at_a_line


@pytest.mark.parametrize("size", [32, 128])
def test_rows_begin_a_pitch_apart(size):
    planes = np.random.default_rng(size).normal(size=(2, 3, size, size))
    flat = laid_out(planes)
    assert (flat.shape, flat.dtype) == ((2, 3, plane_size(size)), np.float32)
    assert flat.flags.c_contiguous
    assert np.array_equal(unlaid(flat, size), planes.astype(np.float32))
    assert flat[1, 2, pitch_of(size)] == np.float32(planes[1, 2, 1, 0])
    assert not flat.reshape(2, 3, size, -1)[..., size:].any()


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
