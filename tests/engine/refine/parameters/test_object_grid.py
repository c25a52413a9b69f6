"""Windows on the object grid, and a start map resampled onto it."""

import numpy as np
import pytest

from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.parameters.object_grid import ObjectGrid
from ptylive.schema.scan import Scan


def test_every_window_lies_inside_and_its_centre_is_the_position():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-30, 50, (200, 2))
    grid = ObjectGrid.of(positions, 0.4, 24)
    assert (grid.corners >= 0).all()
    assert (grid.corners + 24 <= grid.shape).all()
    centre = (grid.corners + 12 + grid.shifts_px) * grid.pixel_A + grid.origin_A
    np.testing.assert_allclose(centre, positions, atol=1e-9)
    assert np.abs(grid.shifts_px).max() <= 0.5


@pytest.mark.parametrize("rotation", [0.0, 25.0, -120.5])
@pytest.mark.parametrize("origin", [(0.0, 0.0), (-31.0, 12.5)])
def test_start_maps_are_turned_onto_the_grid(rotation, origin):
    """A map whose value is the detector-frame row of each of its points must become the row of each object pixel."""
    scan = Scan(shape=(30, 40), step_A=(2.0, 1.5), rotation_deg=rotation)
    positions = scan.positions_A(rotation) + origin
    start = StartGuess(positions[:, 0].reshape(30, 40).astype(np.float32), (2.0, 1.5), rotation, origin)
    grid = ObjectGrid.of(positions, 0.7, 16)
    phase = grid.resample(start)
    inside, rounding = positions.mean(0), 60 * 16 * float(np.finfo(np.float32).eps)  # positions up to 60 Å
    row, col = np.rint((inside - grid.origin_A) / grid.pixel_A).astype(int)
    assert phase[row, col] == pytest.approx(grid.origin_A[0] + row * grid.pixel_A, abs=rounding)
    assert phase[row + 5, col - 3] == pytest.approx(grid.origin_A[0] + (row + 5) * grid.pixel_A, abs=rounding)


@pytest.mark.parametrize("columns", [127, 128, 129, 256])
def test_rows_of_a_multiple_of_128_columns_get_one_more(columns):
    # two positions so far apart that windows of 64 and the margin of 2 need ``columns`` in total
    apart = columns - 64 - 4
    grid = ObjectGrid.of(np.array([[0.0, 0.0], [0.0, apart]]), 1.0, 64)
    assert grid.shape == (68, columns if columns % 128 else columns + 1)
    assert grid.corners.tolist() == [[2, 2], [2, 2 + apart]]
