"""Maps shown coarser or finer than they are."""

import numpy as np
import pytest

from ptylive.pictures.sampling import reduced, stretched

SIDE = 512


def test_large_maps_are_averaged_over_visited_pixels_only() -> None:
    data = np.full((2, 2 * SIDE), 3.0, dtype=np.float32)
    visited = np.ones(data.shape, dtype=bool)
    data[0, 0], visited[0, 0] = 1e9, False
    visited[:, -2:] = False
    small, seen = reduced(data, visited, SIDE)
    assert small.shape == (1, SIDE)
    assert seen is not None
    assert seen[0, 0]
    assert not seen[0, -1]
    assert small[0, :-1] == pytest.approx(3.0)


def test_odd_sizes_keep_their_edges() -> None:
    small, _ = reduced(np.ones((5, 7), np.float32), None, 4)
    assert small.shape == (3, 4)
    assert small == pytest.approx(1.0)


def test_stretched_coverage_is_the_nearest_point() -> None:
    coverage = np.array([[True, False]])
    assert stretched(coverage, (2, 4)).tolist() == [[True, True, False, False]] * 2
