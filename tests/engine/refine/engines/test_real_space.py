"""Probe in real space and windows of the object."""

import numpy as np

from ptylive.engine.refine.engines import real_space
from ptylive.engine.refine.engines.real_space import object_power, summed_windows, to_fourier_space, to_real_space


def test_there_and_back_with_the_power_kept():
    planes = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    waves = to_real_space(planes, np)
    assert waves.dtype == np.complex64
    np.testing.assert_allclose((abs(waves) ** 2).sum(), (planes**2).sum(), rtol=1e-6)
    np.testing.assert_allclose(to_fourier_space(waves, np), planes, atol=1e-6)


def test_windows_add_up_with_their_weights(monkeypatch):
    monkeypatch.setattr(real_space, "WINDOWS_AT_ONCE", 40)  # two at a time
    rng = np.random.default_rng(1)
    plane, corners, weights = rng.random((9, 11)), rng.integers(0, 5, (5, 2)), rng.random(5)
    wanted = sum(w * plane[r : r + 4, c : c + 4] for (r, c), w in zip(corners, weights, strict=True))
    np.testing.assert_allclose(summed_windows(plane, corners, 4, weights, np), wanted, rtol=1e-12)


def test_power_is_of_the_first_slice_and_the_mean_of_the_modes():
    planes = np.zeros((2, 2, 3, 4, 4))
    planes[0, 0, 0], planes[1, 1, 0], planes[0, :, 1] = 2, 4, 9
    np.testing.assert_array_equal(object_power(planes), np.full((4, 4), 10.0))
