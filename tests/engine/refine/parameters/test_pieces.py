"""Vectors processed piece by piece: nothing is left out, and the numbers are those of a single piece."""

import numpy as np
import pytest

from ptylive.engine.refine.parameters.pieces import IN_CACHE, ON_DEVICE, add_scaled, pieces

SIZES = [0, 1, IN_CACHE - 1, IN_CACHE, IN_CACHE + 1, 3 * IN_CACHE + 5]


@pytest.mark.parametrize("size", SIZES)
def test_pieces_cover_a_vector_once(size):
    covered = np.zeros(size, int)
    for piece in pieces(size, np):
        covered[piece] += 1
        assert piece.stop - piece.start <= IN_CACHE
    assert (covered == 1).all()


def test_a_device_is_called_seldom():
    assert len(list(pieces(ON_DEVICE, object()))) == 1


@pytest.mark.parametrize("size", SIZES)
def test_sums_are_those_of_whole_vectors_to_the_last_bit(size):
    rng = np.random.default_rng(size)
    vector, other = rng.normal(size=(2, size)).astype(np.float32)
    factor = np.float32(0.3)
    expected = vector - factor * other
    add_scaled(vector, -factor, other, np)
    np.testing.assert_array_equal(vector, expected)
