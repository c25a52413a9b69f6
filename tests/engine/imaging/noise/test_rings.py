"""How far the power of a ring is believed to be signal, and how this varies with the noise from scan to scan."""

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.imaging.noise.rings import (
    BEAM,
    CAUTION,
    LEAST_PLAUSIBLE,
    NEAR,
    PLAUSIBLE,
    SURELY_PLAUSIBLE,
    WITHOUT_INNER_RING,
    Repeats,
    RingSignal,
    WeightedRings,
    passed_signal,
    power_of,
    ring_floor,
    ring_sum,
)

RINGS, COUNT = 400, 100


def measured(signal_to_noise: float) -> np.ndarray:
    """Measured signal to noise of rings of COUNT frequencies each."""
    rng = np.random.default_rng(5)
    ring = np.repeat(np.arange(RINGS), COUNT)
    power = rng.exponential(1 + signal_to_noise, ring.size)
    floor = ring_floor(ring, rng.exponential(1.0, ring.size), np.ones(ring.size, dtype=bool))
    return (ring_sum(ring, power) - floor) / floor


def signal_of(seen: np.ndarray, plausible: float, count: float = COUNT) -> RingSignal:
    """Signal of rings for which the given number of standard errors is plausible."""
    ones = np.ones(len(seen))
    return RingSignal(seen, count * ones, plausible * np.sqrt(2 / count) * ones, ones > 0, ones > 1)


def believed(seen: np.ndarray, plausible: float, count: float = COUNT) -> np.ndarray:
    """Believed signal of such rings."""
    return signal_of(seen, plausible, count).believed(seen)


def test_noise_alone_is_hardly_believed() -> None:
    """Where a standard error, 0.14, is plausible; far less is believed where next to nothing is plausible."""
    seen = measured(0.0)
    assert np.median(believed(seen, 1.0)) < 0.4 * np.sqrt(2 / COUNT)
    assert believed(seen, 0.03).mean() < 0.04


@pytest.mark.parametrize("signal_to_noise", [1.0, 3.0, 30.0])
def test_what_is_sure_stays_as_it_is(signal_to_noise: float) -> None:
    """A signal to noise of 1 is seven standard errors of a ring without signal, five of its own."""
    seen = measured(signal_to_noise)
    assert 0.9 * seen.mean() < believed(seen, 0.03).mean() <= seen.mean()
    assert believed(np.array([1e9]), 1.0) == pytest.approx(1e9, rel=0.01)


def test_what_nothing_further_in_lets_expect_has_to_be_surer() -> None:
    """Tested at three standard errors, with a prior density that falls off as 1 / x^2 beyond what is plausible."""
    error = np.sqrt(2 / COUNT)
    found = [believed(np.array([3 * error]), plausible)[0] / error for plausible in (3.0, 0.3, 0.003)]
    assert found[0] > 2.0 > found[1] > 0.7 > 0.1 > found[2]


def test_a_filter_is_more_cautious_than_what_is_said_of_its_noise() -> None:
    seen = np.array([0.2])
    signal = signal_of(seen, 1.0)
    true, likely = signal._underlying(seen, CAUTION * signal.plausible)
    assert signal.believed(seen) == pytest.approx((true * likely).sum())
    repeats = signal.repeats()
    assert (repeats.true * repeats.likely).sum() > 1.3 * signal.believed(seen)[0]


def rings_of(information: list[float]) -> WeightedRings:
    """Rings of COUNT frequencies with the given information."""
    return WeightedRings(np.repeat(np.arange(len(information)), COUNT), np.repeat(information, COUNT))


