"""Transmissions converted to other slices, pixels and modes."""

import numpy as np
import pytest

from ptylive.engine.refine.data.object_resampling import depth_shares, in_modes, in_slices, on_pixels, unwrapped

HILL = 9 * np.exp(-(np.linspace(-3, 3, 40)[:, None] ** 2) - np.linspace(-3, 3, 50) ** 2)
"""A phase that wraps, with steps well below pi, and is 0 along its border."""


def sheets(*phases: float) -> np.ndarray:
    """Transmission (1, slices, 8, 8) with a square of the given phase in each slice, surrounded by vacuum."""
    phase = np.zeros((1, len(phases), 8, 8))
    phase[0, :, 2:6, 2:6] = np.asarray(phases)[:, None, None]
    return np.exp(1j * phase).astype(np.complex64)


def inside(transmission: np.ndarray) -> list[float]:
    return [round(float(phase), 5) for phase in np.angle(transmission[0, :, 4, 4])]


@pytest.mark.parametrize(
    ("old", "new", "shares"),
    [
        ((10, 10), (5, 5, 5, 5), [[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]]),
        ((5, 5, 5, 5), (10, 10), [[1, 1, 0, 0], [0, 0, 1, 1]]),
        ((10, 10), (8, 8, 8), [[0.8, 0], [0.2, 0.6], [0, 0.4]]),
        ((10, 10), (10, 10, 10), [[1, 0], [0, 1], [0, 0]]),  # vacuum below
        ((10, 10, 10), (10, 10), [[1, 0, 0], [0, 1, 1]]),  # the surplus depth is not lost
        ((0,), (10, 30), [[0.25], [0.75]]),  # one slice represents the whole depth, known or not
        ((100,), (10, 10), [[0.5], [0.5]]),
        ((10, 10), (0,), [[1, 1]]),
    ],
)
def test_shares_go_by_depth_and_leave_nothing_out(old, new, shares):
    found = depth_shares(old, new)
    np.testing.assert_allclose(found, shares, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "depth_A", "shares"),
    [
        ((10, 10), (10, 10, 10), 10, [[0, 0], [1, 0], [0, 1]]),  # vacuum in front
        ((10, 10), (10, 10, 10), 5, [[0.5, 0], [0.5, 0.5], [0, 0.5]]),
        ((10, 10), (10, 10), 10, [[0, 0], [1, 1]]),  # the surplus depth is not lost
        ((10, 10, 10), (10, 10), -10, [[0, 1, 0], [0, 0, 1]]),  # cut off in front
        ((0,), (10, 10, 20), 10, [[0], [1 / 3], [2 / 3]]),
    ],
)
def test_vacuum_in_front_and_what_is_cut_off(old, new, depth_A, shares):
    np.testing.assert_allclose(depth_shares(old, new, depth_A), shares, atol=1e-12)


def test_phase_and_absorption_of_the_whole_depth_stay():
    there = sheets(0.4, 0.2) * np.float32(0.9)
    thin = in_slices(there, (10, 10), (5, 5, 5, 5))
    assert inside(thin) == [0.2, 0.2, 0.1, 0.1]
    np.testing.assert_allclose(thin.prod(axis=1), there.prod(axis=1), atol=1e-6)  # single precision
    np.testing.assert_allclose(in_slices(thin, (5,) * 4, (20,))[:, 0], there.prod(axis=1), atol=1e-6)
    assert in_slices(there, (10, 10), (10, 10)) is there


def test_wrapped_phases_are_unwrapped_before_they_are_divided():
    one = np.exp(1j * HILL)[None, None].astype(np.complex64)
    slices = in_slices(one, (0,), (10, 10, 10))
    np.testing.assert_allclose(np.angle(slices[0]), np.stack([HILL / 3] * 3), atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 2.5, -2.5])
def test_unwrapping_gives_the_same_wave_and_vacuum_near_0(offset):
    found = unwrapped(np.angle(np.exp(1j * (HILL + offset))))
    np.testing.assert_allclose(found, HILL + offset, atol=1e-9)


def test_fewer_modes_are_means_and_added_ones_repeat_with_a_small_difference():
    modes = np.arange(1, 4, dtype=np.complex64)[:, None, None, None] * np.ones((3, 2, 4, 4), np.complex64)
    assert in_modes(modes, 1)[:, 0, 0, 0].tolist() == [2]
    assert in_modes(modes, 2)[:, 0, 0, 0].tolist() == [2, 2]
    more = in_modes(modes, 4)
    np.testing.assert_array_equal(more[:3], modes)
    apart = np.angle(more[3] / modes[0])
    assert 0 < apart.min() and apart.max() < 0.02
    np.testing.assert_allclose(abs(more[3]), abs(modes[0]), rtol=1e-6)


def test_other_pixels_show_the_same_places_and_vacuum_around():
    y, x = np.arange(60)[:, None] * 0.5, np.arange(64) * 0.5
    there = np.exp(1j * 0.3 * np.exp(-((y - 15) ** 2 + (x - 16) ** 2) / 18))[None, None].astype(np.complex64)
    for pixel_A in (0.4, 0.5, 0.8):
        shape = (int(40 / pixel_A), int(42 / pixel_A))
        made = on_pixels(there, (0.5, pixel_A), (-8.0, -10.0), shape)[0, 0]
        rows, columns = np.arange(shape[0])[:, None] * pixel_A - 4, np.arange(shape[1]) * pixel_A - 5
        expected = np.exp(1j * 0.3 * np.exp(-((rows - 15) ** 2 + (columns - 16) ** 2) / 18))
        # a cubic spline on the 6 steps of this width is accurate to 1e-4; the blur of coarse pixels, 0.31 Å against the
        # width of 3 Å, reduces the maximum of 0.3 by 1 - 1 / (1 + 0.31^2 / 9) = 1 %
        np.testing.assert_allclose(made, expected, atol=2e-4 if pixel_A <= 0.5 else 3.3e-3)
        np.testing.assert_array_equal(made[:3], 1)
