import numpy as np
import pytest

from ptylive.engine.calibrate.sign import LEAST_POINTS, TRUSTED_SIGN, detail_correlation, ranked, settles


def test_equal_values_share_the_mean_of_theirranked():
    from scipy import stats  # takes half a second, so it is not imported in every process that collects tests

    np.testing.assert_array_equal(ranked(np.array([3.0, 1.0, 3.0, 7.0])), [2.5, 1.0, 2.5, 4.0])
    values = np.random.default_rng(0).integers(0, 40, 300).astype(float)
    np.testing.assert_array_equal(ranked(values), stats.rankdata(values))


@pytest.fixture
def atoms():
    return np.random.default_rng(1).random((24, 24))


def test_the_sign_is_that_of_the_detail(atoms):
    from scipy import stats

    everywhere = np.ones(atoms.shape, dtype=bool)
    assert detail_correlation(atoms, np.exp(20 * atoms), everywhere) > 0.9  # ranks: any rising function works; of 1
    assert detail_correlation(-atoms, np.exp(20 * atoms), everywhere) < -0.9
    ramp = 0.1 * np.arange(24.0) * np.ones((24, 1))
    # only the signs matter: slow changes correlate by more than 0.5, the remaining detail by less than -0.5
    assert stats.spearmanr(atoms + ramp, ramp - atoms, axis=None).statistic > 0.5
    assert detail_correlation(atoms + ramp, ramp - atoms, everywhere) < -0.5


def test_too_few_points_say_nothing(atoms):
    few = np.zeros(atoms.shape, dtype=bool)
    few.flat[: LEAST_POINTS - 1] = True
    assert detail_correlation(atoms, atoms, few) == 0.0


def test_a_small_scan_needs_a_stronger_correlation():
    above = 1.1 * TRUSTED_SIGN
    assert settles(above, 100_000) and settles(-above, 100_000)
    assert not settles(above, 100)
    assert not settles(0.9 * TRUSTED_SIGN, 100_000)
