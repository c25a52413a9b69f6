"""The rate is lowered on a plateau and nowhere else."""

import math

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
    assert state.lowest == 1.0


def test_it_ends():
    state, epochs = Plateau(), 0
    while not state.finished:
        state, epochs = state.after(1.0), epochs + 1
    assert state.rate < SMALLEST
    assert epochs == 7 * PATIENCE + 1
