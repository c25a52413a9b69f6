"""One mode in place of several, by trials that have converged."""

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, LossCourse, Trial
from ptylive.engine.refine.tuning.mode_choice import ModeChoice
from ptylive.engine.refine.tuning.optics import settled_modes
from ptylive.engine.refine.tuning.optics.settled_modes import with_settled_modes
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
THIN = Preset(num_slices=1)
UNEVEN = np.array([1.0, -1.0, 1.0, -1.0])
"""Differences between groups of patterns; the difference of two losses scatters by as much."""


def loss(mean: float, scatter: float = 1.0) -> HeldOutLoss:
    return HeldOutLoss(tuple(mean + scatter * UNEVEN))


def short(one: float, several: int = 4) -> ModeChoice:
    """Result of short trials of one mode against several, whose loss is 100: the deviation is 2 / sqrt(3) per cent."""
    return ModeChoice(several, LossCourse(loss(one)), LossCourse(loss(100.0, scatter=-1.0)))


@pytest.mark.parametrize(
    ("gain", "modes"),
    [(Gain(0.01, 0.002), 1), (Gain(0.01, 0.008), "auto"), (Gain(-0.01, 0.002), "auto")],
    ids=["better", "not-certain", "worse"],
)
def test_one_mode_where_it_predicts_better_beyond_doubt(monkeypatch, gain, modes):
    monkeypatch.setattr(settled_modes, "_gain", lambda *told: gain)
    begun = Tuned(scan_of_columns(points=16), THIN)
    tuned = with_settled_modes(begun, short(100.0), CPU)
    assert tuned.preset.probe.probe_modes == modes
    assert (tuned is begun) == (modes == "auto")
    if modes == 1:
        assert tuned.words[-1].startswith("1 probe mode:")
        assert str(gain) in tuned.words[-1]


@pytest.mark.parametrize(
    ("choice", "changes", "asked"),
    [
        (short(103.0), {}, True),  # behind by 2.6 deviations
        (short(106.0), {}, False),  # behind by 5.2, which does not change
        (short(90.0), {}, False),  # one mode was chosen
        (short(100.0), {"num_slices": 3, "total_thickness_A": 70.0}, False),
        (short(100.0), {"optimizer": "epie"}, False),
        (None, {}, False),
    ],
    ids=["behind", "far-behind", "ahead", "several-slices", "published", "nothing-tried"],
)
def test_it_is_asked_of_one_slice_unless_one_mode_is_far_behind(monkeypatch, choice, changes, asked):
    monkeypatch.setattr(settled_modes, "_gain", lambda *told: Gain(0.01, 0.002))
    preset = THIN.model_copy(update=changes)
    begun = Tuned(scan_of_columns(points=16), preset)
    assert (with_settled_modes(begun, choice, CPU) is not begun) == asked


class Courses:
    """Prescribed losses of several modes and of one, stage by stage; which trials were run, and how far."""

    def __init__(self, monkeypatch, several, one):
        self.made, self.held = [], []

        def lbfgs_losses(trial, epochs, context, sweeps):
            modes = trial.problem.strategy.coherence.modes
            assert trial.problem.strategy.sweeps > 1  # as in an automatic run
            assert (epochs, sweeps) == ((0, 4), (trial.all_sweeps // 2,))
            self.held.append(trial.held_out)
            for mean in several if modes > 1 else one:
                self.made.append(modes)
                yield loss(mean, scatter=1.0 if modes > 1 else -1.0)

        monkeypatch.setattr(Trial, "lbfgs_losses", lbfgs_losses)

    def gain(self, several=2):
        preset = THIN.model_copy(update={"sweeps": 1, "epoch_max": 1})
        return with_settled_modes(Tuned(scan_of_columns(points=16), preset), short(100.0, several), CPU)


@pytest.mark.parametrize("several", [2, 4])
def test_the_trials_are_as_long_as_the_sweeps_and_judge_by_the_same_patterns(monkeypatch, several):
    """Two modes represent any larger number: the second contains the blur of a source."""
    courses = Courses(monkeypatch, (110.0, 105.0, 100.0), (112.0, 104.0, 95.0))
    tuned = courses.gain(several)
    assert courses.made == [2, 1] * 3
    assert np.array_equal(*courses.held)
    assert tuned.preset.probe.probe_modes == 1


@pytest.mark.parametrize(
    ("one", "stages"),
    [((106.0, 0.0, 0.0), 1), ((104.0, 106.0, 0.0), 2), ((104.0, 104.0, 106.0), 3), ((90.0, 95.0, 101.0), 3)],
    ids=["half-way", "after-the-sweeps", "not-far", "ahead-at-first"],
)
def test_one_mode_that_has_fallen_far_behind_is_given_up(monkeypatch, one, stages):
    """Its lead only shrinks: one mode led by 7 deviations and then by 3, and none that was 4 behind came back."""
    courses = Courses(monkeypatch, (100.0, 100.0, 100.0), one)
    assert courses.gain().preset.probe.probe_modes == "auto"
    assert courses.made == [2, 1] * stages


def test_losses_half_way_do_not_change_those_at_the_end():
    """Sweeps that are stopped and continued are the same sweeps."""
    trial = Trial.of(scan_of_columns(points=16), THIN.model_copy(update={"sweeps": 4, "probe_modes": 1}), CPU)
    half, *late = trial.lbfgs_losses((0, 1), CPU, (2,))
    assert late == list(trial.lbfgs_losses((0, 1), CPU))
    assert half.mean > late[0].mean > late[1].mean


@pytest.mark.slow
def test_one_mode_describes_a_coherent_scan_better_in_the_end(drifted):
    """Modes for a source of 0.8 Å blur details that a probe without a source shows."""
    preset = Preset(num_slices=1, window_px=32, regime="thin", source_size_A=0.8)
    assert settled_modes._gain(Tuned(drifted((0.0, 0.0), 3), preset), 2, CPU).certain
