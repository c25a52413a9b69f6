"""Depth that two slices are too few for."""

from types import SimpleNamespace
from typing import Any

import pytest

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.depth import seen_depth
from ptylive.engine.refine.tuning.depth.depth_trials import COARSE_SLICES, FIRST, NOTHING, THICKEST_A
from ptylive.engine.refine.tuning.depth.seen_depth import DEEP, depth_in_many_slices
from ptylive.engine.refine.tuning.held_out import HeldOutLoss

CPU = TrialContext(backend="cpu")
SPECIMEN: Any = object()


@pytest.fixture
def seen(monkeypatch):
    """Outcome if two slices show nothing, for losses of many by depth, under one half turn or both."""

    def depth(*halves, depth_A=60.0):
        def trials(losses):
            spread = (-0.01, 0.0, 0.01)
            values = dict(zip((NOTHING, FIRST, DEEP), losses, strict=True))

            def loss(depths, slices):
                assert slices == COARSE_SLICES
                return HeldOutLoss(tuple(values[depths] + each for each in spread))

            return SimpleNamespace(loss=loss)

        monkeypatch.setattr(seen_depth, "half_turn_trials", lambda *_: [trials(losses) for losses in halves])
        return depth_in_many_slices(SPECIMEN, "two slices show nothing", CPU, depth_A)

    return depth


def test_a_thick_crystal_shows_depth_in_many_slices(seen):
    begun, why = seen((10.0, 8.9, 7.8))
    assert begun is SPECIMEN
    assert why.startswith("a depth of 120 Å already predicts held-out patterns better in 6 slices, by 22 ± ")


@pytest.mark.parametrize(
    "losses",
    [(10.0, 7.7, 9.0), (10.0, 9.58, 9.57), (10.0, 9.9, 9.6), (10.0, 10.5, 9.9), (10.0, 9.46, 9.45)],
    ids=["two sheets", "little more", "little", "worse at first", "no more"],
)
def test_what_gains_little_or_no_more_beyond_a_depth_of_focus_is_one_slice(seen, losses):
    assert seen(losses) == (None, "two slices show nothing")


def test_depth_may_show_under_the_other_half_turn(seen):
    assert seen((10.0, 10.1, 10.2), (10.0, 9.0, 8.0))[0] is SPECIMEN


def test_nothing_thicker_than_electrons_pass_is_tried(seen):
    assert seen((10.0, 9.0, 8.0), depth_A=0.6 * THICKEST_A)[0] is None
