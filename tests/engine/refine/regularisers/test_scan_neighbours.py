"""Which patterns are neighbours on the scan."""

import numpy as np
import pytest

from ptylive.engine.refine.regularisers.scan_neighbours import ScanArrangement, rows_of_three

SHAPE = (4, 5)


def positions(point):
    return np.stack(np.divmod(point, SHAPE[1]), axis=1).astype(float) * (1.5, 2.0)


@pytest.mark.parametrize(
    ("point", "triples"),
    [
        (np.arange(10), [(0, 1, 2), (1, 2, 3), (2, 3, 4), (5, 6, 7), (6, 7, 8), (7, 8, 9)]),
        (np.array([0, 1, 2, 9, 8, 7]), [(0, 1, 2), (3, 4, 5)]),  # every other row backwards
        (np.array([0, 1, 3, 4]), []),  # a gap
        (np.array([0, 1, 0, 1]), []),  # there and back
        (np.array([3, 4, 5]), []),  # two rows
        (np.array([0, 5, 10]), []),
    ],
)
def test_three_in_a_row_were_recorded_one_after_the_other(point, triples):
    assert [tuple(three) for three in rows_of_three(point, SHAPE)] == triples


@pytest.mark.parametrize(
    ("rows", "following"),
    [((0, 1, 2, 3), [(0, 1, 2), (1, 2, 3)]), ((0, 1, 3), []), ((1, 2, 3), [(0, 1, 2)]), ((0, 2), [])],
)
def test_rows_follow_one_another_without_gaps(rows, following):
    point = np.concatenate([np.arange(SHAPE[1])[: 2 + row] + row * SHAPE[1] for row in rows])
    grid = ScanArrangement.of(point, SHAPE, positions(point))
    np.testing.assert_array_equal(grid.row, np.repeat(np.arange(len(rows)), [min(2 + row, 5) for row in rows]))
    np.testing.assert_array_equal(grid.patterns_in_row, [min(2 + row, 5) for row in rows])
    assert [tuple(three) for three in grid.row_triples] == following


def test_the_columns_span_all_affine_displacements():
    point = np.arange(20)
    grid = ScanArrangement.of(point, SHAPE, positions(point) + 100.0)
    np.testing.assert_allclose(grid.affine.T @ grid.affine, np.eye(3), atol=1e-6)
    displaced = positions(point) @ np.array([[0.1, 0.3], [-0.2, 0.5]]) + (7.0, -3.0)
    np.testing.assert_allclose(grid.affine @ (grid.affine.T @ displaced), displaced, atol=1e-5)  # single precision
