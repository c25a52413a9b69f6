"""Real planes of complex quantities."""

import numpy as np

from ptylive.engine.refine.parameters.planes import complex_of, turned


def test_planes_turn_as_complex_numbers_do():
    rng = np.random.default_rng(0)
    planes, angle = rng.normal(size=(2, 3, 4)), rng.normal(size=(3, 4))
    np.testing.assert_allclose(complex_of(turned(planes, angle, np)), complex_of(planes) * np.exp(1j * angle))
