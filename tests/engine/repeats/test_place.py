"""Scans of one place: bounds, doses, and the newest one forgotten."""

from dataclasses import replace

import numpy as np
import pytest
from repeated_maps import place, scanned

from ptylive.engine.repeats.place import MOST_SCANS, Place


def scans_of(seed, doses):
    return [replace(scanned(place(seed), (k, 0), 1.0, k), dose=dose) for k, dose in enumerate(doses)]


def added(scans):
    one = Place(scans[:1])
    for scan in scans[1:]:
        one.add(scan, one.compare(scan))
    return one


def test_scans_are_bounded():
    field = place(8)
    one = Place([scanned(field, (0, 0), 1.0, 0)])
    for k in range(1, MOST_SCANS + 3):
        scan = scanned(field, (0.5 * k, 0), 1.0, k)
        one.add(scan, one.compare(scan))
    assert len(one.scans) == MOST_SCANS
    assert one.scans[0].series == "scan3"
    np.testing.assert_allclose(one.shifts_px[0], 0)
    np.testing.assert_allclose(one.shifts_px[-1], (0.5 * (MOST_SCANS - 1), 0), atol=0.5)


def test_doses_add_up_and_further_ones_are_the_mean():
    curve = added(scans_of(1, (100.0, 200.0, 300.0))).curve()
    assert [point.dose for point in curve.measured] == [100.0, 300.0, 600.0]
    assert [(point.scans, point.dose) for point in curve.expected] == [(6, 1200.0), (12, 2400.0)]
    # what the first lets expect goes with the dose, not with the number of scans
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
