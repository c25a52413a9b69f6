"""Fourier correlation of two pictures or stacks."""

import numpy as np
import pytest

from ptylive.engine.analysis.fourier_correlation import (
    LEAST_SIDE,
    LONGEST,
    FourierCorrelation,
    common_part,
    ring_correlation,
    scanned_area,
    shell_correlation,
)
from ptylive.schema import MetadataError

RNG = np.random.default_rng(0)
PICTURE, OTHER = RNG.normal(size=(2, 48, 64))
RAMP = np.add.outer(np.arange(48.0), 2 * np.arange(64.0))


def curve(correlation, points=1e9):
    rings = np.arange(1, len(correlation) + 1)
    return FourierCorrelation(rings / 10, np.array(correlation), np.full(len(correlation), points))


def test_a_picture_agrees_with_itself_whatever_its_scale_and_ramp():
    found = ring_correlation(PICTURE, 3 * PICTURE + RAMP, 0.5)
    np.testing.assert_allclose(found.correlation, 1.0, atol=1e-9)
    assert found.resolution_A() is None and found.resolution_A(0.5) is None
    np.testing.assert_allclose(ring_correlation(PICTURE, -PICTURE, 0.5).correlation, -1.0, atol=1e-9)


def test_noise_scatters_around_nothing_as_is_stated():
    found = ring_correlation(PICTURE, OTHER, 0.5)
    within = np.abs(found.correlation) < 3 * found.deviation
    assert within.mean() > 0.95
    assert found.resolution_A() > 10.0


def test_rings_are_one_frequency_of_the_shorter_side_wide():
    found = ring_correlation(PICTURE, OTHER, 0.5)
    width = 1 / (48 * 0.5)
    np.testing.assert_allclose(found.frequencies_invA, (np.arange(len(found.correlation)) + 1.5) * width)
    assert found.frequencies_invA[-1] < 1.0 <= found.frequencies_invA[-1] + 1.5 * width
    q = np.hypot(np.fft.fftfreq(48, 0.5)[:, None], np.fft.fftfreq(64, 0.5)[None, :])
    counts = np.histogram(q, np.arange(1, len(found.points) + 2) * width)[0]
    np.testing.assert_allclose(found.points, counts, atol=2)  # four pixels lie on borders between rings


def test_agreement_ends_at_the_first_fall():
    found = curve([1.0, 0.9, 0.6, 0.4, 0.9, 0.1])
    assert found.resolution_A(0.5) == pytest.approx(10 / 4)
    assert found.resolution_A(0.05) is None
    assert found.resolution_A(0.95) == pytest.approx(10 / 2)


def test_the_longest_periods_may_lie_below():
    assert curve([0.1, 0.2, 0.9, 0.9, 0.1]).resolution_A(0.5) == pytest.approx(10 / 5)
    assert curve([0.1] * (LONGEST + 1) + [0.9, 0.9]).resolution_A(0.5) == pytest.approx(10), "all of them do"


def test_deviations_raise_and_lower_the_curve():
    found = curve([1.0, 0.9, 0.9, 0.52, 0.48, 0.1], points=200.0)
    assert found.resolution_A(0.5) == pytest.approx(10 / 5)
    assert found.resolution_A(0.5, deviations=1.0) == pytest.approx(10 / 6)
    assert found.resolution_A(0.5, deviations=-1.0) == pytest.approx(10 / 4)


def test_the_half_bit_curve_demands_less_of_many_pixels():
    few, many = curve([0.5], points=8.0).half_bit, curve([0.5], points=1e12).half_bit
    assert few[0] > many[0]
    assert many[0] == pytest.approx(0.2071 / 1.2071, rel=1e-4)


def test_shells_of_a_stack():
    stack = RNG.normal(size=(4, 32, 32))
    np.testing.assert_allclose(shell_correlation(stack, 2 * stack, 0.5, 2.0).correlation, 1.0, atol=1e-9)
    reversed_depth = shell_correlation(stack, stack[::-1], 0.5, 2.0).correlation
    assert np.abs(reversed_depth[2:]).max() < 0.5, "slices are not interchangeable"
    with pytest.raises(MetadataError, match="shells need the distance between slices"):
        shell_correlation(stack, stack, 0.5, 0.0)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(MetadataError, match="differ"):
        ring_correlation(PICTURE, PICTURE[1:], 0.5)
    small = np.zeros((LEAST_SIDE - 1, 20))
    with pytest.raises(MetadataError, match="too few to compare"):
        ring_correlation(small, small, 0.5)


@pytest.mark.parametrize("shift_px", [(0, 0), (3, -5), (-3, 5), (7, 7)])
def test_the_common_part_is_of_the_same_place(shift_px):
    first = RNG.normal(size=(2, 30, 40))
    dy, dx = shift_px
    second = np.zeros((2, 28, 36))
    rows, columns = np.indices((28, 36))
    inside = (rows + dy >= 0) & (rows + dy < 30) & (columns + dx >= 0) & (columns + dx < 40)
    second[:, inside] = first[:, (rows + dy)[inside], (columns + dx)[inside]]
    a, b = common_part(first, second, shift_px)
    assert a.shape == b.shape and a.size
    np.testing.assert_array_equal(a, b)
    with pytest.raises(MetadataError, match="do not overlap"):
        common_part(first, second, (23, 0))


def test_the_scanned_area_lies_between_the_outermost_positions():
    positions = np.array([[2.0, 3.0], [5.1, 6.0]])
    assert scanned_area((20, 20), (1.0, 1.0), positions, 0.5) == (slice(2, 9), slice(4, 11))
    assert scanned_area((8, 8), (1.0, 1.0), positions, 0.5) == (slice(2, 8), slice(4, 8))
    assert scanned_area((8, 8), (4.0, 4.0), positions, 0.5)[0].start == 0
