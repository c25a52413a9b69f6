"""Registration of randomly drawn maps that were shifted."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first
from repeated_maps import lattice, place, scanned

from ptylive.engine.repeats.registration import register, signal_share
from ptylive.schema.maps import RingQuality


@pytest.mark.parametrize("seed", quick_first(range(6), 2))
def test_the_shift_is_found_between_pixels(seed):
    shift = np.random.default_rng([seed, 8]).uniform(-9, 9, 2)
    print(f"seed {seed}, shift {shift}")
    first, second = scanned(place(seed), (0, 0), 0.7, 1), scanned(place(seed), tuple(shift), 0.7, 2)
    found = register(first.live_map, second.live_map)
    np.testing.assert_allclose(found.shift_px, shift, atol=0.15)
    assert found.is_same_place
    assert abs(found.agreement - 1) < 4 * found.uncertainty


def test_smooth_maps_are_not_drawn_to_no_shift():
    """A stationary window would pull the shift of such maps halfway to 0."""
    field = place(3, blur_A=1.5)
    found = register(scanned(field, (0, 0), 0.02, 1).live_map, scanned(field, (8.0, -6.0), 0.02, 2).live_map)
    np.testing.assert_allclose(found.shift_px, (8.0, -6.0), atol=0.5)


@pytest.mark.parametrize("seed", quick_first(range(10), 3))
def test_other_places_do_not_agree(seed):
    first, second = scanned(place(seed), (0, 0), 0.3, 1), scanned(place(seed + 100), (0, 0), 0.3, 2)
    found = register(first.live_map, second.live_map)
    assert not found.is_same_place


def test_a_place_that_is_half_another_one_is_not_the_same():
    mixed = 0.5 * place(1) + np.sqrt(0.75) * place(2)
    found = register(scanned(place(1), (0, 0), 0.3, 1).live_map, scanned(mixed, (2, 1), 0.3, 2).live_map)
    assert found.is_sure
    assert found.agreement == pytest.approx(0.5, abs=4 * found.uncertainty)
    assert not found.is_same_place


def test_a_lattice_is_registered_up_to_its_period():
    made = lattice(8.0)
    found = register(scanned(made, (0, 0), 0.5, 1).live_map, scanned(made, (3.0, 2.0), 0.5, 2).live_map)
    np.testing.assert_allclose((found.shift_px - (3.0, 2.0) + 4) % 8 - 4, 0, atol=0.2)
    assert found.is_same_place


def test_noise_alone_is_no_place():
    nothing = np.zeros((192, 192))
    found = register(scanned(nothing, (0, 0), 1.0, 1).live_map, scanned(nothing, (0, 0), 1.0, 2).live_map)
    assert found is None or not found.is_sure


def test_shares_are_those_of_the_whole():
    halves = np.full(8, 1 / 3)
    np.testing.assert_allclose(signal_share(RingQuality(np.arange(8) + 0.5, halves, halves)), 0.5)


def test_without_a_quality_there_is_nothing_to_weigh_by():
    one = scanned(place(1), (0, 0), 0.5, 1).live_map
    with pytest.raises(ValueError, match="not measured"):
        register(one, replace(one, quality=None))
    with pytest.raises(ValueError, match="without a scale"):
        register(replace(one, sampling_A=None), one)
    dead = replace(one.quality, half_data_correlation=np.zeros(14))
    assert register(one, replace(one, quality=dead)) is None
