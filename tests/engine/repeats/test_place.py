"""Scans of one place: bounds, doses, and dropping the newest scan."""

from dataclasses import replace

import numpy as np
import pytest
from repeated_maps import place, scanned

from ptylive.engine.repeats.place import Place


def scans_of(seed, doses):
    return [replace(scanned(place(seed), (k, 0), 1.0, k), dose=dose) for k, dose in enumerate(doses)]


def added(scans):
    one = Place(scans[:1])
    for scan in scans[1:]:
        one.add(scan, one.compare(scan))
    return one


def test_scans_are_bounded(monkeypatch):
    monkeypatch.setattr("ptylive.engine.repeats.place.MOST_SCANS", 4)
    field = place(8)
    one = Place([scanned(field, (0, 0), 1.0, 0)])
    for k in range(1, 4 + 3):
        scan = scanned(field, (0.5 * k, 0), 1.0, k)
        one.add(scan, one.compare(scan))
    assert len(one.scans) == 4
    assert one.scans[0].series == "scan3"
    np.testing.assert_allclose(one.shifts_px[0], 0)
    np.testing.assert_allclose(one.shifts_px[-1], (0.5 * 3, 0), atol=0.5)


def test_doses_add_up_and_further_ones_are_the_mean():
    curve = added(scans_of(1, (100.0, 200.0, 300.0))).curve()
    assert [point.dose for point in curve.measured] == [100.0, 300.0, 600.0]
    assert [(point.scans, point.dose) for point in curve.expected] == [(6, 1200.0), (12, 2400.0)]
    # the prediction from the first scan depends on the dose, not on the number of scans
    quality = added(scans_of(1, (100.0,))).scans[0].live_map.quality
    area = 64**2 * 0.25
    assert curve.predicted[2].limit_A == pytest.approx(1 / quality.crossings(6.0, area, 1.0)[0])


def test_of_an_unknown_dose_scans_are_counted():
    curve = added(scans_of(1, (100.0, None))).curve()
    assert [point.dose for point in curve.measured] == [None, None]
    assert [point.scans for point in curve.measured] == [1, 2]


def test_the_newest_is_forgotten():
    one = added(scans_of(2, (1.0, 1.0, 1.0)))
    one.drop_last()
    assert [scan.series for scan in one.scans] == ["scan0", "scan1"]
    assert len(one.shifts_px) == 2


def showing(scan, rings, correlation=None):
    """The same scan with a map that can show only ``rings`` rings."""
    quality = scan.live_map.quality
    shown = np.where(np.arange(len(quality.frequency_invA)) < rings, 200.0, 0.0)
    halves = quality.half_data_correlation if correlation is None else correlation * (shown > 0)
    known = replace(quality, half_data_correlation=halves, independent=shown)
    return replace(scan, live_map=replace(scan.live_map, quality=known))


def test_all_that_a_map_can_show_is_all_although_its_rings_go_on():
    """Rings in the corners are incomplete; once, only their agreement led to saying that more dose gains nothing."""
    scan = showing(scanned(place(1), (0, 0), 1.0, 0), 9, 0.95)
    curve = Place([scan]).curve()
    told = (*curve.measured, *curve.predicted, *curve.expected)
    np.testing.assert_allclose([point.limit_A for point in told], 1 / scan.live_map.quality.frequency_invA[8])
    assert all(point.finer for point in told)
    assert "more dose gains nothing" in curve.line


def test_a_sum_shows_no_more_rings_than_its_scans():
    """Leakage beyond the limit is alike in all scans, so their sum seemed to resolve what none of them can show."""
    one = added([showing(scan, rings, 0.95) for rings, scan in zip((9, 8), scans_of(1, (1.0, 1.0)), strict=True)])
    finest = float(one.scans[0].live_map.quality.frequency_invA[7])
    curve = one.curve()
    assert curve.measured[1].limit_A == pytest.approx(1 / finest)
    assert curve.measured[1].finer
    assert one.mean().quality.finest_invA == finest
