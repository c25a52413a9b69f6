"""Which resumed runs are repeated first, to find the one whose result stands."""

import numpy as np
import pytest

from ptylive.engine.refine.run import checkpoint as checkpoints
from ptylive.engine.refine.run.again.more_epochs import epochs_after, of_length, of_open_length
from ptylive.engine.refine.run.log import Log
from ptylive.engine.refine.solvers.sweeps import SweepState
from ptylive.schema.preset import Preset

OPEN = Preset(num_slices=1)


@pytest.mark.parametrize(("preset", "expected"), [(OPEN, None), (of_length(OPEN, 30), 30)])
def test_a_given_length_continues_what_followed(tmp_path, preset, expected):
    first, second, missing = tmp_path / "first", tmp_path / "second", tmp_path / "missing"
    second.touch()
    assert epochs_after(preset, first, [missing, second]) == expected


def test_a_run_that_nothing_followed_is_simply_resumed(tmp_path):
    assert epochs_after(of_length(OPEN, 30), tmp_path / "first", [tmp_path / "missing"]) is None
    assert epochs_after(of_length(OPEN, 30), tmp_path / "first", []) is None


@pytest.mark.parametrize(("given", "expected"), [("auto", 30), (20, None)])
def test_what_followed_an_earlier_run_of_open_length_does_not_count(tmp_path, given, expected):
    """It may lie next to a run that was given a number of epochs, and nothing follows such a run."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.touch()
    state = SweepState(np.zeros(3, np.float32))
    checkpoints.save(first, state, Log((1.0,), ("sweep",), (1.0,)), checkpoints.Identity("data", epochs=given))
    assert epochs_after(of_length(OPEN, 30), first, [second]) == expected


def test_only_the_length_changes():
    assert of_open_length(of_length(OPEN, 30)) == OPEN
    assert of_length(OPEN, 30).solver.epoch_max == 30