def test_what_is_plausible_comes_from_further_in() -> None:
    """The power of the phase is the excess over the floor, divided by the information."""
    rings, error = rings_of([2.0, 1.0, 0.05]), np.sqrt(2 / COUNT)
    floor, excess = np.array([1.0, 1.5, 2.0]) * COUNT, np.array([4.0, 0.9, 7.0]) * COUNT
    found = rings.signal(excess, floor, 1.0)
    np.testing.assert_allclose(found.observed, [4.0, 0.6, 3.5])
    level = floor / rings.variance
    power, unsure = level * found.observed, level * error
    assert found.plausible[0] == pytest.approx(WITHOUT_INNER_RING * error)
    assert found.plausible[1] == pytest.approx(PLAUSIBLE * (power[0] + unsure[0]) / level[1])
    near = np.exp(-0.5 * (np.array([2, 1]) / NEAR) ** 2) / unsure[:2] ** 2
    near /= near.sum()
    expected = near @ power[:2] + np.sqrt(near**2 @ unsure[:2] ** 2)
    assert found.plausible[2] == pytest.approx(PLAUSIBLE * expected / level[2])
    assert found.plausible[2] < 0.2 * error


def test_frequencies_of_a_padded_scan_are_not_all_independent() -> None:
    rings, ones = rings_of([1.0, 1.0]), np.full(2, float(COUNT))
    np.testing.assert_allclose(rings.signal(ones, ones, 0.5).count, 0.5 * COUNT)
    np.testing.assert_allclose(rings.signal(ones, ones, 1e-9).count, 1.0)


def test_rings_without_noise_or_without_frequencies_tell_nothing() -> None:
    """Nor do they change what is plausible in other rings."""
    floor, excess = np.array([1.0, 0.0, 0.0, 1.0]) * COUNT, np.array([1.0, 5.0, 0.0, 0.0]) * COUNT
    found = rings_of([1.0, 1.0, 1.0, 1.0]).signal(excess, floor, 1.0)
    assert found.measured.tolist() == [True, False, False, True] and found.pure.tolist() == [False, True, False, False]
    assert np.isfinite(found.believed(found.observed)).all()
    error = np.sqrt(2 / COUNT)
    assert found.plausible[3] == pytest.approx(PLAUSIBLE * (1.0 + error))


def test_the_table_of_what_others_find_is_what_it_is_read_from() -> None:
    for seen, plausible in ((np.array([0.0, 0.4, 30.0]), 1.0), (np.array([-0.1, 0.2, 2.0]), 0.01)):
        signal = signal_of(seen, plausible)
        repeats = signal.repeats()
        table, exact = signal.believed_of(repeats), signal.believed(repeats.found)
        assert table.shape == repeats.found.shape
        weight = repeats.likely[..., None] * repeats.chance
        np.testing.assert_allclose((weight * table).sum(axis=(1, 2)), (weight * exact).sum(axis=(1, 2)), rtol=0.02)


def passed(excess: list[float], response: list[float] | None = None) -> RingSignal:
    """Signal of rings of COUNT frequencies with the given excess over their noise."""
    ones = np.ones(len(excess))
    return passed_signal(np.array(excess), ones, COUNT * ones, ones if response is None else np.array(response))


def repeats_of(signal_to_noise: float) -> Repeats:
    return signal_of(measured(signal_to_noise), 0.3).repeats()


def test_a_weight_that_is_always_the_same_scatters_nothing() -> None:
    repeats = repeats_of(0.0)
    np.testing.assert_allclose(repeats.likely.sum(axis=1), 1.0)
    gain = np.full((*repeats.found.shape, 1), 0.7)
    np.testing.assert_allclose(repeats.noise_gain(gain), 0.7, rtol=1e-12)


def test_of_rings_that_are_passed_what_others_surely_show_is_plausible() -> None:
    """The power of the phase is compared: where a quarter of it is transferred, a quarter shows."""
    error = np.sqrt(2 / COUNT)
    found = passed([2.0, 0.0, 0.0], [1.0, 0.25, 1.0])
    assert found.plausible[0] == pytest.approx(WITHOUT_INNER_RING * error), "nothing is further in"
    assert found.plausible[1] == pytest.approx(0.25 * SURELY_PLAUSIBLE * (2.0 - error))
    assert passed([0.9 * error, 0.0]).plausible[1] == pytest.approx(LEAST_PLAUSIBLE * error), "that may be chance"
    assert not passed([2.0, 2.0], [1.0, 0.0]).measured[1]
    np.testing.assert_allclose(found.count, COUNT)


