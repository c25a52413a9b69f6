"""Sentences on networks compared with pixels, and the warning where there is no picture."""

import numpy as np
import pytest

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.results.prior import BEYOND_DOUBT, PriorReport

BETTER, SEEN = Gain(0.01, 0.002), Gain(0.2, 0.01)


def report(epoch=2, over_pixels=BETTER, over_chance=SEEN, epochs=3):
    return PriorReport(14, np.linspace(10, 9, 1 + epochs), 144, epoch, over_pixels, over_chance)


def test_what_was_chosen_is_said_with_its_gain():
    assert "networks of epoch 2 of 3: 144 held-out patterns are predicted better than" in report().sentence
    assert "(gain 1 ± 0.2 %)" in report().sentence
    worse = report(over_pixels=Gain(-0.001, 0.002)).sentence
    assert "predicted no better than" in worse
    assert "gain -0.1 ± 0.2 %" in worse


def test_pixels_are_said_to_be_pixels():
    assert report(epoch=0).sentence.startswith(
        "pixels as refined before the networks, whose gain on 144 held-out patterns"
    )
    assert not report(epoch=0).taken
    assert report(epoch=0, epochs=0).sentence == "pixels as refined: no epoch of the networks was completed"


@pytest.mark.parametrize(
    ("share", "warned"), [(0.0101 * BEYOND_DOUBT, False), (0.0099 * BEYOND_DOUBT, True), (-0.5, True)]
)
def test_patterns_that_do_not_speak_for_the_picture_are_warned_of(share, warned):
    said = report(over_chance=Gain(share, 0.01))
    assert bool(said.warning) is warned
    assert said.sentence.startswith("no image: ") is warned
