"""Drifts of weak scans, which lattice and refined object show together."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from shown_drift import LEFT, TRUE_A, UNLIKELY, refined

from ptylive.engine.refine.run.again import drift_afterwards
from ptylive.engine.refine.run.again.strained_scan import Slopes, StrainedScan
from ptylive.engine.refine.run.history import History, snapshots


def weak(monkeypatch, before, after, last=None):
    """Slopes along the slow axis of a weak scan, in standard deviations, of the first object and of the continued one.

    A drift of (0.6, 0) Å that the lattice shows moves the loss by as much.
    """
    values = itertools.chain([before, after], itertools.repeat(after if last is None else last))

    def slopes(self, strains):
        self._context.pause()
        return Slopes(np.array([next(values), 0.0]), np.eye(2))

    monkeypatch.setattr(StrainedScan, "slopes", slopes)


POSSIBLE = replace(LEFT, drift_A=(0.6, 0.0), deviations=3.0)


@pytest.mark.parametrize(
    ("before", "after", "applied", "words"),
    [
        (3.0, -1.0, True, "corrected, lattice and refined object show it (3.0 and 3.0 standard deviations, evidence 1"),
        (3.0, -7.5, False, "show it (3.0 and 3.0 standard deviations, evidence 12.6 of 10), but the object refined"),
        (
            1.9,
            -1.0,
            True,
            "the object refined without it shows it, as lattice and refined object had suggested (3.0 an",
        ),
        (1.9, -3.5, False, "suggest it (3.0 and 1.9 standard deviations, evidence 9.9 of 10), but the object refined"),
        (-3.0, 9.0, False, "and lattice and refined object do not show it either (3.0 and -3.0 standard deviations, e"),
    ],
)
def test_lattice_and_object_together_show_the_drift_of_a_weak_scan(
    moving, shows, monkeypatch, before, after, applied, words
):
    """Graphene whose rotation was 1.2° off had evidence of 9.7 for 0.7 Å, and 0.860 became 0.938 without them."""
    shows(TRUE_A, POSSIBLE)
    weak(monkeypatch, before, after)
    result = refined(moving)
    assert result.drift.applied is applied and result.drift.drift_A == POSSIBLE.drift_A
    assert words in result.drift.reason and result.reason.count(result.drift.reason) == 1
    assert result.drift.uncertainty_A == POSSIBLE.uncertainty_A


@pytest.mark.slow
def test_a_drift_that_the_object_wants_back_leaves_the_files_of_the_first_run(moving, shows, monkeypatch, tmp_path):
    """A platinum lattice indicated 1.7 Å by 5.9 deviations where 0.4 were present: 0.75 was reached instead of 0.95."""
    shows((0.0, 0.0), UNLIKELY)
    alone = refined(moving)
    shows(TRUE_A, POSSIBLE)
    weak(monkeypatch, 3.0, -9.0)
    table, history = tmp_path / "loss.csv", History(tmp_path / "epochs")
    result = refined(moving, loss_table=table, history=history)
    np.testing.assert_array_equal(result.loss, alone.loss)
    np.testing.assert_array_equal(result.object, alone.object)
    assert len(table.read_text().splitlines()) == len(alone.loss) + 1
    assert len(snapshots(history.folder)) == len(alone.loss) + 1


def test_a_stop_before_a_suggested_drift_was_confirmed_keeps_the_first_run(moving, shows, monkeypatch):
    shows((0.0, 0.0), UNLIKELY)
    alone = refined(moving)
    shows(TRUE_A, POSSIBLE)
    weak(monkeypatch, 3.0, -1.0)
    told = [""]
    stop = lambda: "object refined without it" in told[-1]  # noqa: E731
    result = refined(moving, on_progress=lambda one: told.append(one.message), should_stop=stop)
    assert result.state == "done" and not result.drift.applied
    np.testing.assert_array_equal(result.object, alone.object)
    assert "but the run was stopped before the object refined without it was tested" in result.reason


def test_after_a_suggested_drift_the_search_goes_on_if_slopes_show_the_rest(moving, shows, monkeypatch):
    shows(TRUE_A, POSSIBLE, fall=20.0)
    weak(monkeypatch, 3.0, 9.0, 0.0)
    monkeypatch.setattr(drift_afterwards, "is_as_low", lambda result, than, **_: True)
    told = []
    result = refined(moving, on_progress=told.append)
    assert result.drift.applied and result.drift.drift_A[0] > POSSIBLE.drift_A[0]
    assert sum("object refined without it" in one.message for one in told) > 1
