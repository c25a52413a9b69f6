"""Compiled packing, products and sums of long vectors in 16 bits, compared with double precision."""

import numpy as np
import pytest

from ptylive.engine.backend import packed_vectors
from ptylive.engine.backend.packing import BLOCK, LARGEST, NOTHING

EPS = np.finfo(np.float32).eps


def packed(vector):
    numbers, scales = np.empty(len(vector), np.int16), np.empty(-(-len(vector) // BLOCK), np.float32)
    packed_vectors.pack(vector, numbers, scales)
    return numbers, scales


def meant(numbers, scales):
    """The values that packed numbers and scales represent, in double precision."""
    return numbers * np.repeat(np.float64(scales), BLOCK)[: len(numbers)]


def drawn(size, seed):
    """Random blocks of very different sizes."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=size) * 10.0 ** rng.integers(-6, 7, -(-size // BLOCK)).repeat(BLOCK)[:size]).astype("f4")


@pytest.mark.parametrize("size", [1, BLOCK, 2 * BLOCK + 1, 7 * BLOCK - 3])
def test_packed_numbers_are_the_nearest(size):
    vector = drawn(size, size)
    numbers, scales = packed(vector)
    # half a step, plus one rounding each of the scale, its inverse and the product
    bound = scales.repeat(BLOCK)[:size] * (0.5 + 3 * LARGEST * EPS)
    assert (np.abs(meant(numbers, scales) - vector) <= bound).all()
    back = np.empty(size, np.float32)
    packed_vectors.unpack(numbers, scales, back)
    np.testing.assert_allclose(back, meant(numbers, scales), rtol=EPS)


def test_blocks_of_nothing_are_zero():
    vector = np.zeros(2 * BLOCK, np.float32)
    vector[3] = NOTHING / 2
    numbers, scales = packed(vector)
    assert not numbers.any() and not scales.any()


@pytest.mark.parametrize("size", [1, 5 * BLOCK + 9])
def test_products_of_packed_vectors_are_right_to_single_precision(size):
    one, two, plain = packed(drawn(size, 1)), packed(drawn(size, 2)), drawn(size, 3)
    # sums of a block in single precision: at worst one rounding for each of its numbers
    for found, a, b in (
        (packed_vectors.product(*one, plain), meant(*one), np.float64(plain)),
        (packed_vectors.product_of_packed(*one, *two), meant(*one), meant(*two)),
    ):
        assert abs(found - np.dot(a, b)) <= BLOCK * EPS * np.dot(np.abs(a), np.abs(b))


def test_added_in_place():
    one, vector = packed(drawn(3 * BLOCK + 5, 4)), drawn(3 * BLOCK + 5, 5)
    before = vector.copy()
    packed_vectors.add_scaled(vector, np.float32(-0.7), *one)
    expected = before + np.float64(np.float32(-0.7)) * meant(*one)
    # one rounding each of the factor, the product and the sum
    np.testing.assert_array_less(np.abs(vector - expected), 3 * EPS * (np.abs(before) + np.abs(meant(*one))))
