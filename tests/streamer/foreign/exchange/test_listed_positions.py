"""Positions listed one by one: grids of any rotation are found, drifted ones keep their places, others form one row."""

import numpy as np
import pytest

from ptylive.streamer.foreign.exchange.listed_positions import listed_scan

ROWS, COLUMNS, SEED = 7, 9, 5


def grid(steps=(2.0, 1.5), degrees=0.0, snake=False):
    row, col = np.divmod(np.arange(ROWS * COLUMNS), COLUMNS)
    col = np.where(row % 2, COLUMNS - 1 - col, col) if snake else col
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.stack([row * steps[0], col * steps[1]], axis=1) @ turn.T + [40.0, -7.0]


@pytest.mark.parametrize("degrees", [0, 30, -100, 179])
@pytest.mark.parametrize("steps", [(2.0, 1.5), (1.0, -3.0), (-1, 1)])
@pytest.mark.parametrize("snake", [False, True])
def test_a_grid_is_found(degrees, steps, snake):
    found = listed_scan(grid(steps, degrees, snake))
    assert found.metadata["scan_shape"] == [ROWS, COLUMNS]
    np.testing.assert_allclose(found.metadata["scan_step_A"], np.abs(steps))
    assert found.metadata.get("scan_pattern") == ("snake" if snake else None)
    assert not found.arrays
    assert "rotation_deg is found from the data" in found.note


@pytest.mark.parametrize("snake", [False, True])
def test_a_grid_that_drifted_keeps_its_places(snake):
    """By scan point: every other row reversed to run forwards, relative to the first."""
    rng = np.random.default_rng(SEED)
    moved = rng.normal(0, 0.1, (ROWS * COLUMNS, 2))
    found = listed_scan(grid(snake=snake) + moved)
    assert found.metadata["scan_shape"] == [ROWS, COLUMNS]
    order = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    if snake:
        order[1::2] = order[1::2, ::-1].copy()
    expected = (grid(snake=snake) + moved)[order.ravel()]
    np.testing.assert_allclose(found.arrays["positions_A"], expected - expected[0], atol=1e-9)


def test_what_is_no_grid_is_one_row():
    """A spiral, random points, and rows of unequal length."""
    turn = np.sqrt(np.arange(50.0))
    spiral = np.stack([turn * np.cos(2.4 * turn**2), turn * np.sin(2.4 * turn**2)], axis=1)
    for points in (spiral, np.random.default_rng(SEED).uniform(0, 30, (60, 2)), grid()[:-2]):
        found = listed_scan(points)
        assert found.metadata["scan_shape"] == [1, len(points)]
        assert found.metadata["scan_step_A"][0] == found.metadata["scan_step_A"][1] > 0
        np.testing.assert_allclose(found.arrays["positions_A"], points - points[0])


@pytest.mark.parametrize("points", [np.full((5, 2), np.nan), np.zeros((1, 2)), np.zeros((6, 2))])
def test_what_says_nothing_gives_no_step(points):
    assert "scan_step_A" not in listed_scan(points).metadata
