"""Information limits of a map: how fine it is, and how fine it would be with a higher dose."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.schema import LiveMap
from ptylive.schema.maps import DOSES, LEAST_CORRELATION, InformationLimit, RingQuality, _at_dose

STEP_A, SIDE, RINGS = 0.5, 64, 14
AREA = (STEP_A * SIDE) ** 2
FREQUENCY = (np.arange(RINGS) + 0.5) * 0.5 / STEP_A / RINGS


def quality_of(correlation):
    return RingQuality(FREQUENCY, np.zeros(RINGS), np.asarray(correlation, dtype=float))


def correlation_of(ratio):
    """Correlation of two halves whose signal has ``ratio`` times the power of their noise."""
    return ratio / (1 + ratio)


def falling(dose):
    """Signal over noise that decreases exponentially, as by thermal damping."""
    return dose * 4.0 * np.exp(-FREQUENCY / 0.12)


def test_more_dose_is_what_a_scan_of_that_dose_shows():
    for dose in (1.0, 2.0, 4.0, 16.0):
        told = quality_of(correlation_of(falling(1.0))).expected(dose, AREA)
        ratio = LEAST_CORRELATION / (1 - LEAST_CORRELATION)
        exact = 0.12 * np.log(dose * 4.0 / ratio)
        # the limit is read between means over three rings, one ring apart: well within a ring's width of the truth
        assert abs(1 / told.period_A - exact) < 0.3 * (FREQUENCY[1] - FREQUENCY[0])


def measured(rng, ratio):
    """Correlation of two noisy halves on the rings of a map, with the number of frequencies of its field."""
    rows, columns = np.fft.fftfreq(SIDE, STEP_A)[:, None], np.fft.rfftfreq(SIDE, STEP_A)[None]
    ring = (np.hypot(rows, columns) / FREQUENCY[0] / 2).astype(int)
    out = []
    for number in range(RINGS):
        count = int((ring == number).sum())
        signal, *noises = rng.normal(size=(3, count)) + 1j * rng.normal(size=(3, count))
        first, second = (signal * np.sqrt(ratio[number]) + noise for noise in noises)
        power = np.sqrt((np.abs(first) ** 2).sum() * (np.abs(second) ** 2).sum())
        out.append((first * second.conj()).real.sum() / power)
    return quality_of(out)


@pytest.mark.parametrize("dose", quick_first([4.0, 1.0]))
def test_the_uncertainty_is_how_far_scans_scatter(dose):
    """With new noise in each scan, predictions for a dose scatter about the truth as their uncertainty says."""
    rng = np.random.default_rng(20261123)
    told = [measured(rng, falling(1.0)).expected(dose, AREA) for _ in range(200)]
    truth = quality_of(correlation_of(falling(1.0))).expected(dose, AREA).period_A
    off = np.array([(one.period_A - truth) / one.uncertainty_A for one in told if one.is_known])
    assert len(off) > 150
    # 200 scans determine a standard error of 1 to 5 %; errors of a ratio are not Gaussian, and rings share members
    assert 0.5 < np.sqrt(np.mean(np.clip(off, -4, 4) ** 2)) < 1.6
    assert abs(np.median(off)) < 0.5


def test_beams_that_lie_in_one_ring_are_carried():
    """As for a lattice: no signal in the two neighbouring rings."""
    correlation = np.zeros(RINGS)
    correlation[4] = 0.9
    alone = correlation.copy()
    alone[10] = 0.6  # of 170 frequencies: 13 errors, and a mean of 0.20 +- 0.03
    limit = quality_of(alone).expected(1.0, AREA)
    assert 1 / FREQUENCY[12] < limit.period_A < 1 / FREQUENCY[10]
    alone[10] = 0.35
    assert quality_of(alone).expected(1.0, AREA) == quality_of(correlation).expected(1.0, AREA), "that may be chance"


@pytest.mark.parametrize(("beams", "carried"), [(0, False), (1, False), (2, True)])
def test_two_beams_make_a_ring_sure_that_its_mean_does_not(beams, carried):
    """One frequency alone may be interference in the scan."""
    correlation, found = np.zeros(RINGS), np.zeros(RINGS)
    correlation[4], correlation[10], found[10] = 0.9, 0.35, beams
    without = quality_of(correlation)
    limit = replace(without, beams=found).expected(1.0, AREA)
    assert (limit.period_A < 1 / FREQUENCY[10]) == carried
    assert (limit == without.expected(1.0, AREA)) == (not carried)
    correlation[10] = 0.9 * LEAST_CORRELATION
    assert replace(without, beams=found).expected(1.0, AREA) == without.expected(1.0, AREA), "halves must agree, too"


def test_what_carries_nothing_stays_without_signal():
    nothing = quality_of(np.full(RINGS, -0.02))
    assert nothing.expected(1000.0, AREA).period_A == pytest.approx(1 / FREQUENCY[0])


def test_a_map_that_carries_all_that_its_step_shows_says_so():
    told = quality_of(np.full(RINGS, 0.9)).expected(1.0, AREA)
    assert (told.finer, told.period_A, told.uncertainty_A) == (True, pytest.approx(1 / FREQUENCY[-1]), 0.0)


def test_a_small_field_cannot_tell():
    wide, small = (quality_of(correlation_of(falling(1.0))).expected(4.0, area) for area in (AREA, AREA / 200))
    assert wide.is_known
    assert not small.is_known
    assert wide.period_A == small.period_A


def test_only_maps_that_know_their_rings_tell_it():
    data = np.zeros((SIDE, SIDE), np.float32)
    quality = quality_of(correlation_of(falling(1.0)))
    known = LiveMap("obf", data, "rad", (STEP_A, STEP_A), 1, "OBF", quality=quality)
    limits = known.information_limits()
    assert tuple(limits) == DOSES
    assert limits[4.0] == quality.expected(4.0, AREA)
    half = LiveMap("obf", data, "rad", (STEP_A, STEP_A), 1, "OBF", quality=quality, visited=0.5)
    assert half.information_limits()[4.0] == quality.expected(4.0, AREA / 2), "there are fewer frequencies to tell by"
    assert limits[1.0].period_A > limits[2.0].period_A > limits[4.0].period_A
    assert LiveMap("adf", data, "counts", (STEP_A, STEP_A), 1, "sum").information_limits() == {}
    assert LiveMap("obf", data, "rad", None, 1, "OBF", quality=quality).information_limits() == {}
    assert LiveMap("obf", data, "rad", (1.0, 1.0), 1, "OBF", quality=quality, buried=True).information_limits() == {}
    one_ring = RingQuality(FREQUENCY[:1], np.zeros(1), np.ones(1))
    assert LiveMap("obf", data, "rad", (STEP_A, STEP_A), 1, "OBF", quality=one_ring).information_limits() == {}


@pytest.mark.parametrize(("doubt", "known"), [(0.2, True), (0.3, False)])
def test_a_limit_with_too_much_doubt_is_none(doubt, known):
    assert InformationLimit(1.0, doubt).is_known is known


@pytest.mark.parametrize("correlation", [-1.0, -0.5, 0.0])
def test_what_is_no_signal_stays_none_at_any_dose(correlation):
    with np.errstate(all="raise"):  # at the dose that would give a ratio of -1
        found = _at_dose(np.full(RINGS, correlation), (1 - correlation) / max(-correlation, 0.5))
    assert (found == correlation).all()
