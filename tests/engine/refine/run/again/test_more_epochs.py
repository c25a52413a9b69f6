"""Which resumed runs are repeated first, to find the one whose result stands."""

import pytest

from ptylive.engine.refine.run.again.more_epochs import epochs_after, of_length, of_open_length
from ptylive.schema.preset import Preset

OPEN = Preset(num_slices=1)


@pytest.mark.parametrize(("preset", "expected"), [(OPEN, None), (of_length(OPEN, 30), 30)])
def test_a_given_length_continues_what_followed(tmp_path, preset, expected):
    second, missing = tmp_path / "second", tmp_path / "missing"
    second.touch()
    assert epochs_after(preset, [missing, second]) == expected


def test_a_run_that_nothing_followed_is_simply_resumed(tmp_path):
    assert epochs_after(of_length(OPEN, 30), [tmp_path / "missing"]) is None
    assert epochs_after(of_length(OPEN, 30), []) is None


def test_only_the_length_changes():
    assert of_open_length(of_length(OPEN, 30)) == OPEN
    assert of_length(OPEN, 30).solver.epoch_max == 30
