import math

import numpy as np
import pytest

from ptylive.engine.calibrate.sign import LEAST_POINTS, MOST_OPPOSITE, TRUSTED_SIGN, Agreement, agreement, ranked


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
    assert agreement(atoms, np.exp(20 * atoms), everywhere).correlation > 0.9  # ranks: any rising function works; of 1
    assert agreement(-atoms, np.exp(20 * atoms), everywhere).correlation < -0.9
    ramp = 0.1 * np.arange(24.0) * np.ones((24, 1))
    # only the signs matter: slow changes correlate by more than 0.5, the remaining detail by less than -0.5
    assert stats.spearmanr(atoms + ramp, ramp - atoms, axis=None).statistic > 0.5
    assert agreement(atoms + ramp, ramp - atoms, everywhere).correlation < -0.5


def test_too_few_points_say_nothing(atoms):
    few = np.zeros(atoms.shape, dtype=bool)
    few.flat[: LEAST_POINTS - 1] = True
    assert agreement(atoms, atoms, few).correlation == 0.0


def test_a_small_scan_needs_a_stronger_correlation():
    above = 1.1 * TRUSTED_SIGN
    assert Agreement(above, points=100_000).settles
    assert Agreement(-above, points=100_000).settles
    assert not Agreement(above, points=100).settles
    assert not Agreement(0.9 * TRUSTED_SIGN, points=100_000).settles


def test_a_correlation_leans_from_one_standard_deviation():
    assert Agreement(-0.06, points=400).leans
    assert not Agreement(0.04, points=400).leans


@pytest.mark.parametrize("sign", [1, -1])
def test_a_lattice_agrees_with_its_displaced_opposite_and_settles_nothing(sign):
    row, col = np.mgrid[:32, :32]
    lattice = np.cos(2 * np.pi * row / 8) * np.cos(2 * np.pi * col / 8)
    found = agreement(sign * lattice, lattice, np.ones(lattice.shape, dtype=bool))
    assert found.is_beyond_chance
    assert math.copysign(1, found.correlation) == sign
    assert found.opposite == pytest.approx(abs(found.correlation), rel=0.05)  # half a period aside
    assert not found.settles


@pytest.mark.parametrize("sign", [1, -1])
def test_an_irregular_specimen_has_no_opposite(atoms, sign):
    found = agreement(sign * atoms, atoms, np.ones(atoms.shape, dtype=bool))
    assert found.opposite < MOST_OPPOSITE * abs(found.correlation)
    assert found.settles
