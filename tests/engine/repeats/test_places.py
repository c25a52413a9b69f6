"""Scans sorted by place, summed and reported."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from repeated_maps import place, scanned

from ptylive.engine.repeats import Places
from ptylive.schema.advice.dose_curve import DoseCurve, Verdict

NOISE = 3.0


def drift(seed, count):
    return np.random.default_rng([seed, 2]).uniform(-3, 3, (count, 2)) * (np.arange(count) > 0)[:, None]


def repeats(seed, count, noise=NOISE):
    return [scanned(place(seed), tuple(shift), noise, 100 * seed + k) for k, shift in enumerate(drift(seed, count))]


@pytest.mark.slow
def test_what_four_scans_carry_is_what_the_first_predicted():
    """The first scan's interval, for 19 of 20 cases, must hold the value from four scans in at least 18 of 20 draws."""
    held, told = 0, 0
    for seed in range(20):
        places = Places()
        curve = [places.take(scan) for scan in repeats(seed, 4)][-1]
        assert curve.scans == 4, f"seed {seed}: {curve.line}"
        found, said = curve.measured[-1], curve.predicted[-1]
        told += said.limit_A is not None
        held += said.limit_A is None or said.finest_A - 1e-9 <= found.limit_A <= said.coarsest_A + 1e-9
        assert curve.verdict is Verdict.STEADY, f"seed {seed}: {curve.line}"
    assert told >= 18
    assert held >= 18


def test_more_scans_carry_more_and_the_shift_is_told():
    places = Places()
    scans = repeats(1, 6)
    curves = [places.take(scan) for scan in scans]
    limits = [point.limit_A for point in curves[-1].measured]
    assert limits[-1] < limits[0]
    assert [point.dose for point in curves[-1].measured] == [100.0, 200.0, 300.0, 400.0, 500.0, 600.0]
    assert [point.scans for point in curves[-1].expected] == [12, 24]
    assert curves[-1].expected[-1].dose == 2400.0
    assert curves[0].verdict is Verdict.ONE_SCAN
    np.testing.assert_allclose(curves[-1].shift_A, drift(1, 6)[-1] * 0.5, atol=0.15)
    mean = places.mean()
    assert mean.frames == 6 * 64**2
    assert mean.data.shape == (64, 64)
    inside = slice(8, -8)
    truth = scanned(place(1), (0, 0), 1e-6, 1).live_map.data[inside, inside]
    rest = [(one[inside, inside] - truth).std() for one in (mean.data, scans[0].live_map.data)]
    assert rest[0] < 1.15 * rest[1] / np.sqrt(6)  # splines between pixels smooth the maps, and borders cost some


@pytest.mark.parametrize("seed", quick_first(range(5)))
def test_other_places_are_not_added_and_both_are_remembered(seed):
    places = Places()
    first, other = repeats(seed, 3, 1.0), repeats(seed + 50, 2, 1.0)
    assert places.take(first[0]).scans == 1
    apart = places.take(other[0])
    assert apart.scans == 1
    assert "another place" in apart.line
    assert places.take(first[1]).series == (first[0].series, first[1].series)
    assert places.take(other[1]).scans == 2


def cut_off(scan, visited):
    """The same scan, ended early: the rest of its map is the mean of what it has seen."""
    rows = round(visited * len(scan.live_map.data))
    data = scan.live_map.data.copy()
    data[rows:] = data[:rows].mean()
    return replace(scan, uid=f"{scan.uid} cut", live_map=replace(scan.live_map, data=data, visited=visited))


@pytest.mark.parametrize("visited", [0.03, 0.6])
def test_a_scan_that_ended_early_makes_no_other_place_of_the_next_one(visited):
    """Regression: the complete copy of an aborted scan was said to show another place."""
    places = Places()
    aborted, first, second = repeats(1, 3, 1.0)
    curve = places.take(cut_off(aborted, visited))
    assert curve.scans == 1
    assert places.mean().data.shape == aborted.live_map.data.shape
    assert f"{100 * visited:.0f} % of its points were visited, too few to tell" in curve.line
    whole = places.take(first)
    assert "cannot be told" in whole.line
    assert "another place" not in whole.line
    assert places.take(second).series == (first.series, second.series)


def test_a_scan_that_ended_early_separates_no_repeats():
    places = Places()
    first, aborted, second = repeats(1, 3, 1.0)
    for scan in (first, cut_off(aborted, 0.5)):
        places.take(scan)
    curve = places.take(second)
    assert curve.series == (first.series, second.series)
    assert not curve.apart


def test_a_scan_that_lacks_a_few_frames_is_compared():
    places = Places()
    first, second = repeats(1, 2, 1.0)
    places.take(first)
    assert places.take(replace(second, live_map=replace(second.live_map, visited=0.97))).scans == 2


def test_other_optics_are_not_added():
    places = Places()
    first, second = repeats(2, 2, 1.0)
    places.take(first)
    curve = places.take(replace(second, optics=(80e3, 26.0)))
    assert curve.scans == 1
    assert "optics" in curve.apart


def test_a_specimen_that_fades_is_told_and_promises_nothing():
    places, field = Places(), place(4)
    for k in range(6):
        curve = places.take(scanned(field * 0.9**k, (0.3 * k, 0), 1.0, k))
    assert curve.verdict is Verdict.CHANGES
    assert curve.expected == ()
    assert "damage" in curve.line
    assert curve.measured[-1].limit_A >= curve.predicted[-1].limit_A


def test_the_same_recording_twice_counts_once():
    places = Places()
    scan = repeats(5, 1)[0]
    places.take(scan)
    curve = places.take(replace(scan, uid="copy"))
    assert curve.scans == 1
    assert "already included" in curve.line


def test_a_scan_whose_maps_are_made_again_takes_its_own_place():
    places = Places()
    scans = repeats(6, 3, 1.0)
    for scan in scans:
        curve = places.take(scan)
    again = places.take(replace(scans[2], series="again"))
    assert again.series == (scans[0].series, scans[1].series, "again")
    assert again.measured == curve.measured
    assert places.take(replace(scans[0], series="older")).series == again.series


def test_nothing_is_told_of_noise_or_of_a_map_without_quality():
    places = Places()
    scan = repeats(7, 1)[0]
    for live_map in (replace(scan.live_map, quality=None), replace(scan.live_map, buried=True)):
        bad = replace(scan, live_map=live_map)
        assert bad.problem
        assert places.take(bad) is None
    assert places.mean() is None


def test_a_curve_travels():
    places = Places()
    for scan in repeats(9, 3):
        curve = places.take(scan)
    assert DoseCurve.from_plain(curve.to_plain()) == curve
