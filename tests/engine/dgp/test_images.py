"""Blocks of parameters become images of unit size."""

import numpy as np
import pytest

from ptylive.engine.dgp.images import FLAT, Images

RNG = np.random.default_rng(5)


def test_an_object_is_brought_to_unit_size():
    vector = RNG.normal(3.0, 0.2, 5 + 2 * 6 * 7).astype("f4")
    found, images = Images(5, (2, 6, 7)).of(vector)
    assert images.shape == (2, 6, 7)
    np.testing.assert_allclose(images.mean(axis=(1, 2)), 0, atol=1e-5)  # 42 numbers around 0, some u each
    assert np.sqrt((images**2).mean()) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(found.offset + found.unit * images, vector[5:].reshape(2, 6, 7), rtol=1e-5)


def test_values_at_or_above_0_keep_their_0():
    vector = np.abs(RNG.normal(0.0, 0.2, 42)).astype("f4")
    found, images = Images(0, (1, 6, 7)).of(vector, above=True)
    assert images.min() >= 0
    assert not found.offset.any()


def test_a_probe_is_centred_in_real_space():
    flat = np.zeros((2, 8, 8), "f4")
    flat[0] = 1.0  # the same real value at every frequency: a point at the origin
    _, images = Images(0, (2, 8, 8), waves=True).of(flat.ravel())
    assert np.unravel_index(np.argmax(images[0]), (8, 8)) == (4, 4)
    assert np.abs(images[0]).sum() == pytest.approx(images[0].max(), rel=1e-5)


def test_an_empty_image_is_none_to_divide_by():
    found, images = Images(0, (1, 4, 4)).of(np.zeros(16, "f4"))
    assert found.unit == FLAT
    assert not images.any()
