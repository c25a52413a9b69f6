"""The list of runs: the content of its rows."""

import numpy as np
import pytest
from bokeh.document import Document
from fake_server import state_payload
from page_in_memory import CommandSender, silent_feed

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import ASK_AGAIN_S, Orders
from ptylive.dashboard.client.state import RefinementState, RefinementSummary, ServerState
from ptylive.dashboard.panels.picture import Window
from ptylive.dashboard.panels.refine import refinement_texts
from ptylive.dashboard.panels.runs import RunsPanel, _loss_text, _progress_text, held_out_words, scan_rows
from ptylive.dashboard.requests import Request
from ptylive.dashboard.session import Session
from ptylive.schema import ServerGoneError
from ptylive.server.wire.messages import array_to_plain

FLAT = {
    "name": "flat.h5",
    "tilt_mrad": [0.0, 0.0],
    "shift_A": [0.0, -0.001],
    "beam_current": 1.0,
    "drift_A": [3.04, -1.0],
    "drift_uncertainty_A": [0.31, 0.2],
    "drift_applied": True,
}
LEFT = {"name": "left.h5", "tilt_mrad": [20, -8.5], "shift_A": [0.12, 2.0], "beam_current": 0.987, "drift_A": None}


def test_what_was_found_of_each_of_several_scans() -> None:
    first, second = scan_rows([FLAT, LEFT])
    assert (first["name"], second["name"]) == ("flat", "left")
    drift = "drift 3.04 ± 0.31, \N{MINUS SIGN}1.00 ± 0.20 Å (corrected)"
    assert first["text"] == f"tilt 0, 0 mrad, moved by 0, 0 Å, current 1.00, {drift}"
    tilt = "tilt 20.0, \N{MINUS SIGN}8.5 mrad"
    assert second["text"] == f"{tilt}, moved by 0.12, 2.00 Å, current 0.987, drift not determined"


def test_a_drift_that_is_no_more_than_chance_was_left_alone() -> None:
    (row,) = scan_rows([{**FLAT, "drift_applied": False}])
    assert row["text"].endswith("(not corrected)")


def test_what_an_older_server_or_a_damaged_file_says_is_no_reason_to_stop() -> None:
    assert scan_rows(None) == scan_rows([3]) == []
    (row,) = scan_rows([{"tilt_mrad": ["x", 1]}])
    assert row["text"].startswith("tilt – mrad")


