"""Waves in colours."""

import colorcet
import numpy as np

from ptylive.pictures.waves import wave_colours, wheel


def test_brightness_is_the_modulus_and_hue_the_phase():
    picture = wave_colours(np.array([[0, 1, 2], [2j, -2, np.nan]]))
    assert picture[0, 0].tolist() == picture[1, 2].tolist() == [0, 0, 0]
    np.testing.assert_allclose(picture[0, 1], picture[0, 2] / 2, atol=1)  # rounded
    colours = [tuple(picture[at]) for at in ((0, 2), (1, 0), (1, 1))]
    assert len(set(colours)) == 3


def test_a_quarter_turn_is_a_quarter_of_the_wheel():
    quarter = colorcet.palette["colorwheel"][64]
    expected = [int(quarter[at : at + 2], 16) for at in (1, 3, 5)]
    np.testing.assert_allclose(wave_colours(np.array([[1j]]))[0, 0], expected, atol=1)


def test_beyond_the_largest_it_is_no_brighter():
    np.testing.assert_array_equal(wave_colours(np.array([[5.0 + 0j]]), 1.0), wave_colours(np.array([[1.0 + 0j]]), 1.0))
    assert (wave_colours(np.array([[0.5 + 0j]]), 1.0) < wave_colours(np.array([[1.0 + 0j]]), 1.0)).any()


def test_colours_go_around_without_a_jump():
    around = wave_colours(np.exp(2j * np.pi * np.arange(512) / 512)[None])[0].astype(int)
    assert np.abs(np.diff(np.concatenate([around, around[:1]]), axis=0)).max() <= 16


def test_the_wheel_has_the_phase_0_to_the_right_and_90_degrees_above():
    picture = wheel(101)
    assert picture[50, 50].tolist() == [0, 0, 0]
    assert picture[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(picture[50, 100].astype(int), wave_colours(np.array([[1.0 + 0j]]))[0, 0], atol=3)
    np.testing.assert_allclose(picture[0, 50].astype(int), wave_colours(np.array([[1j]]))[0, 0], atol=3)
