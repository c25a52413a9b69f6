"""Results of a tuning: sentences, a preset that refinements accept, and a table."""

import csv
import tomllib

import pytest
from tuning_trials import BEST, DEFOCUS, SWEEPS, THICKNESS, drawn, tried

from ptylive.application.presets import load_preset
from ptylive.application.tuning import outcome as module
from ptylive.application.tuning.estimates import findings
from ptylive.application.tuning.outcome import best_preset, outcome, write_csv
from ptylive.application.tuning.trials import FinishedTrial

OVER = (DEFOCUS, THICKNESS)


def confirmed(values, start, best):
    return {"start": {"values": {}, "groups": start}, "best": {"values": values, "groups": best}}


@pytest.fixture(scope="module")
def trials():
    return drawn(OVER, 24)


def test_values_are_said_with_what_they_gain_on_other_patterns(trials, monkeypatch):
    once = findings(OVER, trials, SWEEPS)
    monkeypatch.setattr(module, "findings", lambda *_: once)  # for both outcomes
    values = outcome(OVER, trials, SWEEPS, {}).values
    found = outcome(
        OVER, trials, SWEEPS, confirmed(values, [10.0, 11.0, 12.0, 13.0], [9.0, 9.9, 10.8, 11.7]), ["a note"]
    )
    assert found.gain.share == pytest.approx(0.1)
    said = found.sentences
    assert said[0].startswith("defocus ") and "thickness " in said[0]
    assert "predict better than the start, by 10 ±" in said[1]
    assert said[-1] == "a note"
    assert found.best.last == min(one.last for one in trials)


@pytest.mark.slow
def test_no_gain_is_said_to_be_none(trials):
    values = outcome(OVER, trials, SWEEPS, {}).values
    found = outcome(OVER, trials, SWEEPS, confirmed(values, [10.0, 11.0, 12.0, 13.0], [10.1, 10.9, 12.1, 12.9]))
    assert "predict no better than the start" in found.sentences[1]
    other = outcome(OVER, trials, SWEEPS, confirmed({"defocus_A": 1.0}, [10.0], [9.0]))
    assert other.gain is None  # the values compared were different ones


def test_few_trials_are_said_to_be_few():
    found = outcome(OVER, drawn(OVER, 4), SWEEPS, {})
    assert found.findings is None and found.values == found.best.values
    assert found.sentences == ("too few trials were completed to determine the uncertainty of the best values",)
    assert outcome(OVER, [], SWEEPS, {}).values is None


def test_failures_and_an_order_that_still_changes_are_told_of(trials):
    failed = FinishedTrial(99, dict(BEST), "failed", {}, 0.1, "diverged: no step lowers the loss")
    turned = []
    for one in trials:  # half the sweeps rank them the other way round
        groups = {**one.groups, SWEEPS // 2: tuple(1e4 / loss for loss in one.groups[SWEEPS])}
        turned.append(FinishedTrial(one.number, one.values, "done", groups))
    said = outcome(OVER, [*turned, failed], SWEEPS, {}).sentences
    assert any(f"rank correlation -1.00): give --sweeps {2 * SWEEPS}" in line for line in said)
    assert any("1 trials failed, most recently: diverged" in line for line in said)


def test_the_best_preset_is_one_that_refinements_take(tmp_path):
    said = ["defocus -30 ± 3 Å\nthickness 90 ± 8 Å"]
    text = best_preset({"num_slices": 4, "total_thickness_A": 90.0}, {"defocus_A": -30.0}, said)
    (tmp_path / "best.toml").write_text(text)
    assert text.startswith("# defocus -30 ± 3 Å thickness 90 ± 8 Å\n\n")
    loaded = load_preset(tmp_path / "best.toml")
    assert loaded.settings == {"num_slices": 4, "total_thickness_A": 90.0}
    assert loaded.corrections == {"defocus_A": -30.0} and loaded.metadata == {}
    assert tomllib.loads(loaded.as_toml()) == tomllib.loads(text)


def test_every_trial_is_a_line(tmp_path):
    rows = [tried(0, BEST), tried(1, BEST, state="pruned"), FinishedTrial(2, BEST, "failed", {}, 1.0, "why; not")]
    write_csv(tmp_path / "t.csv", OVER, rows)
    found = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["state"] for row in found] == ["done", "pruned", "failed"]
    assert [row["sweeps"] for row in found] == ["4", "2", "0"]
    assert float(found[0]["loss"]) == rows[0].last and found[2]["loss"] == "" and found[2]["reason"] == "why; not"
    assert float(found[0]["defocus_A"]) == BEST["defocus_A"]
