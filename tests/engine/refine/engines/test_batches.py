"""Batches: every pattern once, determined by the seed alone, compact or spread as requested."""

import numpy as np
import pytest

from ptylive.engine.refine.engines.batches import Batches, neighbours_in_turn

GRID = np.stack(np.meshgrid(np.arange(12.0), np.arange(10.0), indexing="ij"), -1).reshape(-1, 2)
CHOICES = ["random", "compact", "sparse"]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("chosen", [None, np.arange(3, 101, 2)])
@pytest.mark.parametrize("size", [1, 7, 16, 500])
def test_every_pattern_is_in_one_batch(choice, chosen, size):
    found = Batches(choice, GRID, 4).of(2, size, chosen)
    wanted = np.arange(len(GRID)) if chosen is None else chosen
    assert sorted(np.concatenate(found).tolist()) == wanted.tolist()
    assert len(found) == -(-len(wanted) // size)
    assert max(map(len, found)) <= size and max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize("choice", CHOICES)
def test_they_follow_from_the_seed_and_differ_between_epochs(choice):
    def all_of(seed, epoch):
        return [one.tolist() for one in Batches(choice, GRID, seed).of(epoch, 8)]

    assert all_of(1, 0) == all_of(1, 0)
    assert all_of(1, 0) != all_of(1, 1)
    assert all_of(1, 0) != all_of(2, 0)


def width(choice):
    """Mean standard deviation of the places within a batch of twelve."""
    return np.mean([GRID[one].std(axis=0).mean() for one in Batches(choice, GRID, 0).of(0, 12)])


def test_compact_batches_are_small_and_sparse_ones_wide():
    everything = GRID.std(axis=0).mean()
    assert width("compact") < 0.4 * everything  # a tenth of the area has about a third of the length
    assert width("sparse") > 0.9 * everything
    spread = [np.std([GRID[one].mean(axis=0) for one in Batches(choice, GRID, 0).of(0, 12)]) for choice in CHOICES]
    assert spread[2] < 0.8 * spread[0]  # each covers the whole scan, more evenly than by chance


def test_neighbours_follow_each_other():
    order = neighbours_in_turn(GRID)
    assert sorted(order.tolist()) == list(range(len(GRID)))
    assert np.hypot(*np.diff(GRID[order], axis=0).T).mean() < 2.5  # by chance 5.9
    assert neighbours_in_turn(np.zeros((0, 2))).tolist() == []
    assert len(neighbours_in_turn(np.zeros((9, 2)))) == 9  # all at one place
