"""Gains of frequency bands fitted to held-out patterns, compared with least squares against the truth."""

import numpy as np
import pytest

from ptylive.engine.dgp.ring_gains import HIGHEST, Bands, fitted_gains
from ptylive.engine.refine.results.gain import Gain

SHAPE, GROUPS = (48, 40), 16
BANDS = Bands(SHAPE, 8)
SINGLE = float(np.finfo(np.float32).eps)


def picture(seed):
    return np.random.default_rng(seed).standard_normal((2, *SHAPE)).astype(np.float32)


def squares(differences):
    """Loss (groups,) whose gradient is the difference itself."""
    return (differences**2).sum(axis=(1, 2, 3)) / 2


def gains_of(found, truth, noise):
    """Gains for a loss of half the squared distance from the truth, seen by each group with noise of its own."""
    seen = truth + noise * np.random.default_rng(7).standard_normal((GROUPS, *truth.shape))

    gains, before, after = fitted_gains(BANDS, found, lambda images: (squares(images - seen), images - seen))
    return gains, Gain.over(before, after)


def test_bands_add_up_and_leave_the_mean():
    images = picture(1) + 3
    # transforms in single precision: a few eps of the largest value
    np.testing.assert_allclose(BANDS.scaled(images, np.ones(9)), images, atol=16 * SINGLE * np.abs(images).max())
    nothing = BANDS.scaled(images, np.zeros(9))
    means = np.broadcast_to(images.mean(axis=(1, 2), keepdims=True), images.shape)
    np.testing.assert_allclose(nothing, means, atol=1e-5)


def test_slopes_are_those_of_the_loss():
    images, weight = picture(2), picture(3).astype(np.float64)
    slopes = BANDS.slopes(weight[None], images)[0]
    for band in (0, 3, 8):
        gains = np.ones(9)
        gains[band] = 1.5
        change = (weight * (BANDS.scaled(images, gains).astype(np.float64) - images)).sum()
        assert slopes[band] == pytest.approx(2 * change, abs=1e-3)  # sums of 3840 products in single precision


def test_what_is_shown_too_weakly_is_raised_and_noise_is_taken_away():
    truth, noise = picture(4), picture(5)
    parts = np.linspace(0, 1, 9)
    low, high = BANDS.scaled(noise, 1 - parts), BANDS.scaled(truth, parts)
    found = low + 0.5 * high
    gains, gain = gains_of(found, high, noise=0.01)
    # for 0.5 n of truth and (1 - n) of noise, n from 0 to 1 in eighths, least squares give 0.5 n^2 / (0.25 n^2 + (1 -
    # n)^2)
    expected = 0.5 * parts**2 / (0.25 * parts**2 + (1 - parts) ** 2)
    np.testing.assert_allclose(gains[2:-1], expected[2:-1], atol=0.25)  # bands are wide, and have some 100 frequencies
    assert gains.max() <= HIGHEST
    assert gain.certain
    assert ((BANDS.scaled(found, gains) - high) ** 2).sum() < 0.6 * ((found - high) ** 2).sum()


def test_where_patterns_say_little_gains_stay_at_one():
    truth = picture(4)
    gains, gain = gains_of(0.5 * truth, truth, noise=1e4)
    np.testing.assert_allclose(gains, 1.0, atol=0.1)
    assert not gain.certain


@pytest.mark.parametrize("seed", range(4))
def test_what_gains_are_worth_is_told_by_patterns_that_they_were_not_fitted_to(seed):
    """Gains fitted to the noise of one group predict that group better and the other groups worse."""
    truth = picture(4)
    seen = truth + 3 * np.random.default_rng(seed).standard_normal((GROUPS, 2, *SHAPE))
    _, before, after = fitted_gains(BANDS, truth, lambda images: (squares(images - seen), images - seen))
    assert Gain.over(before, after).share < 0
