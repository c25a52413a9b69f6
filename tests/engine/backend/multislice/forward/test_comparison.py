"""Products with masks that cover only part of the detector, compared with products of dense matrices."""

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.arrays import ArrayKit
from ptylive.engine.backend.multislice.forward.comparison import Masks

SIZE, COUNT = 32, 20


def bright_field(seed):
    """Masks within a disc around frequency 0, which lies at [0, 0]; also returns the pixels outside the disc."""
    frequency = np.fft.fftfreq(SIZE)
    inside = (np.hypot(frequency[:, None], frequency[None, :]) < 0.2).ravel()
    return np.where(inside, np.random.default_rng(seed).normal(size=(COUNT, SIZE * SIZE)), 0.0), ~inside


@pytest.mark.parametrize("looking_elsewhere", [0, 1, 3, COUNT])
def test_products_are_those_of_the_whole_matrix(looking_elsewhere):
    masks, outside = bright_field(1)
    masks[COUNT - looking_elsewhere :, outside] = 0.5
    rng = np.random.default_rng(2)
    planes, coefficients = rng.normal(size=(5, SIZE * SIZE)), rng.normal(size=(5, COUNT))
    made = Masks(ArrayKit(np, np.dtype("complex128")), masks)
    np.testing.assert_allclose(made.forward(planes), planes @ masks.T, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(made.adjoint(coefficients), coefficients @ masks, rtol=1e-11, atol=1e-11)


def test_masks_that_look_at_little_each_are_one_matrix():
    masks = np.eye(COUNT, SIZE * SIZE)
    planes = np.random.default_rng(3).normal(size=(2, SIZE * SIZE))
    made = Masks(ArrayKit(np, np.dtype("complex128")), masks)
    np.testing.assert_array_equal(made.forward(planes), planes[:, :COUNT])
