"""Tiles hold what their patterns illuminate; every row counts once; what one tile gives, another takes."""

import numpy as np
import pytest

from ptylive.engine.refine.tiles.cutting import cut
from ptylive.schema.errors import RefinementError

WINDOW = 16


@pytest.fixture(params=[(40, 200, 0), (9, 40, 1), (300, 1000, 2), (5, 30, 3)])
def scan(request):
    """First rows of windows in any order, and the number of rows of the object."""
    count, rows, seed = request.param
    rng = np.random.default_rng(seed)
    return rng.integers(2, rows - WINDOW - 1, count), rows


@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
def test_every_pattern_and_every_row_counts_in_one_tile(scan, tiles):
    first_rows, rows = scan
    found = cut(first_rows, WINDOW, rows, tiles)
    numbers = np.concatenate([tile.patterns for tile in found])
    assert sorted(numbers.tolist()) == list(range(len(first_rows)))
    assert max(len(tile.patterns) for tile in found) - min(len(tile.patterns) for tile in found) <= 1
    counted = np.zeros(rows, int)
    for tile in found:
        counted[slice(*tile.own)] += 1
        assert tile.rows[0] <= tile.own[0] <= tile.own[1] <= tile.rows[1]
        lit = first_rows[tile.patterns]
        assert tile.lit == (lit.min(), lit.max() + WINDOW)
        assert tile.rows[0] <= tile.lit[0]
        assert tile.lit[1] <= tile.rows[1]
    assert (counted == 1).all()


@pytest.mark.parametrize("tiles", [1, 2, 3, 5])
def test_rows_that_several_tiles_light_are_told_to_all_that_hold_them(scan, tiles):
    first_rows, rows = scan
    found = cut(first_rows, WINDOW, rows, tiles)
    for tile in found:
        for other, given in tile.given:
            assert (tile.number, given) in found[other].taken
        sources = {row: set() for row in range(*tile.rows)}
        for other in found:
            for row in range(*other.lit):
                if row in sources:
                    sources[row].add(other.number)
        in_segments = {row: set(one.tiles) for one in tile.segments for row in range(*one.rows)}
        assert all(one.tiles == tuple(sorted(one.tiles)) for one in tile.segments)
        for row, lit_from in sources.items():
            assert in_segments.get(row, {tile.number} & lit_from) == lit_from


def test_patterns_are_found_by_their_number_here():
    tile = cut(np.array([9, 2, 7, 3]), 4, 20, 2)[1]
    assert tile.patterns.tolist() == [0, 2]
    assert tile.numbers(np.array([3, 2, 1, 0])).tolist() == [1, 0]
    assert tile.numbers(np.array([1, 3])).tolist() == []


@pytest.mark.parametrize("tiles", [0, 4])
def test_no_tile_is_without_patterns(tiles):
    with pytest.raises(RefinementError, match=r"3 patterns cannot be cut"):
        cut(np.array([0, 1, 2]), 4, 10, tiles)
