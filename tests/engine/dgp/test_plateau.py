"""The learning rate is lowered on a plateau and nowhere else."""

import math

import numpy as np
import pytest

from ptylive.engine.dgp.plateau import FACTOR, PATIENCE, SMALLEST, Plateau


def after(losses, start=None):
    state = start or Plateau()
    for loss in losses:
        state = state.after(loss)
    return state


def test_a_loss_that_falls_keeps_the_rate():
    assert after([2.0 * 0.99**n for n in range(50)]).rate == 1.0


def test_a_flat_loss_halves_the_rate_every_few_epochs():
    assert after([1.0] * PATIENCE).rate == 1.0
    assert after([1.0] * (PATIENCE + 1)).rate == FACTOR
    assert after([1.0] * (3 * PATIENCE + 1)).rate == FACTOR**3


def test_a_fall_that_is_too_small_is_none():
    assert after([1.0 - 1e-5 * n for n in range(PATIENCE + 1)]).rate == FACTOR


def test_a_gain_begins_the_waiting_anew():
    assert after([1.0] * PATIENCE + [0.9] + [0.9] * (PATIENCE - 1)).rate == 1.0


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_no_gain(odd):
    state = after([1.0, *([odd] * PATIENCE)])
    assert state.rate == FACTOR
    assert state.lowest == np.array([1.0])


def test_a_loss_that_stays_ends_the_training():
    state, epochs = Plateau(), 0
    while not state.finished:
        state, epochs = state.after(1.0), epochs + 1
    assert state.rate < SMALLEST
    assert epochs == 7 * PATIENCE + 1


def test_of_groups_a_small_fall_counts_where_all_share_it():
    """With few electrons, a millionth of the loss may be all there is to gain."""
    groups = np.array([400.0, 390.0, 410.0, 405.0])
    assert after([groups * (1 - 1e-6 * n) for n in range(40)]).rate == 1.0


def test_of_groups_a_fall_of_chance_is_none():
    groups, chance = np.array([400.0, 390.0, 410.0, 405.0]), np.array([1.0, -1.0, 0.9, -0.8])
    assert after([groups, *([groups - chance] * PATIENCE)]).rate == FACTOR


def test_of_groups_small_falls_add_up_while_it_waits():
    """Losses are compared with the last improvement rather than with the previous epoch."""
    groups, chance = np.array([400.0, 390.0, 410.0, 405.0]), np.array([0.1, -0.1, 0.1, -0.1])
    epochs = [groups - 0.04 * n + chance * (n % 2) for n in range(PATIENCE)]
    assert after(epochs).waited < PATIENCE - 1
