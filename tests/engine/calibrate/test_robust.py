"""Weights of robust fits, and what counts as better on parts that were left out."""

import numpy as np
import pytest

from ptylive.engine.calibrate.robust import HUBER, OF_MEDIAN, huber_weights, is_significant


def test_the_scale_of_the_weights_is_that_of_a_normal_distribution():
    draws = np.abs(np.random.default_rng(1).normal(0.0, 3.0, 100_000))  # their median is known to 0.4 %
    assert OF_MEDIAN * np.median(draws) == pytest.approx(3.0, rel=0.015)


def test_residuals_beyond_the_limit_pull_as_hard_as_one_at_it():
    residuals = np.array([[0.0, 1.0, HUBER * OF_MEDIAN, 4.0, 400.0], [0.0, 2.0, 2 * HUBER * OF_MEDIAN, 8.0, 800.0]])
    weights = huber_weights(residuals, np.array([[1.0], [2.0]]))
    assert weights[:, :3] == pytest.approx(np.ones((2, 3)))
    assert (weights * residuals)[:, 3:] == pytest.approx(HUBER * OF_MEDIAN * np.array([[1.0, 1.0], [2.0, 2.0]]))


def test_a_perfect_fit_has_weights():
    assert np.isfinite(huber_weights(np.zeros((1, 4)), np.zeros((1, 1)))).all()


@pytest.mark.parametrize(("gain", "errors", "expected"), [(1.0, 2.0, True), (1.0, 4.0, False), (-1.0, 2.0, False)])
def test_a_gain_is_compared_with_the_standard_error_of_its_mean(gain, errors, expected):
    parts = np.array([-1.0, 0.0, 1.0])  # standard error of the mean 1 / 3^0.5
    assert is_significant(gain * 1.5 + parts, errors) is expected


def test_two_parts_decide_nothing():
    assert not is_significant(np.array([1.0, 1.0]))
    assert not is_significant(np.array([1.0]))
