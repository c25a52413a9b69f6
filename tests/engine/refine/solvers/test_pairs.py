"""Vectors of pairs in 16 bits: the cost of rounding, and L-BFGS runs with them end where those without do."""

import itertools

import numpy as np
import pytest
from strict_device import device

from ptylive.engine.refine.parameters.pieces import IN_CACHE
from ptylive.engine.refine.solvers import pairs
from ptylive.engine.refine.solvers.pairs import BLOCK, LARGEST, LONG, Packed, add_scaled, kept, product, whole


@pytest.fixture
def all_long(monkeypatch):
    """Pack vectors of every length."""
    monkeypatch.setattr(pairs, "LONG", 1)


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, 3 * BLOCK, 40 * BLOCK + 7, 3 * IN_CACHE + BLOCK])
def test_no_number_is_wrong_by_more_than_half_a_step_of_its_block(all_long, size):
    rng = np.random.default_rng(size)
    vector = (rng.normal(size=size) * np.exp(rng.normal(0, 6, size))).astype(np.float32)
    packed = kept(vector, np)
    assert isinstance(packed, Packed) and packed.numbers.dtype == np.int16
    assert len(packed.scales) == -(-size // BLOCK)
    back = whole(packed, np)
    assert back.dtype == np.float32
    for first in range(0, size, BLOCK):
        block = vector[first : first + BLOCK]
        # half a step, and three roundings in single precision: of the scale, of its inverse, and of the product
        bound = np.abs(block).max() * (0.5 / LARGEST + 3 * np.finfo(np.float32).eps)
        assert np.abs(back[first : first + BLOCK] - block).max() <= bound


def test_blocks_of_nothing_stay_nothing(all_long):
    vector = np.zeros(3 * BLOCK, np.float32)
    vector[BLOCK] = 1e-38  # its inverse exceeds single precision
    vector[2 * BLOCK] = -2.0
    with np.errstate(all="raise", under="ignore"):
        back = whole(kept(vector, np), np)
    assert back[2 * BLOCK] == pytest.approx(-2.0, rel=1e-6)
    assert not back[: 2 * BLOCK].any()


def test_short_and_double_vectors_are_kept_as_they_are():
    short, double = np.ones(LONG - 1, np.float32), np.broadcast_to(np.float64(1), LONG)
    assert kept(short, np) is short
    assert kept(double, np) is double
    assert isinstance(kept(np.ones(LONG, np.float32), np), Packed)
    assert whole(short, np) is short


def test_a_packed_vector_takes_half_the_memory(all_long):
    packed = kept(np.ones(64 * BLOCK, np.float32), np)
    assert packed.numbers.nbytes + packed.scales.nbytes < 0.51 * 64 * BLOCK * 4


def test_a_device_packs_as_numpy_does(all_long):
    """Tested on a stand-in that is as strict as cupy."""
    vector = np.random.default_rng(1).normal(size=5 * BLOCK + 3).astype(np.float32)
    there = kept(device.asarray(vector), device)
    expected = whole(kept(vector, np), np)
    np.testing.assert_array_equal(whole(there, device).get(), expected)


@pytest.mark.parametrize("xp", [np, device])
def test_products_and_sums_of_packed_vectors_are_those_of_whole_ones(all_long, xp):
    """In any order, packed or not, here and on a device: to single precision of sums of 5 000 products."""
    rng = np.random.default_rng(2)
    plain, other = (rng.normal(size=5 * BLOCK + 3).astype(np.float32) for _ in range(2))
    parts = {"plain": xp.asarray(plain), "packed": kept(xp.asarray(other), xp)}
    values = {name: np.float64(_here(whole(part, xp))) for name, part in parts.items()}
    bound = len(plain) * np.finfo(np.float32).eps
    for a, b in itertools.product(parts, parts):
        expected = np.dot(values[a], values[b])
        size = np.dot(np.abs(values[a]), np.abs(values[b]))
        assert abs(float(product(parts[a], parts[b], xp)) - expected) <= bound * size, (a, b)
    total = xp.asarray(plain.copy())
    add_scaled(total, -0.5, parts["packed"], xp)
    # one rounding each of the scaled factor, the product and the sum
    largest = np.abs(values["plain"]).max() + np.abs(values["packed"]).max()
    expected = values["plain"] - 0.5 * values["packed"]
    np.testing.assert_allclose(_here(total), expected, rtol=0, atol=3 * np.finfo(np.float32).eps * largest)


def _here(vector):
    return vector.get() if hasattr(vector, "get") else vector
