"""The scatter of a phase in words."""

import numpy as np
import pytest

from ptylive.engine.refine.results.phase_deviation import AT_BOUND_RAD, PhaseDeviation, deviation_words


@pytest.mark.parametrize(
    ("median_rad", "lower_bound", "words"),
    [
        (0.01234, False, "0.012 rad"),
        (0.01234, True, "at least 0.012 rad"),
        (0.5 * AT_BOUND_RAD, True, "0 rad, because most of the phase is held at 0"),
        (2 * AT_BOUND_RAD, False, "2e-06 rad"),
    ],
)
def test_a_median_in_words(median_rad, lower_bound, words):
    assert deviation_words(median_rad, lower_bound) == words
    assert PhaseDeviation(np.zeros((2, 2), np.float32), median_rad, 16, lower_bound).words == words
