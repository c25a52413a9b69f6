"""Short trials, judged by held-out patterns."""

from contextlib import closing
from dataclasses import replace

import numpy as np

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.schema.preset import Preset


def test_trials_of_other_positions_take_the_same_patterns_in_the_same_order(drifted):
    """Otherwise the order of the batches decides between two candidates, and not their positions."""
    dataset = drifted((0.0, 0.0), 5)
    turned = replace(dataset, positions_A=dataset.positions_A @ np.array([[0.0, 1.0], [-1.0, 0.0]]))
    of_both = []
    for candidate in (dataset, turned):
        trial = Trial.of(candidate, Preset(num_slices=1, probe_modes=1), TrialContext("cpu", 1))
        with closing(open_backend("cpu", trial.problem.multislice, 1)) as backend:
            solver = trial.solver(backend, 2)
            state = solver.init(trial.problem.start)
            of_both.append([solver._batch(replace(state, batch=number)) for number in range(solver.batches)])
    for one, other in zip(*of_both, strict=True):
        np.testing.assert_array_equal(one, other)
