"""What a refinement decides and what it costs: CPU seconds by kind of trial, and the table."""

from types import SimpleNamespace

import pytest
import zoo_scans  # noqa: F401  (makes the benchmarks importable)

from benchmarks.zoo import decisions


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("trying a depth of 26.3 Å in 2 slices", "a depth of Å in slices"),
        ("trying 1 probe mode", "probe mode"),
        ("trying 4 probe modes", "probe mode"),
        ("trying defocus -1.2e+03", "defocus"),
    ],
)
def test_trials_of_a_kind_have_one_name(words, kind):
    assert decisions.kind_of(words) == kind


def test_seconds_go_to_what_was_said_last(monkeypatch):
    now = iter((0.0, 1.0, 3.0, 6.0, 10.0))
    monkeypatch.setattr(decisions.time, "process_time", lambda: next(now))
    clock = decisions._Clock()
    for phase, words in (("trial", "trying defocus 1"), ("trial", "trying defocus 2"), ("sweep", ""), ("lbfgs", "")):
        clock(SimpleNamespace(phase=phase, message=words))
    clock.end()
    told = clock.told()
    assert told["by"] == {"laying out": 1.0, "defocus": 5.0, "run": 4.0}
    assert (told["trials"], told["before_s"], told["run_s"]) == ({"defocus": 2}, 6.0, 4.0)


def row(run, corr, **decided):
    told = {
        "form": "thin",
        "term": "ml",
        "slices": 1,
        "modes": 4,
        "phase": False,
        "map": False,
        "drift": False,
        "epochs": 14,
        **decided,
    }
    spent = {"by": {"probe mode": 1.5, "run": 2.0}, "before_s": 1.5, "run_s": 2.0}
    return {"scan": "a", "way": "ours", "run": run, "corr": corr, "decided": told, **spent}


def test_runs_that_decided_otherwise_are_counted():
    rows = [row("seed 0", 0.95), row("seed 1", 0.953), row("seed 2", 0.94, drift=True)]
    line = decisions.table([*rows, {"scan": "a", "way": "ours", "run": "half the batch", "error": 1}]).splitlines()[2]
    said = "thin ml, 4 modes (2); thin ml, 4 modes, drift (1)"
    assert line == f"| a | ours | {said} | 0.950 | 0.0130 | 1.5 / 2.0 | probe mode 1.5 |"


def test_phases_of_several_slices_are_told_from_complex_ones():
    thick = {"form": "thick", "term": "lsq_sqrt", "slices": 4}
    rows = [row("seed 0", 0.85, **thick, phase=True), row("seed 1", 0.8, **thick)]
    assert "4 slices, phase (1); thick lsq_sqrt, 4 modes, 4 slices (1)" in decisions.table(rows)


@pytest.mark.parametrize(
    ("reason", "begun"),
    [
        (
            "moderate dose; the whole pattern from an empty object: predicts better than all from the live map",
            False,
        ),
        ("one slice; the whole pattern from the live map: predicts better than the bright field", True),
        ("low dose: weak phase object, started from the live map; drift", True),
        ("one slice at 9000 e/Å²: phase object at or above vacuum", False),
    ],
)
def test_the_start_that_was_taken_is_told_from_the_one_that_was_not(reason, begun):
    assert decisions._from_map(reason) == begun


def test_the_batch_is_the_one_that_was_planned():
    from ptylive.engine.refine.run.course import CoursePlan

    strategy = SimpleNamespace(
        sweeps=8,
        probe_sweeps=0,
        epochs=14,
        batch_size=300,
        sweep_step=0.1,
        probe_step=0.1,
        anchor=0.1,
        more_epochs=0,
        spared_epochs=0,
    )
    with decisions.planned_batches() as sizes:
        plan = CoursePlan.of(strategy, None, open_end=False)
    assert (plan.batch_size, sizes) == (300, [300])
    CoursePlan.of(strategy, None, open_end=False)
    assert sizes == [300]
