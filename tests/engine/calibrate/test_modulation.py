"""Power spectra over the scan: one half of each transform follows from the other."""

import numpy as np
import pytest

from ptylive.engine.calibrate.modulation import _mean_power


@pytest.mark.parametrize("shape", [(8, 10), (9, 11), (8, 11)])
def test_the_other_half_of_a_power_spectrum_is_the_first_one_turned(shape):
    planes = np.random.default_rng(0).normal(size=(3, 7, 6)).astype(np.float32)
    expected = (np.abs(np.fft.fft2(planes, s=shape)) ** 2).mean(axis=0)
    # a transform of 110 points rounds seven times
    assert _mean_power(planes, shape) == pytest.approx(expected, abs=2**-24 * 16 * float(expected.max()))