def test_what_the_server_left_unanswered_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a server that was busy for ten seconds once left the list of runs as it was, for as long as the scan
    stayed on show.
    """
    sender, now = CommandSender(), 100.0
    monkeypatch.setattr("ptylive.dashboard.client.orders.time.monotonic", lambda: now)
    session = Session(Document(), silent_feed(), sender)

    def asked() -> int:
        session.tick()
        return sum(command == "runs" for command, _, _ in sender.asked)

    def unanswered() -> None:
        next(f for c, _, f in reversed(sender.asked) if c == "runs").set_exception(ServerGoneError("it is busy"))

    assert asked() == 1
    unanswered()
    assert asked() == 1, "not at once"
    now += ASK_AGAIN_S + 1
    assert asked() == 2
    unanswered()
    assert asked() == 2
    now += ASK_AGAIN_S + 1
    assert asked() == 2, "each time twice as long: it has more to do than to answer this"
    now += ASK_AGAIN_S
    assert asked() == 3
    sender.answer("runs", runs={"run1": {"loss": 1.0}})
    now += 1000.0
    assert asked() == 3
    assert session.runs.known == {"run1": {"loss": 1.0}}


def judged(*groups: float) -> dict[str, object]:
    return {"held_out": {"loss": sum(groups) / len(groups), "groups": list(groups), "patterns": 64, "sweeps": 8}}


def test_runs_are_compared_by_the_same_patterns_held_out() -> None:
    """Groups differ by 20 %, runs within a group by 1 %, so the order is certain."""
    runs = {"run1": judged(10.1, 12.1, 11.11, 9.1), "run2": judged(10.0, 12.0, 11.0, 9.0), "run3": {"loss": 1.0}}
    assert held_out_words("run2", runs) == "held out 10.500 (best)"
    assert held_out_words("run1", runs) == "held out 10.603 (worse than run2 by 0.98 ± 0.02 %)"
    assert held_out_words("run3", runs) == ""


def test_a_run_that_is_far_worse_is_said_to_be_so_in_plain_numbers() -> None:
    runs = {"run1": judged(24.0, 29.0, 26.0, 22.0), "run2": judged(10.0, 12.0, 11.0, 9.0)}
    assert "(worse than run2 by 140 ±" in held_out_words("run1", runs)


def test_what_chance_explains_is_no_difference() -> None:
    runs = {"run1": judged(10.1, 11.9, 11.1, 9.0), "run2": judged(10.0, 12.0, 11.0, 9.0)}
    assert held_out_words("run1", runs).startswith("held out 10.525 (0.24 ± 0.5 % above run2, not significant)")


def test_runs_of_other_patterns_are_not_compared() -> None:
    runs = {"run1": judged(10.1, 11.9), "run2": judged(10.0, 12.0, 11.0)}
    assert held_out_words("run1", runs) == "held out 11.000"
    several = {"scans": [{"name": "a.h5"}, {"name": "b.h5"}]}
    runs = {
        "run1": judged(10.0, 12.0),
        "run2": {**judged(1.0, 2.0), **several},
        "run3": {**judged(2.0, 3.0), **several},
    }
    assert held_out_words("run1", runs) == "held out 11.000"
    assert held_out_words("run2", runs) == "held out 1.5000 (best)"
    assert held_out_words("run1", {"run1": {"held_out": {"groups": ["x", None]}}}) == ""


def shows(uid: str, **more: object) -> FeedView:
    return FeedView(state=ServerState.model_validate(state_payload(uid=uid, **more)), connected=True)


def test_a_scan_that_opens_gets_the_other_one_beside_it(sender: CommandSender) -> None:
    panel = RunsPanel(Orders(sender), Window())
    panel.follow(shows("before"), {})
    panel.want_beside("b.h5")
    panel.beside(Request(what="beside", name="b.h5"))
    assert panel.compared == "b last run"
    panel.follow(shows("a"), {})
    assert panel.compared == "b last run", "what was beside the scan before has gone, and comes again"
    panel.follow(shows("c"), {})
    assert panel.compared == "", "once only"


def test_a_scan_that_comes_much_later_has_nothing_beside_it(
    sender: CommandSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = RunsPanel(Orders(sender), Window())
    panel.want_beside("b.h5")
    monkeypatch.setattr("ptylive.dashboard.panels.runs.OPENS_WITHIN_S", -1.0)
    panel.want_beside("b.h5")
    panel.follow(shows("a"), {})
    assert panel.compared == ""


def test_the_run_beside_has_the_field_of_the_scan_as_it_is_turned(sender: CommandSender) -> None:
    panel = RunsPanel(Orders(sender), Window())
    panel.follow(shows("a", calibration={"rotation_deg": {"value": 90.0, "origin": "given"}}), {})
    phase = {**array_to_plain(np.zeros((300, 300), np.float32)), "sampling_A": [0.25, 0.25]}
    panel._take_run({"pictures": [{"object": phase, "losses": [1.0]}]})
    assert panel._picture is not None
    first, second, *_ = panel._picture.scanned
    assert first[1] == pytest.approx(second[1]), "a row of the scan runs down the detector"


def test_a_loss_is_shown_with_what_counting_noise_would_leave() -> None:
    assert _loss_text({"loss": 744.583, "loss_over_noise": 1.043}) == "744.58 (1.0 × counting noise)"
    assert _loss_text({"loss": 744.583, "loss_over_noise": None}) == "744.58"
    assert _loss_text({}) == "–"


def test_a_run_has_the_same_word_in_the_list_and_on_the_loss_panel() -> None:
    """Regression: a run whose loss rose at its end was "not converged" in the list and "done" on the Loss panel."""
    for converged, word, told in ((True, "done", ""), (None, "done", ""), (False, "not converged", ", not converged")):
        summary = RefinementSummary(state="done", run="run1")
        panel = RefinementState(run="run1", state="done", converged=converged)
        assert refinement_texts(summary, panel)["refine_state"] == word
        assert _progress_text({"state": "done", "epochs": 8, "converged": converged}) == f"8 epochs{told}"
    assert _progress_text({"state": "stopped", "epochs": 3, "converged": False}) == "3 epochs, stopped"
