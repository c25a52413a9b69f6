"""Atom columns: Gaussians at known places."""

import numpy as np
import pytest

from ptylive.engine.analysis.columns import find_columns

PIXEL_A, SIGMA_A = 0.2, 0.5
PLACES_A = np.array([[4.03, 4.11], [4.0, 10.07], [10.1, 7.0]])
STRENGTHS = np.array([0.5, 1.0, 0.8])


def stack(weights=(1.0, 1.0, 1.0), background=0.0):
    rows, columns = np.indices((72, 72)) * PIXEL_A
    sheet = sum(
        strength * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * SIGMA_A**2))
        for (y, x), strength in zip(PLACES_A, STRENGTHS, strict=True)
    )
    return np.stack([weight / 3 * sheet + background for weight in weights]).astype(np.float32)


@pytest.fixture(scope="module")
def found():
    return find_columns(stack(background=0.3), PIXEL_A)


def test_they_are_found_strongest_first_and_between_pixels(found):
    expected = PLACES_A[np.argsort(STRENGTHS)[::-1]]
    np.testing.assert_allclose(found.positions_A, expected, atol=0.05 * PIXEL_A)
    # a wide Gaussian that is taken for the background removes a part of each peak
    np.testing.assert_allclose(found.peaks_rad / found.peaks_rad[0], np.sort(STRENGTHS)[::-1], rtol=0.05)
    np.testing.assert_allclose(found.widths_A, SIGMA_A, rtol=0.1)


def test_weak_peaks_are_left_out():
    assert len(find_columns(stack(), PIXEL_A, share=0.7).positions_A) == 2
    assert len(find_columns(stack(), PIXEL_A, share=0.9).positions_A) == 1


def test_two_within_the_radius_are_one():
    assert len(find_columns(stack(), PIXEL_A, radius_A=6.5).positions_A) < 3


def test_the_profile_falls_from_the_column(found):
    assert found.profile_radii_A[1] == pytest.approx(PIXEL_A)
    assert (np.diff(found.profile_rad[:4]) < 0).all()
    assert found.profile_rad[0] == pytest.approx(found.peaks_rad.mean(), rel=0.02)


def test_depth_profiles_are_of_the_slices_less_their_means():
    profiles = find_columns(stack((3.0, 0.0, 0.0)), PIXEL_A).depth_profiles_rad
    assert profiles.shape == (3, 3)
    assert (profiles[:, 0] > 0.1).all()
    np.testing.assert_allclose(profiles[:, 1:], 0.0, atol=1e-6)


def test_nothing_at_the_border_is_a_column():
    phase = np.zeros((1, 40, 40), np.float32)
    phase[0, 0, 20] = 1.0
    assert len(find_columns(phase, PIXEL_A).positions_A) == 0
