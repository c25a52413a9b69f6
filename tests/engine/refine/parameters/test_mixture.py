"""Modes composed of other modes: layout and adjoint."""

import numpy as np

from ptylive.engine.refine.parameters.mixture import Mixture


def test_modes_of_a_mode_lie_together():
    factors = np.array([1.0, 2.0, 3.0])[:, None, None] * np.ones((1, 4, 4))
    planes = np.arange(2 * 2 * 16, dtype=float).reshape(2, 2, 4, 4)
    mixed = Mixture(factors).mixed(planes, np)
    assert mixed.shape == (2, 6, 4, 4)
    np.testing.assert_array_equal(mixed[:, 4], 2 * planes[:, 1])


def test_gathering_is_the_adjoint():
    """<mixed(x), y> = <x, gathered(y)> in double precision."""
    rng = np.random.default_rng(0)
    mixture = Mixture(rng.normal(size=(3, 4, 4)))
    x, y = rng.normal(size=(2, 2, 4, 4)), rng.normal(size=(2, 6, 4, 4))
    np.testing.assert_allclose((mixture.mixed(x, np) * y).sum(), (x * mixture.gathered(y, np)).sum(), rtol=1e-13)
