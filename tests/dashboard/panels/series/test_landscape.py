"""Trials and the curve fitted to them, as drawn."""

import pytest

from ptylive.dashboard.panels.series.landscape import LandscapeFigure
from ptylive.dashboard.theme import Theme

CURVE = {"at": [0.0, 10.0, 20.0], "share": [0.02, 0.0, 0.02], "deviation": [0.005, 0.0, 0.02]}


def test_losses_stand_in_percent_above_the_best_with_two_deviations():
    drawn = LandscapeFigure()
    drawn.show("defocus / Å", [0.0, 10.0], [102.0, 100.0], CURVE)
    assert drawn.trials.data["loss"] == pytest.approx([2.0, 0.0])
    assert drawn.curve.data["loss"] == pytest.approx([2.0, 0.0, 2.0])
    assert drawn.curve.data["low"] == pytest.approx([1.0, 0.0, 0.0])
    assert drawn.curve.data["high"] == pytest.approx([3.0, 0.0, 6.0])
    assert drawn.plot.figure.xaxis[0].axis_label == "defocus / Å"
    assert drawn.plot.figure.x_range.start < 0.0 < 20.0 < drawn.plot.figure.x_range.end


def test_one_trial_far_off_does_not_press_the_others_together():
    drawn = LandscapeFigure()
    losses = [100.0 + k for k in range(20)] + [1e6]
    drawn.show("x", list(range(21)), losses, {})
    assert 10 < drawn.plot.figure.y_range.end < 100


def test_nothing_is_drawn_of_nothing_and_both_themes_are_worn():
    drawn = LandscapeFigure()
    drawn.show("", [], [], {})
    assert drawn.trials.data == {"at": [], "loss": []}
    for theme in Theme:
        drawn.wear(theme)
