"""Geometry of the zoo's scans, without abTEM."""

import numpy as np
import pytest
from zoo_scans import small_draw

from benchmarks.zoo.simulate import Grid, _slabs, descan, layers_of, scan_positions, transformed
from ptylive.schema.detector import undo_transform, undo_transform_of_center


def positions(**changes):
    return scan_positions(small_draw(**changes), np.random.default_rng(0))


def test_steps_go_along_rows_and_columns():
    nominal, true = positions()
    assert nominal.shape == (10, 12, 2)
    np.testing.assert_allclose(nominal[0, 1] - nominal[0, 0], (0, 1.5))
    np.testing.assert_allclose(nominal[1, 0] - nominal[0, 0], (1.5, 0))
    np.testing.assert_array_equal(true, nominal)


def test_rotation_turns_the_scan_into_the_detectors_frame():
    nominal, _ = positions(rotation_deg=90.0)  # R = [[0, -1], [1, 0]]
    np.testing.assert_allclose(nominal[0, 1] - nominal[0, 0], (-1.5, 0), atol=1e-12)
    np.testing.assert_allclose(nominal[1, 0] - nominal[0, 0], (0, 1.5), atol=1e-12)


def test_a_snake_turns_back():
    nominal, _ = positions(pattern="snake")
    np.testing.assert_allclose(nominal[1, 0] - nominal[0, -1], (1.5, 0))


def test_flyback_frames_lie_between_the_rows():
    nominal, _ = positions(flyback=2)
    assert nominal.shape == (10, 14, 2)
    columns = nominal[0, 11:, 1]
    assert np.all(np.diff(columns) < 0) and columns[-1] > nominal[0, 0, 1]


def test_drift_grows_with_time():
    nominal, true = positions(drift_A=(3.0, -1.0))
    np.testing.assert_allclose((true - nominal)[-1, -1] - (true - nominal)[0, 0], (3.0, -1.0))
    assert np.abs((true - nominal).mean((0, 1))).max() < 1e-9


def test_descan_follows_the_beam():
    drawn = small_draw(descan_px=(1.0, 0.0, 0.0, 0.5), pattern="snake")
    shift = descan(drawn)
    assert shift[-1, 0, 0] - shift[0, 0, 0] == pytest.approx(1.0)
    assert shift[0, -1, 1] - shift[0, 0, 1] == pytest.approx(0.5)
    assert shift[1, 0, 1] == shift[0, -1, 1]


@pytest.mark.parametrize("words", ["none", "transpose", "flip_rows", "transpose+flip_cols"])
def test_transforms_are_those_that_the_product_undoes(words):
    rng = np.random.default_rng(0)
    counts, bad = rng.integers(0, 9, (3, 6, 6)).astype(np.uint16), rng.random((6, 6)) < 0.2
    recorded, mask, centre = transformed(words, counts, bad, (2.0, 3.5))
    np.testing.assert_array_equal(undo_transform(recorded, words), counts)
    np.testing.assert_array_equal(undo_transform(mask, words), bad)
    np.testing.assert_allclose(undo_transform_of_center(centre, (6, 6), words), (2.0, 3.5))


def test_slabs_hold_all_layers_in_order():
    layers = np.arange(1.0, 7.0)[:, None, None] * np.ones((6, 2, 2))
    slabs = _slabs(layers, np.full(6, 2.0), 3)
    np.testing.assert_array_equal(slabs[:, 0, 0], (3, 7, 11))


def test_the_box_holds_the_scan_and_a_window():
    drawn = small_draw()
    grid = Grid.of(drawn, scan_positions(drawn, np.random.default_rng(0))[1])
    assert grid.window_A == pytest.approx(2 * drawn.window_A)
    assert grid.side_A >= 11 * 1.5 + 1.5 * drawn.window_A
    assert grid.window % 2 == 0 and grid.window > 1.5 * 2 * drawn.pixels


def test_abtem_makes_as_many_layers_as_are_counted_on():
    """abTEM rounds the height over a layer up: 44.615 / (44.615 / 11) is above 11."""
    heights = np.round(np.random.default_rng(0).uniform(20, 60, 60), 3)
    for height in (*heights, 44.615, 3.0):
        number, layer = layers_of(float(height), 4.0)
        assert np.ceil(height / layer) == number == max(1, round(height / 4))
