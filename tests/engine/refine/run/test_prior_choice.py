"""Choice of the earliest state that predicts as well as the best, or of the pixels where that state predicts worse."""

import numpy as np
import pytest

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.run.prior_choice import MOST_KEPT, TOLERATED, PriorChoice

NOTHING = Gain(0.0, 1.0)
"""Networks that predict patterns no better at their own places than at each other's."""
SCATTER = np.linspace(-1, 1, 16)
"""Scatter of 16 groups; a part that all groups share adds no uncertainty to a difference."""


def losses(mean, own=0.0):
    """Loss of each group: large common scatter, plus ``own`` scatter of the state itself, alternating."""
    return mean + SCATTER + own * (-1.0) ** np.arange(16)


def after(*states, pixels=10.0, over_chance=1e-6, doubt=0.0):
    choice = PriorChoice(losses(pixels), Gain(over_chance, doubt))
    for epoch, each in enumerate(states, 1):
        choice.add(epoch, f"state {epoch}", each)
    return choice


def test_the_best_is_taken_where_it_is_clearly_best():
    choice = after(losses(9.9, 0.01), losses(9.5, 0.01), losses(9.7, 0.01))
    assert choice.chosen(NOTHING).epoch == 2
    assert choice.chosen(NOTHING).vector == "state 2"
    assert choice.history == pytest.approx([9.9, 9.5, 9.7])


def test_the_earliest_within_a_standard_error_is_taken():
    """An own scatter of 0.04 is a standard error of 0.0103: 0.009 behind the best counts as equal, 0.012 does not."""
    assert after(losses(9.512, 0.04), losses(9.509, 0.04), losses(9.5)).chosen(NOTHING).epoch == 2


def test_later_states_are_taken_only_for_being_better():
    assert after(losses(9.5), losses(9.5)).chosen(NOTHING).epoch == 1


def test_pixels_stay_where_they_predict_better_beyond_doubt():
    assert after(losses(10.1, 0.01)).chosen(NOTHING) is None
    assert after(losses(10.1, 0.01)).best.epoch == 1
    assert after(losses(10.1, 0.2)).chosen(NOTHING).epoch == 1  # 0.1 ± 0.05 is not beyond doubt


def test_little_of_what_pixels_predict_may_be_lost():
    worse = losses(10.1, 0.001)
    assert after(worse, over_chance=0.011 / TOLERATED).chosen(NOTHING) is not None
    assert after(worse, over_chance=0.009 / TOLERATED).chosen(NOTHING) is None


def test_networks_paint_nothing_where_pixels_show_nothing():
    better = losses(9.0, 0.01)
    assert after(better, over_chance=0.01, doubt=0.004).chosen(NOTHING) is None
    assert after(better, over_chance=0.01, doubt=0.003).chosen(NOTHING) is not None


def test_networks_may_show_what_the_noise_of_the_pixels_hides():
    choice = after(losses(9.0, 0.01), over_chance=0.01, doubt=0.004)
    assert choice.chosen(Gain(0.01, 0.003)) is not None
    assert choice.chosen(Gain(0.01, 0.004)) is None


def test_what_may_be_lost_is_of_what_is_seen():
    worse = losses(10.1, 0.001)
    assert after(worse, over_chance=0.0).chosen(Gain(0.011 / TOLERATED, 0.0)) is not None
    assert after(worse, over_chance=0.0).chosen(Gain(0.009 / TOLERATED, 0.0)) is None


def test_states_without_a_finite_loss_are_none():
    choice = after(losses(np.nan), losses(np.inf))
    assert choice.chosen(NOTHING) is None
    assert choice.gain.share == 0


def test_few_states_are_kept_and_the_first_and_the_best_among_them():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(40, 16))
    noise -= noise.mean(axis=1, keepdims=True)
    choice = after(*(9.5 - 1e-6 * n + each for n, each in enumerate(noise)))
    assert len(choice.candidates) == MOST_KEPT
    assert (choice.candidates[0].epoch, choice.candidates[-1].epoch) == (1, 40)
