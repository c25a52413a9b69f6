"""How far the power of rings is believed to be signal, and what that makes of noise from scan to scan."""

import numpy as np
import pytest

from ptylive.engine.imaging.noise import (
    BEAM,
    MOST_ERRORS,
    WEAK,
    WEAK_ERRORS,
    Repeats,
    WeightedRings,
    power_of,
    ring_floor,
    ring_sum,
    sureness,
)

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


def repeats_of(signal_to_noise: float, rings: int = RINGS) -> Repeats:
    excess, _ = measured(signal_to_noise)
    return Repeats.of(excess[:rings] * COUNT, np.full(rings, float(COUNT)), np.full(rings, float(COUNT)))


def test_a_weight_that_is_always_the_same_scatters_nothing() -> None:
    repeats = repeats_of(0.0)
    np.testing.assert_allclose(repeats.likely.sum(axis=1), 1.0)
    gain = np.full((*repeats.found.shape, 1), 0.7)
    np.testing.assert_allclose(repeats.noise_gain(gain), 0.7, rtol=1e-12)


@pytest.mark.parametrize("weight", [lambda t: t / (1 + t), lambda t: (t > 0.3) * 1.0], ids=["share", "all or nothing"])
def test_weights_that_follow_the_data_scatter_as_they_do(weight) -> None:
    """Of rings as they are taken to be, most of them of little signal; 4000 of them tell the mean to some per cent."""
    rng, rings, scans = np.random.default_rng(8), 4000, 60
    error = np.sqrt(2 / COUNT)
    true = error * np.where(
        rng.random(rings) < WEAK, rng.exponential(WEAK_ERRORS, rings), rng.uniform(0, MOST_ERRORS, rings)
    )
    power = rng.noncentral_chisquare(2 * COUNT, 2 * COUNT * true, (scans, rings)) / (2 * COUNT)
    found = power / rng.gamma(COUNT, 1 / COUNT, (scans, rings)) - 1
    gain = weight(np.maximum(found, 0.0))
    scatter = (gain**2).mean(axis=0) * (1 + true) - true * gain.mean(axis=0) ** 2
    ones = np.ones(rings)
    repeats = Repeats.of(found[0], ones, COUNT * ones)
    told = repeats.noise_gain(weight(np.maximum(repeats.found, 0.0))[..., None])[:, 0] ** 2
    assert told.mean() == pytest.approx(scatter.mean(), rel=0.1)
    weak = true < error
    assert told[weak].mean() == pytest.approx(scatter[weak].mean(), rel=0.5)
    assert told[weak].std() < 0.7 * (gain[0][weak] ** 2).std(), "the scan's own weight is a matter of luck"


def test_one_scan_says_of_weak_rings_what_others_do() -> None:
    """Where nothing is, chance decides the weight, and by far less what is told of it."""
    repeats = repeats_of(0.0)
    gain = np.maximum(repeats.found, 0.0)[..., None]
    told = repeats.noise_gain(gain)[:, 0]
    own = measured(0.0)[0]
    assert told.std() / told.mean() < 0.5 < 1.0 < own.std() / own.mean()


def test_far_below_the_floor_nothing_is_there() -> None:
    repeats = Repeats.of(np.array([-0.9e6]), np.array([1e6]), np.array([1e6]))
    assert np.isfinite(repeats.likely).all() and float((repeats.likely * repeats.true).sum()) < 1e-3


def test_beams_in_a_map_of_noise_are_cut() -> None:
    """One frequency in fifty, a thousand times as strong; what noise alone is cut by, exp(-4), is put back."""
    rng = np.random.default_rng(2)
    ring, variance = np.repeat(np.arange(3), 2000), rng.uniform(0.5, 2.0, 6000)
    noise = rng.normal(size=(6000, 2)).view(complex)[:, 0] * np.sqrt(variance / 2)
    rings = WeightedRings(ring, variance)
    floor = rings.floor(power_of(noise))
    beams = noise.copy()
    beams[::50] *= np.sqrt(1000)
    for one in (noise, beams):
        alone = rings.noise_alone(one, floor)
        np.testing.assert_allclose(rings.sum(power_of(alone)), floor, rtol=1e-6)
        assert (power_of(alone) <= 1.1 * BEAM * variance).all()
    np.testing.assert_allclose(rings.noise_alone(noise, floor)[1:50], noise[1:50], rtol=1.0)


def test_a_weight_that_changes_scatters_the_signal_too() -> None:
    """Half of the scans show a ring of signal 3 and noise 1: 1/2 of the noise, and (1/2 - 1/4) of the signal."""
    repeats = Repeats(np.full((1, 1), 3.0), np.ones((1, 1)), np.zeros((1, 1, 2)), np.array([0.5, 0.5]))
    gain = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    assert repeats.noise_gain(gain)[0, 0] ** 2 == pytest.approx(0.5 + 0.25 * 3)
    assert repeats.noise_gain(gain, np.full((1, 1, 1), 2.0))[0, 0] ** 2 == pytest.approx(0.5 + 0.25 * 6)
