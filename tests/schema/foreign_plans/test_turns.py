"""Iterations of PtyRAD and flags of phaser against the behaviour of those programs (their own conditions, restated)."""

import pytest

from ptylive.schema.errors import MetadataError
from ptylive.schema.foreign_plans.turns import both, phaser_turns, ptyrad_turns, strength
from ptylive.schema.schedule import Schedule


def on(turns, epoch):
    return turns if isinstance(turns, bool) else bool(Schedule.parse(turns).at(epoch))


@pytest.mark.parametrize("start", [None, 1, 2, 7])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("end", [None, 1, 9])
def test_ptyrad(start, step, end):
    """``_should_apply_at_iter`` of 1.0.0, iterations from 1."""
    turns = ptyrad_turns({"start_iter": start, "step": step, "end_iter": end}, "x")
    for epoch in range(14):
        niter = epoch + 1
        due = start is not None and niter >= start and (end is None or niter < end) and (niter - start) % step == 0
        assert on(turns, epoch) == due, (turns, epoch)


@pytest.mark.parametrize("after", [0, 5])
@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("before", [None, 8])
def test_phaser(after, every, before):
    """``SimpleFlag`` of 0.3.1, iterations from 1."""
    flag = {"after": after, "every": every} | ({} if before is None else {"before": before})
    turns = phaser_turns(flag, "x")
    for epoch in range(14):
        i = epoch + 1
        assert on(turns, epoch) == ((before is None or i < before) and i > after and (i - after) % every == 0)


def test_truth_values_and_start_epochs_become_conditions():
    assert (phaser_turns(True, "x"), phaser_turns(False, "x"), ptyrad_turns({"start_iter": 1}, "x")) == (
        True,
        False,
        True,
    )
    assert both(False, "epoch >= 2") == "epoch >= 2"
    assert both("epoch >= 2", "epoch < 1") == "(epoch >= 2) or (epoch < 1)"
    assert both(True, "epoch >= 2") is True
    assert (strength(True, 2.0), strength(False, 2.0), strength("epoch >= 3", 2.0)) == (
        2.0,
        0.0,
        "2.0 if epoch >= 3 else 0",
    )


@pytest.mark.parametrize("value", [{"type": "expr", "expr": "i > 3"}, 3, "yes", {"after": "x"}, {"every": 0}])
def test_other_flags_are_one_line(value):
    with pytest.raises(MetadataError):
        phaser_turns(value, "update_probe")
