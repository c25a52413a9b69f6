"""Absorption in one slice: tried where a phase leaves far more than counting noise, used if it predicts far better."""

from dataclasses import replace

import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.parameters.parameter_vector import ObjectForm
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import unexplained
from ptylive.engine.refine.tuning.depth.absorption import LEAST_LEFT, WORTH, with_absorption
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice, Unexplained
from ptylive.engine.refine.tuning.held_out import Trial
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
PHASE = (100.0, 102.0)
MUCH, LITTLE = LEAST_LEFT + 0.01, LEAST_LEFT - 0.01


@pytest.fixture
def tried(monkeypatch):
    """Prescribe what both forms leave of held-out patterns; return the forms that were tried."""
    forms = []

    def prescribed(damped, times=MUCH, phase=PHASE):
        def prescribed_left(trial, context):
            forms.append(trial.problem.strategy.object_form)
            return Unexplained(phase, times)

        def likelihoods(self, epochs, context):
            assert epochs == (4,)
            assert self.problem.strategy.non_negative
            forms.append(self.problem.strategy.object_form)
            yield damped

        monkeypatch.setattr(unexplained, "unexplained", prescribed_left)
        monkeypatch.setattr(Trial, "lbfgs_likelihoods", likelihoods)
        return forms

    return prescribed


def thin(**settings):
    return Tuned(scan_of_columns(points=16), Preset(num_slices=1, **settings), words=("before",))


def test_a_damped_object_that_predicts_far_better_is_used_and_said(tried):
    forms = tried((90.0, 91.8))
    found = with_absorption(thin(), CPU)
    assert forms == [ObjectForm.PHASE, ObjectForm.DAMPED]
    assert found.preset.object.weakly_damped_obj
    assert found.preset.object.non_negative_phase is True
    gain = Gain.over(PHASE, (90.0, 91.8))
    assert found.words[1:] == (f"one slice with absorption: predicts held-out patterns better than a phase, by {gain}",)


@pytest.mark.parametrize(
    "damped",
    [(101 * (1 - WORTH) - 0.5, 101 * (1 - WORTH) + 1.5), (60.0, 125.0), (94.5, 90.5), (110.0, 112.0)],
    ids=["by-too-little", "not-certain", "by-less-than-three-deviations", "worse"],
)
def test_otherwise_it_stays_a_phase(tried, damped):
    tried(damped)
    assert with_absorption(thin(), CPU) == thin()


def test_nothing_more_is_tried_where_a_phase_leaves_little(tried):
    forms = tried((50.0, 51.0), times=LITTLE)
    assert with_absorption(thin(), CPU) == thin()
    assert forms == [ObjectForm.PHASE]


def test_nor_where_what_it_leaves_cannot_be_told(monkeypatch):
    monkeypatch.setattr(unexplained, "unexplained", lambda trial, context: None)
    assert with_absorption(thin(), CPU) == thin()


@pytest.mark.parametrize(
    "settings",
    [
        {"phase_only_obj": True},
        {"phase_only_obj": False},
        {"weakly_damped_obj": True},
        {"non_negative_phase": False},
        {"regime": "weak"},
        {"optimizer": "epie"},
        {"optimizer": "lsq_ml"},
        {"optimizer": "adam"},
    ],
    ids=str,
)
def test_a_form_that_was_asked_for_is_kept(tried, settings):
    forms = tried((50.0, 51.0))
    assert with_absorption(thin(**settings), CPU) == thin(**settings)
    assert forms == []


def test_a_phase_that_was_tried_before_is_not_tried_again(tried):
    forms = tried((90.0, 91.8))
    single = OneSlice(thin(), CPU)
    assert single.left is not None
    assert with_absorption(thin(), CPU, single).preset.object.weakly_damped_obj
    assert forms == [ObjectForm.PHASE, ObjectForm.DAMPED]


def test_few_patterns_decide_nothing(tried):
    forms = tried((50.0, 51.0))
    few = replace(thin(), dataset=scan_of_columns(points=12))
    assert with_absorption(few, CPU) is few
    assert forms == []


def test_it_is_tried_before_one_slice_is_too_little():
    """36 Å of gold left 1.3 times the counting noise as a phase: 0.955 in two complex slices, 0.990 in a damped one."""
    assert LEAST_LEFT < 1.3