@pytest.mark.parametrize("weight", [lambda t: t / (1 + t), lambda t: (t > 0.3) * 1.0], ids=["share", "all or nothing"])
def test_weights_that_follow_the_data_scatter_as_they_do(weight) -> None:
    """Half of the rings exceed what is plausible; 4000 of them give the mean to a few per cent."""
    rng, rings, scans = np.random.default_rng(8), 4000, 60
    error, plausible = np.sqrt(2 / COUNT), 0.3
    true = np.minimum(error * plausible * np.tan(0.5 * np.pi * rng.random(rings)), 30 * error)
    power = rng.noncentral_chisquare(2 * COUNT, 2 * COUNT * true, (scans, rings)) / (2 * COUNT)
    found = power / rng.gamma(COUNT, 1 / COUNT, (scans, rings)) - 1
    gain = weight(np.maximum(found, 0.0))
    scatter = (gain**2).mean(axis=0) * (1 + true) - true * gain.mean(axis=0) ** 2
    repeats = signal_of(found[0], plausible).repeats()
    told = repeats.noise_gain(weight(np.maximum(repeats.found, 0.0))[..., None])[:, 0] ** 2
    assert told.mean() == pytest.approx(scatter.mean(), rel=0.1)
    weak = true < error
    assert told[weak].mean() == pytest.approx(scatter[weak].mean(), rel=0.5)
    assert told[weak].std() < 0.7 * (gain[0][weak] ** 2).std(), "the scan's own weight is a matter of luck"


@pytest.mark.parametrize("plausible", quick_first([3.0, 0.3]))
def test_weights_that_are_cautious_scatter_as_they_do(plausible: float) -> None:
    """Half of the rings exceed what is plausible; beyond thirty errors all weights are alike."""
    rng, rings, scans = np.random.default_rng(9), 2000, 20
    error = np.sqrt(2 / COUNT)
    true = np.minimum(error * plausible * np.tan(0.5 * np.pi * rng.random(rings)), 30 * error)
    power = rng.noncentral_chisquare(2 * COUNT, 2 * COUNT * true, (scans, rings)) / (2 * COUNT)
    found = power / rng.gamma(COUNT, 1 / COUNT, (scans, rings)) - 1
    signal = signal_of(found[0], plausible)

    def weight(seen):
        return seen / (1 + seen)

    gain = weight(signal.believed(found.T)).T
    scatter = (gain**2).mean(axis=0) * (1 + true) - true * gain.mean(axis=0) ** 2
    repeats = signal.repeats()
    told = repeats.noise_gain(weight(signal.believed_of(repeats))[..., None])[:, 0] ** 2
    weak = true < 3 * error
    assert told.mean() == pytest.approx(scatter.mean(), rel=0.1)
    assert told[weak].mean() == pytest.approx(scatter[weak].mean(), rel=0.4)


def test_one_scan_says_of_weak_rings_what_others_do() -> None:
    """Without signal, chance decides a scan's own weight; the estimate of its scatter varies far less."""
    repeats = repeats_of(0.0)
    gain = np.maximum(repeats.found, 0.0)[..., None]
    told = repeats.noise_gain(gain)[:, 0]
    own = np.maximum(measured(0.0), 0.0)
    assert told.std() / told.mean() < 0.5 < 1.0 < own.std() / own.mean()


def test_far_below_the_floor_nothing_is_there() -> None:
    repeats = signal_of(np.array([-0.9]), 0.01, 1e6).repeats()
    assert np.isfinite(repeats.likely).all() and float((repeats.likely * repeats.true).sum()) < 1e-3


def test_beams_in_a_map_of_noise_are_cut() -> None:
    """One frequency in fifty is a thousand times as strong; the share exp(-4) cut from pure noise is put back."""
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
