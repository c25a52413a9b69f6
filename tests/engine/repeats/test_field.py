"""Spectra on a common field of view."""

import numpy as np
import pytest
from repeated_maps import SIDE, place, scanned

from ptylive.engine.repeats.field import CommonField, without_ramp


def powers(shifts, noise=0.5, count=3, seed=1):
    field = place(seed)
    scans = [scanned(field, shift, noise, 10 * seed + k) for k, shift in enumerate(shifts[:count])]
    return CommonField.of([scan.live_map for scan in scans], [np.array(shift) for shift in shifts[:count]]).powers()


def test_a_ramp_is_taken_out():
    row, col = np.indices((20, 31))
    np.testing.assert_allclose(without_ramp(3 + 0.2 * row - 0.7 * col), 0, atol=1e-12)


def test_maps_that_were_moved_fit_again():
    """Without noise their spectra are equal except for what moved in at the border, which the window lets through."""
    shifts = [(0.0, 0.0), (2.4, -3.0), (-1.5, 0.3)]
    made = powers(shifts, noise=1e-3)
    seen = slice(2, 6)  # coarser rings are affected by the border, finer ones are empty
    ratio = made.products[seen, 0, 1] / np.sqrt(made.products[seen, 0, 0] * made.products[seen, 1, 1])
    assert (ratio > 0.97).all()
    unmoved = CommonField.of(
        [scanned(place(1), shift, 1e-3, k).live_map for k, shift in enumerate(shifts)], [np.zeros(2)] * 3
    ).powers()
    assert (unmoved.products[4:6, 0, 1] < 0.5 * unmoved.products[4:6, 0, 0]).all()


def test_signal_and_noise_are_told_apart():
    """The noise found is the noise put in; more scans give the same signal and noise, known more precisely."""
    made = powers([(0.0, 0.0)] * 6, noise=0.5, count=6)
    assert made.products.shape[1:] == (6, 6)
    quality, two = made.quality, made.of_first(2)
    first = two.products[:, 0, 1] / np.sqrt(two.products[:, 0, 0] * two.products[:, 1, 1])
    np.testing.assert_allclose(two.quality.half_data_correlation[1:9], first[1:9], atol=0.03)
    assert (quality.half_data_correlation[1:9] > two.quality.half_data_correlation[1:9]).all()
    wanted = 3 * first / (1 - first)  # six scans have three times the ratio of two
    np.testing.assert_allclose(quality.half_data_correlation[1:9], (wanted / (1 + wanted))[1:9], atol=0.06)
    # rings of pure noise: within four standard errors of a correlation by chance
    assert (np.abs(two.quality.half_data_correlation[10:]) < 4 / np.sqrt(2 * made.independent[10:])).all()


def test_independent_frequencies_are_as_many_as_chance_shows():
    """Correlations of maps of pure noise scatter by 1 / sqrt(2 n), here over 50 pairs."""
    found = []
    for seed in range(50):
        scans = [scanned(np.zeros((3 * SIDE,) * 2), (0, 0), 1.0, 2 * seed + k).live_map for k in range(2)]
        made = CommonField.of(scans, [np.zeros(2)] * 2).powers()
        found.append(made.products[:, 0, 1] / np.sqrt(made.products[:, 0, 0] * made.products[:, 1, 1]))
    spread = np.sqrt((np.array(found)[:, 3:] ** 2).mean(axis=0) * 2 * made.independent[3:])
    assert 0.93 < spread.mean() < 1.07  # 50 pairs of 11 rings: 0.03


def test_too_little_in_common():
    scans = [scanned(place(1), (0, 0), 0.5, k).live_map for k in range(2)]
    assert CommonField.of(scans, [np.zeros(2), np.array([50.0, 0.0])]) is None


def test_a_map_without_quality_is_refused():
    from dataclasses import replace

    one = replace(scanned(place(1), (0, 0), 0.5, 1).live_map, quality=None)
    with pytest.raises(ValueError, match="not measured"):
        CommonField.of([one, one], [np.zeros(2)] * 2)
