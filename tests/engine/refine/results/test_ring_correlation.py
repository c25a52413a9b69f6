"""Ring correlations of a validation, and images made ready for them."""

import numpy as np
import pytest

from ptylive.engine.refine.results.ring_correlation import Validation, faded, without_ramp

ROWS, COLUMNS = np.indices((16, 20))
RAMP = 3.0 - 0.2 * ROWS + 0.7 * COLUMNS
PICTURE = np.random.default_rng(0).normal(size=(16, 20))


def validation(halves, null, harmonics=(), resolution=(2.0, None)):
    at = np.isin(np.arange(len(halves)), harmonics)
    return Validation(np.arange(len(halves)) / 10, np.array(halves), np.array(null), at, 0.876, resolution)


def test_rings_are_trusted_up_to_the_first_fall():
    found = validation([1.0, 0.9, 0.3, 0.1, 0.9], [0.0, 0.0, 0.4, 0.0, 0.0])
    np.testing.assert_array_equal(found.trusted, [True, True, False, False, False])


def test_harmonics_prove_nothing_and_end_nothing():
    found = validation([1.0, 0.1, 0.9, 0.1, 0.9], [0.0] * 5, harmonics=(1,))
    np.testing.assert_array_equal(found.trusted, [True, False, True, False, False])


def test_the_summary_is_one_line():
    found = validation([1.0, 0.9], [0.3, 0.8], harmonics=(1,))
    assert found.summary() == (
        "halves of the data correlate 0.88; their ring correlation falls below 0.5 at 2.00 Å and stays above 0.143; "
        "shuffled patterns reach 0.30 away from harmonics of the scan"
    )
    fallen, high = (
        ((2.0, 1.25), "falls below 0.5 at 2.00 Å, below 0.143 at 1.25 Å;"),
        ((None, None), "stays above 0.5;"),
    )
    for resolution, words in (fallen, high):
        assert words in validation([1.0], [0.3], resolution=resolution).summary()
    assert "shuffled patterns reach 0.00" in validation([1.0], [0.3], harmonics=(0,)).summary()


@pytest.mark.parametrize("prepared", [faded, without_ramp])
def test_a_ramp_does_not_count(prepared):
    np.testing.assert_allclose(prepared(PICTURE + RAMP), prepared(PICTURE), atol=1e-9)


def test_a_ramp_may_be_fitted_where_the_picture_is_meaningful():
    spoilt, where = RAMP.copy(), np.ones((16, 20), dtype=bool)
    spoilt[:3], where[:3] = 1e3, False
    np.testing.assert_allclose(without_ramp(spoilt, where)[3:], 0.0, atol=1e-9)
    assert np.abs(without_ramp(spoilt)[3:]).max() > 1.0


def test_borders_fade_and_the_middle_of_a_faded_picture_is_left_alone():
    plain = without_ramp(PICTURE)
    np.testing.assert_allclose(faded(PICTURE)[4:12, 5:15], plain[4:12, 5:15])
    assert (np.abs(faded(PICTURE)[0]) < np.abs(plain[0])).all() and faded(PICTURE)[0].any(), "without zeros"
