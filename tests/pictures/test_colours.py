"""Colour indices, palettes, contrast limits."""

import numpy as np
import pytest

from ptylive.pictures.colours import (
    SHADES,
    UNVISITED,
    ColourMap,
    gradient,
    levels,
    moved,
    palette,
    shades,
    to_indices,
    to_wheel,
    wheel_palette,
)


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)


@pytest.mark.parametrize("colour_map", ColourMap)
def test_no_colour_map_contains_the_unvisited_colour(colour_map: ColourMap) -> None:
    colours = palette(colour_map)
    assert len(colours) == 256
    assert colours[0] == UNVISITED
    nearest = min(float(np.linalg.norm(rgb(c) - rgb(UNVISITED))) for c in shades(colour_map))
    assert nearest > 35


def test_indices_span_the_shades_and_leave_zero_for_unvisited() -> None:
    data = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]], dtype=np.float32)
    visited = np.array([[True, True, True, True, False]])
    assert to_indices(data, (0.0, 1.0), visited).tolist() == [[1, 1, 128, SHADES, 0]]
    assert to_indices(data, (0.0, 1.0)).min() == 1


def test_indices_survive_numbers_that_are_none() -> None:
    data = np.array([[np.nan, np.inf, -np.inf]], dtype=np.float32)
    assert to_indices(data, (0.0, 1.0)).tolist() == [[1, SHADES, 1]]


def test_levels_follow_visited_pixels_only() -> None:
    data = np.arange(101, dtype=np.float32).reshape(1, 101)
    assert levels(data) == pytest.approx((1.0, 99.0))
    visited = data < 50
    low, high = levels(data, visited)
    assert (low, high) == pytest.approx((0.49, 48.51))
    assert levels(data, np.zeros_like(visited)) == (0.0, 1.0)


def test_levels_of_a_constant_map_are_apart() -> None:
    low, high = levels(np.full((4, 4), 7.0, dtype=np.float32))
    assert low < 7 < high
    low, high = levels(np.zeros((4, 4), dtype=np.float32))
    assert low < 0 < high


def test_limits_move_only_by_more_than_a_percent() -> None:
    assert not moved((0.005, 1.0), (0.0, 1.0))
    assert moved((0.02, 1.0), (0.0, 1.0))


def test_gradient_starts_and_ends_with_the_map() -> None:
    css = gradient(ColourMap.GRAY)
    assert css.startswith("linear-gradient(to right, #000000")
    assert css.endswith("#ffffff)")


def test_the_wheel_tells_directions_and_lengths_and_never_looks_unvisited() -> None:
    colours = wheel_palette()
    assert colours[0] == UNVISITED
    assert min(float(np.linalg.norm(rgb(c) - rgb(UNVISITED))) for c in colours[1:]) > 35
    vectors = np.array([[[0.0, 0.0, 1.0, 0.0]], [[0.0, 1.0, 0.0, 1.0]]])
    none, right, down, unseen = to_wheel(vectors, 1.0, np.array([[True, True, True, False]]))[0]
    assert colours[none] == "#3c3c3c"
    assert unseen == 0
    assert (right - 1) // 31 == 0
    assert (down - 1) // 31 == 16
