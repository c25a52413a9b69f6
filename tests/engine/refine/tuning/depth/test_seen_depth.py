"""Depth that two slices a depth of focus apart do not show: less of it, and more of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import seen_depth
from ptylive.engine.refine.tuning.depth.depth_trials import COARSE_SLICES, FIRST, NOTHING, THICKEST_A
from ptylive.engine.refine.tuning.depth.seen_depth import DEEP, depth_in_many_slices, depth_seen
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
SPECIMEN: Any = object()


@pytest.fixture
def seen(monkeypatch):
    """Outcome if two slices show nothing, for losses of many by depth, under one half turn or both."""

    def depth(*halves, depth_A=60.0):
        def trials(losses):
            spread = (-0.01, 0.0, 0.01)
            four = (*losses, 99.0) if len(losses) == 3 else losses
            values = dict(zip((NOTHING, FIRST, *DEEP), four, strict=True))

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
    [
        (10.0, 7.7, 9.0),
        (10.0, 9.58, 9.57),
        (10.0, 9.9, 9.6),
        (10.0, 10.5, 9.9),
        (10.0, 9.46, 9.45),
        (10.0, 9.9, 9.87, 9.85),
        (10.0, 9.7, 9.52, 9.45),
    ],
    ids=["two sheets", "little more", "little", "worse at first", "no more", "a sheet", "no more from two to four"],
)
def test_what_gains_little_or_no_more_beyond_a_depth_of_focus_is_one_slice(seen, losses):
    assert seen(losses) == (None, "two slices show nothing")


def test_a_very_thick_crystal_shows_it_from_two_depths_of_focus_to_four(seen):
    begun, why = seen((10.0, 10.02, 9.63, 8.8))
    assert begun is SPECIMEN
    assert why.startswith("a depth of 240 Å already predicts held-out patterns better in 6 slices, by 12 ± ")


def test_four_depths_of_focus_may_be_too_thick_though_two_are_not(seen):
    assert seen((10.0, 10.02, 9.63, 8.8), depth_A=0.3 * THICKEST_A)[0] is None


def test_depth_may_show_under_the_other_half_turn(seen):
    assert seen((10.0, 10.1, 10.2), (10.0, 9.0, 8.0))[0] is SPECIMEN


def test_nothing_thicker_than_electrons_pass_is_tried(seen):
    assert seen((10.0, 9.0, 8.0), depth_A=0.6 * THICKEST_A)[0] is None


class Pairs:
    """Stands for trials of two slices: gain of a depth of focus, and of half of one."""

    def __init__(self, whole, half):
        self._whole, self._half = whole, half

    def gain(self, thin, depths, *, hurried):
        return self._whole if depths == FIRST else self._half

    def gain_of_half(self, thin):
        return self._half

    def gain_of_more(self):
        return Gain(-0.1, 0.01)


@pytest.mark.parametrize(
    ("origin", "whole", "half", "shown"),
    [
        (Origin.GIVEN, Gain(-0.11, 0.007), Gain(0.1, 0.004), True),
        (Origin.GIVEN, Gain(-0.11, 0.007), Gain(0.019, 0.001), False),
        (Origin.GIVEN, Gain(-0.11, 0.007), Gain(0.1, 0.06), False),
        (Origin.GIVEN, Gain(0.05, 0.007), Gain(0.1, 0.004), True),
        (Origin.ESTIMATED, Gain(-0.11, 0.007), Gain(0.1, 0.004), False),
    ],
    ids=["half a depth", "hardly more", "by chance", "a whole depth no better", "of an estimated focus"],
)
def test_half_a_depth_of_focus_below_a_given_focus_is_depth_too(monkeypatch, origin, whole, half, shown):
    """A crystal of half a depth of focus has its middle a quarter of one below the entrance that was stated."""
    monkeypatch.setattr(seen_depth, "half_turn_trials", lambda *_rest: [Pairs(whole, half)])
    calibration = Calibration({"C10": Quantity(-60.0, origin)})
    specimen: Any = SimpleNamespace(
        dataset=SimpleNamespace(calibration=calibration), preset=Preset(probe_modes=1), curves=(), atoms_at_random=False
    )
    begun, why = depth_seen(specimen, CPU, 60.0)
    assert (begun is specimen) == shown
    assert ("a depth of 30 Å below the given focus already predicts held-out patterns better, by 10" in why) == shown
