"""Aliases of stronger frequencies, and beams of a lattice, in maps of noise and single frequencies."""

import numpy as np
import pytest

from ptylive.engine.imaging.noise.outstanding import ALIASED, MOST_UNEVEN, OUTSTANDING, SURPASSING, aliases, beams

FINER, SCAN = 4, 24
SIDE = FINER * SCAN


@pytest.fixture
def noise():
    """Powers of the frequencies of a map of noise, over their mean; the largest of 9216 is about 9."""
    return np.random.default_rng(5).exponential(size=(SIDE, SIDE)).astype(np.float32)


def equivalent(row, col):
    """Indices of the frequencies that a scan cannot tell from one."""
    return np.ix_(np.arange(row % SCAN, SIDE, SCAN), np.arange(col % SCAN, SIDE, SCAN))


def with_aliases(noise, at, power, share):
    """One frequency of a given power, its aliases within a factor 12 of their median."""
    out = noise.copy()
    uneven = np.random.default_rng(3).uniform(0.2, 1.0, (FINER, FINER))
    uneven[2, 1] = 7.0  # over the median, about 0.6: 12
    out[equivalent(*at)] = power * share * uneven
    out[at] = power
    return out


@pytest.mark.parametrize("share", [1e-4, 1e-3, 0.02])
def test_a_frequency_has_aliases_at_all_equivalent_places(noise, share):
    found = aliases(with_aliases(noise, (7, 3), 1e6, share), FINER)
    expected = np.zeros(found.shape, bool)
    expected[equivalent(7, 3)] = True
    expected[7, 3] = False
    np.testing.assert_array_equal(found, expected)


def test_a_second_true_frequency_is_no_alias(noise):
    """Beams of a lattice may be equivalent for a scan: those of gold at 1.44 and 1.02 Å in steps of 1.93 Å."""
    picture = with_aliases(noise, (7, 3), 1e6, 1e-4)
    picture[7, 3 + SCAN] = 0.037 * 1e6
    found = aliases(picture, FINER)
    assert not found[7, 3 + SCAN]
    assert found.sum() == FINER**2 - 2
    picture[7, 3 + SCAN] = 0.5 * MOST_UNEVEN * np.median(picture[equivalent(7, 3)])
    assert aliases(picture, FINER)[7, 3 + SCAN], "aliases differ as much"


def test_where_all_equivalent_frequencies_are_bright_the_weaker_ones_count_as_aliases(noise):
    """Nothing shows how far the shifts of the images suppress them."""
    picture = noise.copy()
    picture[equivalent(7, 3)] = 1000 * np.linspace(0.05, 1, FINER**2).reshape(FINER, FINER)
    found = aliases(picture, FINER)
    np.testing.assert_array_equal(found[equivalent(7, 3)].ravel(), np.linspace(0.05, 1, FINER**2) < ALIASED)


def test_noise_and_a_map_as_fine_as_the_scan_have_none(noise):
    assert not aliases(noise, FINER).any()
    assert not aliases(with_aliases(noise, (7, 3), 1e6, 1e-4), 1).any()


def told(*true):
    """What the detector tells: which of the signed frequencies are at their place; and the frequencies it was asked."""
    asked = []

    def share(places):
        asked.extend(map(tuple, places.tolist()))
        return np.array([1.0 if place in true else 0.0 for place in map(tuple, places.tolist())])

    return share, asked


def test_the_detector_judges_peaks_that_are_the_strongest_of_their_equivalents(noise):
    """Near the resolution limit an alias may be stronger than what it repeats, or its place is too fine for the map."""
    picture = with_aliases(with_aliases(noise, (7, 3), 1e6, 1e-4), (-5, 10), 1e5, 1e-4)
    picture[-5 - SCAN, 10] = 3e3  # a second true one of the same equivalents: not asked for
    share, asked = told((7, 3))
    found = aliases(picture, FINER, share)
    assert asked == [(7, 3), (-5, 10)], "strongest first"
    assert not found[7, 3] and found[-5, 10]
    assert not found[-5 - SCAN, 10]
    assert not aliases(picture, FINER)[-5, 10]


def test_what_the_window_makes_of_a_peak_is_judged_with_it(noise):
    """It spreads a frequency over two on each side."""
    picture, spread = noise.copy(), np.array([0.1, 0.5, 1.0, 0.5, 0.1])
    picture[20:25, 8:13] = 1e4 * np.outer(spread, spread)
    picture[22, 14] = 3 * OUTSTANDING  # at its place, beside it
    share, asked = told((22, 14))
    found = aliases(picture, FINER, share)
    assert asked == [(22, 10), (22, 14)]
    assert found[20:25, 8:13].all() and not found[20:25, 14].any()


def rings_of(side):
    """Rings of width 4."""
    axis = np.fft.fftfreq(side, 1 / side)
    return np.minimum(np.hypot(*np.meshgrid(axis, axis, indexing="ij")) // 4, 12).astype(int)


def placed(noise, *places):
    """Frequencies and their mirror images, twice as bright as noise can be."""
    out = noise.copy()
    for row, col in places:
        out[row, col] = out[-row, -col] = 2 * OUTSTANDING
    return out


def counted(to_noise, finer=FINER):
    return beams(to_noise, aliases(to_noise, finer), finer, rings_of(SIDE), 12).tolist()


def test_beams_are_counted_in_half_a_plane_with_those_of_neighbouring_rings(noise):
    assert sum(counted(noise)) == 0
    assert counted(placed(noise, (0, 21))) == [0] * 5 + [1] + [0] * 6
    # (21, 0) and (19, 9) are in the fifth ring, (19, 0) in the fourth; (9, 0) in the second, whose neighbours have none
    several = placed(noise, (0, 21), (21, 0), (19, 9), (19, 0), (9, 0))
    assert counted(several) == [0, 0, 1, 0, 4, 4, 0, 0, 0, 0, 0, 0]
    assert counted(several, 1) == counted(several)


def test_a_beam_between_two_frequencies_is_one(noise):
    wide = placed(noise, (21, 4))
    wide[21, 5] = wide[-21, -5] = 1.5 * OUTSTANDING
    assert sum(counted(wide)) == 1


def test_a_beam_beside_a_brighter_alias_counts(noise):
    picture = placed(noise, (21, 4))
    alias = np.zeros(picture.shape, bool)
    picture[21, 5], alias[21, 5] = 3 * OUTSTANDING, True
    assert beams(picture, alias, FINER, rings_of(SIDE), 12).tolist() == [0] * 5 + [1] + [0] * 6


def test_aliases_are_no_beams_even_of_frequencies_too_fine_for_the_map(noise):
    picture = placed(with_aliases(noise, (7, 3), 1e6, 1e-4), (21, 4))
    assert counted(picture)[5] == 0, "40 times the noise, and the usual alias of the strongest is 60 times"
    picture[21, 4] = picture[-21, -4] = 1.1 * SURPASSING * np.median(picture[equivalent(7, 3)])
    assert counted(picture)[5] == 1
    assert sum(counted(picture)) == 1.5, "the strongest has no mirror image here"
