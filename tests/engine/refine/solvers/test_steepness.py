"""The largest eigenvalue of steps times Hessian, against a dense matrix and on a run that would otherwise diverge."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from ptylive.engine.backend.multislice.forward.general import GeneralMultislice
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.solvers.objective import Evaluation, Objective
from ptylive.engine.refine.solvers.steepness import steepness
from ptylive.engine.refine.solvers.sweeps import STEEPEST, Sweeps
from ptylive.schema.preset import Preset


@dataclass(frozen=True)
class Bowl:
    """x A x / 2, with the interface of an objective."""

    matrix: np.ndarray
    xp = np
    dot = staticmethod(np.dot)

    def evaluate(self, vector, indices=None):
        gradient = self.matrix @ vector
        return Evaluation(float(vector @ gradient) / 2, gradient)


def test_the_largest_eigenvalue_of_steps_times_curvature_is_found():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(30, 30)))
    steps = rng.uniform(0.5, 2.0, 30)
    root = np.sqrt(steps)
    matrix = basis @ np.diag([5.0, *rng.uniform(0, 1, 29)]) @ basis.T / np.outer(root, root)
    found = steepness(Bowl(matrix), rng.normal(size=30), np.arange(1), lambda gradient: steps * gradient)
    assert found == pytest.approx(5.0, rel=0.02)  # the second is at most a fifth: five iterations leave far less


def test_nothing_moves_nothing_is_steep():
    found = steepness(Bowl(np.eye(4)), np.ones(4), np.arange(1), np.zeros_like)
    assert found == 0.0


def thick(simulated, **changes):
    """A set-up with more slices than the patterns resolve: together they overshoot at the step that suits one slice."""
    preset = Preset(window_px=24, probe_modes=1, num_slices=12, total_thickness_A=12.0)
    setup = prepare(simulated.dataset, preset, None)
    objective = Objective(
        GeneralMultislice(setup.multislice, np, "complex64", "cpu"), setup.layout, setup.multislice.count
    )
    return setup, replace(Sweeps(objective, 2, 0, 24, 0.5, 0.1, seed=0), **changes)


def ended(solver, start):
    states = [solver.init(start)]
    while not solver.finished(states[-1]):
        states.append(solver.step(states[-1]))
    return states


def test_steps_of_many_slices_are_shortened_before_the_first(simulated):
    setup, solver = thick(simulated)
    states = ended(solver, setup.start)
    assert states[1].steepness > STEEPEST
    assert states[-1].halvings == 0
    assert states[-1].losses[1] < states[-1].losses[0]


def test_one_slice_is_not_measured(simulated):
    setup = prepare(simulated.dataset, Preset(window_px=24, probe_modes=1), None)
    objective = Objective(
        GeneralMultislice(setup.multislice, np, "complex64", "cpu"), setup.layout, setup.multislice.count
    )
    assert ended(Sweeps(objective, 1, 0, 48, 0.5, 0.1, seed=0), setup.start)[-1].steepness == 0.0
