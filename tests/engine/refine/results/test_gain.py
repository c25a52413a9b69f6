"""The certainty of a difference of losses follows from its agreement between groups of patterns."""

import math

import numpy as np
import pytest

from ptylive.engine.refine.results.gain import CERTAIN, Gain

SCATTER = np.linspace(-1, 1, 16)
"""Scatter of 16 groups; a part that all groups share adds no uncertainty to a difference."""


def test_a_gain_is_paired_by_groups():
    gain = Gain.over(10 + SCATTER, 9.9 + SCATTER + 0.04 * (-1.0) ** np.arange(16))
    assert gain.share == pytest.approx(0.01)
    assert gain.deviation == pytest.approx(0.04 * np.sqrt(16 / 15) / 4 / 10)


def test_one_group_is_never_sure():
    assert Gain.over([10.0], [1.0]).deviation == math.inf
    assert not Gain.over([10.0], [1.0]).certain


def test_how_many_deviations_make_certain():
    assert Gain(1.01 * CERTAIN, 1.0).certain and not Gain(0.99 * CERTAIN, 1.0).certain
    assert Gain(3.1, 1.0).exceeds(3) and not Gain(2.9, 1.0).exceeds(3)
    assert str(Gain(0.01, 0.002)) == "1 ± 0.2 %"
    assert str(Gain(-1.2, 0.104)) == "-120 ± 10 %"
    assert str(Gain(0.0, 0.002).opposite) == "0 ± 0.2 %"
