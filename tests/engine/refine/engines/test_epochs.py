"""Epochs of a named engine: what is counted, what ends a run, and that nothing is undone."""

from dataclasses import replace

import numpy as np
import pytest
from engine_references import engine, finished, laid_out

from ptylive.engine.refine.engines.rule import Step
from ptylive.engine.refine.solvers.objective import Evaluation


@pytest.fixture
def made(small):
    return laid_out(small.dataset, optimizer="adam", epoch_max=3, batch_size=20)


def test_an_epoch_is_all_patterns_and_its_loss_their_mean(made):
    problem, preset, start = made
    solver = engine(problem, preset)
    solver = replace(solver, rule=Still())
    state = solver.init(start)
    for _ in range(4):
        assert state.sweep == 0
        state = solver.step(state)
    assert (state.sweep, state.batch, state.steps, solver.batches) == (1, 0, 4, 4)
    assert state.losses[0] == pytest.approx(float(solver.objective.evaluate(start).loss) / 64, rel=1e-5)
    assert len(finished(solver, state).losses) == 3


class Still:
    """A rule that does not move and only counts."""

    def stepped(self, batch, memory, count):
        return Step(batch.vector, np.full((1, 2), count))


class Lost:
    """A rule whose third step gives NaN."""

    def stepped(self, batch, memory, count):
        return Step(batch.vector + (np.float32(np.nan) if count == 5 else np.float32(0)))


def test_the_rule_is_told_how_many_steps_it_made(made):
    problem, preset, start = made
    solver = replace(engine(problem, preset), rule=Still())
    assert finished(solver, solver.init(start)).memory[0, 0] == 11


def test_what_is_no_number_ends_the_run_where_its_epoch_began(made):
    problem, preset, start = made
    solver = replace(engine(problem, preset), rule=Lost())
    state = finished(solver, solver.init(start))
    assert solver.failed(state) and len(state.losses) == 1
    np.testing.assert_array_equal(state.vector, start)


def test_losses_that_rise_are_kept(made):
    problem, preset, start = made
    solver = engine(problem, preset)
    told = iter([1.0, 1.0, 1.0, 1.0] + [2.0] * 4 + [3.0] * 4)

    class Told(type(solver.objective)):
        def evaluate(self, vector, indices=None):
            return Evaluation(next(told) * len(indices), np.zeros_like(vector))

    objective = Told(solver.objective.backend, problem.layout, 64)
    assert finished(replace(solver, objective=objective), solver.init(start)).losses == (1.0, 2.0, 3.0)


def test_first_epochs_may_move_the_probe_only(small):
    problem, preset, start = laid_out(small.dataset, optimizer="epie", epoch_max=2, batch_size=32, probe_sweeps=1)
    solver = engine(problem, preset)
    first = solver.step(solver.step(solver.init(start)))
    np.testing.assert_array_equal(problem.layout.object_block(first.vector), problem.layout.object_block(start))
    second = finished(solver, first)
    assert np.abs(problem.layout.object_block(second.vector) - problem.layout.object_block(start)).max() > 0
