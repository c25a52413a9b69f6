"""How far the power of rings is believed to be signal: noise alone by chance, and signal that is weak."""

import numpy as np
import pytest

from ptylive.engine.imaging.noise import ring_floor, ring_sum, sureness

RINGS, COUNT = 400, 100


def measured(signal_to_noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Signal to noise of rings of COUNT frequencies each, as it is measured, and what of it is believed."""
    rng = np.random.default_rng(5)
    ring = np.repeat(np.arange(RINGS), COUNT)
    power = rng.exponential(1 + signal_to_noise, ring.size)
    floor = ring_floor(ring, rng.exponential(1.0, ring.size), np.ones(ring.size, dtype=bool))
    excess = np.maximum(ring_sum(ring, power) - floor, 0.0)
    return excess / floor, excess * sureness(excess, floor, np.full(RINGS, float(COUNT))) / floor


def test_noise_alone_is_hardly_believed() -> None:
    """Its standard error is 1.75 / sqrt(100) = 0.18: the largest of 400 is three times that, and the mean a fifth."""
    _, believed = measured(0.0)
    assert believed.mean() < 0.04
    assert np.median(believed) < 0.002


@pytest.mark.parametrize("signal_to_noise", [1.0, 3.0, 30.0])
def test_what_is_sure_stays_as_it_is(signal_to_noise: float) -> None:
    """At 1 it is 5.7 standard errors: 0.985 of it are believed, of rings two of their standard errors below it 0.93."""
    plain, believed = measured(signal_to_noise)
    assert 0.95 * plain.mean() < believed.mean() <= plain.mean()


def test_without_noise_all_is_signal() -> None:
    given = np.array([0.0, 1e-9, 3.0])
    np.testing.assert_array_equal(sureness(given, np.zeros(3), np.ones(3)), 1.0)


def test_two_standard_errors_are_half_believed() -> None:
    count = np.array([4.0, 400.0])
    error = np.hypot(1, 1 / np.log(2)) / np.sqrt(count)
    np.testing.assert_allclose(sureness(2 * error, np.ones(2), count), 0.5)
