"""The solvers in sequence: what a plan results in, which epochs end when, held-out patterns."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.engines.epochs import BatchEngine
from ptylive.engine.refine.run.course import Course, CoursePlan
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.lbfgs import LbfgsState
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.schema.preset import Preset


class Loss:
    """A loss of 100 patterns, each contributing its number."""

    patterns, chosen = 100, None

    def of_patterns(self, chosen):
        other = Loss()
        other.chosen = chosen
        return other

    def losses(self, vector, groups):
        return [float(np.sum(group)) for group in groups]


def course(**settings):
    preset = Preset(**settings)
    return Course.of(CoursePlan(preset.solver, 2, 0, 5, 30, 0.5, 0.1, 0.0, 4), Loss())


def test_a_plan_is_what_strategy_and_settings_say():
    strategy = SimpleNamespace(
        sweeps=3,
        probe_sweeps=1,
        epochs=9,
        batch_size=8,
        sweep_step=0.5,
        probe_step=0.2,
        anchor=0.3,
        more_epochs=7,
        spared_epochs=2,
    )
    settings = Preset(hist_length=4, seed=5).solver
    plan = CoursePlan.of(strategy, settings, open_end=True)
    assert (plan.more_epochs, CoursePlan.of(strategy, settings, open_end=False).more_epochs) == (7, 0)
    found = Course.of(plan, Loss())
    sweeps, lbfgs = found.sweeps, found.lbfgs
    assert (sweeps.sweeps, sweeps.probe_sweeps, sweeps.batch_size, sweeps.seed) == (3, 1, 8, 5)
    assert (sweeps.object_step, sweeps.probe_step) == (0.5, 0.2)
    assert (lbfgs.epochs, lbfgs.history, lbfgs.anchor, lbfgs.more_epochs, found.epochs) == (6, 4, 0.3, 7, 11)
    assert lbfgs.probe_step == pytest.approx(0.4)


def test_held_out_patterns_leave_as_many_batches():
    held = (np.arange(0, 10), np.arange(50, 60))
    without = course().without(held)
    assert without.sweeps.batch_size == 20
    assert without.sweeps.objective is without.lbfgs.objective
    assert without.lbfgs.objective.chosen.tolist() == [*range(10, 50), *range(60, 100)]
    assert course().without(()).sweeps.batch_size == 30
    assert without.losses_of(held, None) == (4.5, 54.5)


def test_sweeps_that_end_by_themselves_hold_patterns_out():
    assert course().sweeps.held_out is None
    sweeps = course(early_stop=True).sweeps
    assert len(sweeps.held_out) == 5
    assert sorted([*sweeps.patterns, *sweeps.held_out]) == list(range(100))


def test_of_a_single_pattern_none_is_held_out(monkeypatch):
    """None was left to sweep over, and the run ended with a ZeroDivisionError."""
    monkeypatch.setattr(Loss, "patterns", 1)
    sweeps = course(early_stop=True).sweeps
    assert (sweeps.held_out, sweeps.patterns, sweeps.batches) == (None, None, 1)


SWEEP, NEXT_SWEEP = SweepState(np.zeros(1), sweep=1, losses=(3.0,)), SweepState(np.zeros(1), sweep=2, losses=(3.0, 2.0))
BEGUN = LbfgsState(np.zeros(1), 2.0, np.zeros(1), np.zeros(1), np.zeros(1))
STEPPED = replace(BEGUN, losses=(1.0,))


def test_an_epoch_ends_with_a_sweep_or_a_step():
    between = Course.epoch_between
    assert between(SWEEP, NEXT_SWEEP) == "sweep"
    assert between(BEGUN, STEPPED) == "lbfgs"
    assert between(SWEEP, replace(SWEEP, batch=1)) is None
    assert between(NEXT_SWEEP, BEGUN) is None
    assert between(STEPPED, replace(STEPPED, converged=True)) is None


def test_states_that_are_no_end_say_why():
    found = course()
    assert found.problem_of(STEPPED, 1, stopped=False) == ""
    assert found.problem_of(replace(STEPPED, loss=np.nan), 1, stopped=False) == "the loss is not finite"
    undone = SweepState(np.zeros(1), halvings=9)
    assert "diverged" in found.problem_of(undone, 0, stopped=False)
    assert found.problem_of(undone, 0, stopped=True) == ""
    assert found.problem_of(SWEEP, 1, stopped=False) == ""


def test_an_engine_by_name_says_that_its_steps_were_too_long():
    engine = BatchEngine(Loss(), 5, 0, 30, None, None)
    found = replace(course(), sweeps=engine)
    lost = SweepState(np.zeros(1), sweep=1, losses=(3.0,), halvings=7)
    assert found.finished(lost) is False  # L-BFGS would follow if it had epochs
    assert "use smaller steps" in found.problem_of(lost, 1, stopped=False)
    assert found.problem_of(NEXT_SWEEP, 2, stopped=False) == ""


def test_the_course_ends_with_lbfgs_or_without():
    found = course()
    assert not found.finished(replace(NEXT_SWEEP))
    assert found.finished(replace(BEGUN, converged=True))
    only_sweeps = replace(found, lbfgs=replace(found.lbfgs, epochs=0))
    assert only_sweeps.finished(NEXT_SWEEP)
    assert not only_sweeps.finished(SWEEP)


def test_lbfgs_makes_the_epochs_that_sweeps_left():
    """Planned are 2 sweeps and 3 L-BFGS epochs; the run went on to L-BFGS after one sweep."""
    found = course().continuing(STEPPED, Log(phases=("sweep", "lbfgs")))
    assert found.lbfgs.epochs == found.continuing(STEPPED, Log(phases=("sweep", "lbfgs"))).lbfgs.epochs == 4
    assert course().continuing(STEPPED, Log(phases=("sweep", "sweep", "lbfgs"))).lbfgs.epochs == 3
    assert course().continuing(STEPPED, Log(phases=("sweep", "lbfgs"), spared=1)).lbfgs.epochs == 3
    assert course().continuing(SWEEP, Log(phases=("sweep",))).lbfgs.epochs == 3
    assert course(early_stop=True).continuing(STEPPED, Log(phases=("sweep", "lbfgs"))).lbfgs.epochs == 3


def test_a_run_without_an_epoch_failed_and_sweeps_that_did_not_help_are_told():
    at_rest = replace(BEGUN, converged=True)
    assert "smaller steps" in course().problem_of(at_rest, 0, stopped=False)
    assert course().problem_of(at_rest, 2, stopped=False) == course().problem_of(at_rest, 0, stopped=True) == ""
    no_sweeps = replace(course(), sweeps=replace(course().sweeps, sweeps=0))
    assert no_sweeps.problem_of(at_rest, 0, stopped=False) == ""  # the start was the best already
    undone = SweepState(np.zeros(1), halvings=9)
    assert "no sweep lowered the loss" in course().remark(undone, BEGUN)
    assert course().remark(NEXT_SWEEP, BEGUN) == no_sweeps.remark(undone, BEGUN) == course().remark(SWEEP, SWEEP) == ""
