"""The fit through trials: its minimum, its uncertainty, and how it treats words."""

import numpy as np
import pytest
from tuning_trials import BEST, DEFOCUS, FORM, GROUPS, SWEEPS, THICKNESS, drawn

from ptylive.application.tuning.landscape import Landscape
from ptylive.application.tuning.trials import losses

BOTH = (DEFOCUS, THICKNESS)


def landscape(over, tried):
    there, groups = losses(tried, SWEEPS)
    return Landscape.of(over, [one.values for one in there], groups)


@pytest.mark.parametrize("seed", range(3))
def test_the_minimum_lies_where_that_of_the_loss_does(seed):
    found = landscape(BOTH, drawn(BOTH, 30, seed))
    values = found.values(found.lowest())
    # thirty points on a smooth bowl: a small fraction of their mean distance, which is a sixth of the range
    assert values["defocus_A"] == pytest.approx(BEST["defocus_A"], abs=0.02 * 400)
    assert values["total_thickness_A"] == pytest.approx(BEST["total_thickness_A"], abs=0.03 * 150)


def test_a_difference_scatters_as_the_groups_of_patterns_do():
    """A minimum displaced by s in each of n groups changes a difference at d by 4 d s / sqrt(n), of 1 + 2 d²."""
    found = landscape(BOTH, drawn(BOTH, 40, scatter=0.02))
    quiet = landscape(BOTH, drawn(BOTH, 40, scatter=0.0))
    best = found.lowest()
    away = best + np.array([0.2, 0.0])
    patterns = (found.rise(away, best)[1] ** 2 - quiet.rise(away, best)[1] ** 2) ** 0.5
    assert patterns == pytest.approx(4 * 0.2 * 0.02 / GROUPS**0.5, rel=0.5)  # 16 groups scatter by a sixth, and the fit
    assert found.rise(best, best)[1] == pytest.approx(0.0, abs=1e-6)


def test_that_groups_differ_in_their_losses_makes_no_difference_unsure():
    """Levels scatter by 10 %, the whole bowl is 2 % deep, and all groups agree on it."""
    found = landscape(BOTH, drawn(BOTH, 40, scatter=0.0, depth=0.03))
    best = found.lowest()
    rise, deviation = found.rise(best + np.array([0.3, 0.0]), best)
    (share,), (unsure,) = found.shares(np.array([rise]), np.array([deviation]))
    assert share == pytest.approx(0.03 * 2 * 0.3**2, rel=0.1)
    assert unsure < 0.1 * share


def test_what_was_never_tried_is_uncertain():
    near = [one for one in drawn(BOTH, 80, scatter=0.0) if abs(one.values["defocus_A"] - 30) < 60]
    found = landscape(BOTH, near)
    best = found.lowest()
    assert found.rise(np.array([0.0, best[1]]), best)[1] > 0.01  # all groups of patterns agree
    assert found.rise(np.array([0.0, best[1]]), best)[1] > 5 * found.rise(best + np.array([0.05, 0.0]), best)[1]


def test_a_word_that_is_worse_is_seen_to_be():
    over = (DEFOCUS, FORM)
    found = landscape(over, drawn(over, 24))
    assert found.values(found.lowest())["weakly_damped_obj"] is False
    other = found.lowest({1: 1.0})
    rise, deviation = found.rise(other, found.lowest())
    assert rise > 5 * deviation
    # the other word raises the loss by 10 %; the fit adds its own error
    assert found.shares(np.array([rise]), np.array([deviation]))[0][0] == pytest.approx(0.1, rel=0.3)


def test_two_trials_are_no_landscape():
    with pytest.raises(ValueError, match="three trials"):
        landscape(BOTH, drawn(BOTH, 2))
