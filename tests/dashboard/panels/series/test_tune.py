"""The Tune view: a form becomes a command, trials become a table, and results go into the refine form."""

import json

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed

from ptylive.dashboard.session import VIEWS, Session

VALUES = [{"name": "defocus_A", "title": "defocus", "unit": "Å"}]
TRIALS = [
    {"number": 0, "state": "done", "values": [90.0], "loss": 4.0, "seconds": 3.0},
    {"number": 1, "state": "done", "values": [140.0], "loss": 2.0, "seconds": 3.0},
    {"number": 2, "state": "pruned", "values": [10.0], "loss": 9.0, "seconds": 1.0},
    {"number": 3, "state": "failed", "values": [11.0], "reason": "diverged"},
]
CURVE = {"name": "defocus_A", "at": [90.0, 140.0], "share": [1.0, 0.0], "deviation": [0.1, 0.0]}
RUNS = {"state": "running", "wanted": 40, "ended": 4, "under_way": 2, "values": VALUES, "trials": TRIALS}
FOUND = {
    **RUNS, "state": "done", "under_way": 0, "curves": [CURVE], "sentences": ["defocus 151 ± 7 Å", "better by 4 %"],
    "estimates": [{"name": "defocus_A", "sentence": "defocus 151 ± 7 Å", "told": True}],
    "settings": {"num_slices": 3, "atv_weight": 0.2}, "corrections": {"defocus_A": 151.0},
    "asked": {"over": ["defocus"], "preset": {"probe_modes": 2}, "patterns": 576, "sweeps": 6},
}  # fmt: skip
PLACES = [{"name": "cluster", "words": "cluster tcp://there:8786"}, {"name": "here", "words": "this machine"}]


@pytest.fixture
def page():
    sender = CommandSender()
    page = Session(Document(), silent_feed(state="complete", places=PLACES), sender)
    page.view_choice.active = VIEWS.index("tune")
    page.sender = sender
    content(page)
    return page


def told(page, reply):
    page.tune._request_time = -10.0
    content(page)
    page.sender.answer("tune_status", **reply)
    return content(page)


def press(page, key, **form):
    ask(page, what="tune", key=key, value=json.dumps(form))


def test_trials_are_started_with_the_form_the_preset_and_the_place(page):
    press(page, "start", rows={"defocus": ["", ""], "thickness": ["50", "200"]}, others="", trials="60")
    ((command, arguments),) = page.sender.sent
    assert command == "tune"
    assert arguments["over"] == ["defocus", "thickness=50:200"]
    assert (arguments["trials"], arguments["place"]) == (60, "cluster")
    assert arguments["preset"] == page.refine.preset()


def test_a_wrong_value_is_told_at_its_field_and_nothing_is_sent(page):
    press(page, "start", rows={"thickness": ["50", "wide"]}, trials="40")
    assert page.sender.sent == []
    assert "is no number" in content(page)["lists"]["tune_wrong"]["thickness"]
    press(page, "start", rows={"thickness": ["50", "60"]}, trials="40")
    assert content(page)["lists"]["tune_wrong"] == {}


def test_trials_are_shown_as_they_come_the_best_marked(page):
    shown = told(page, RUNS)
    assert (shown["texts"]["tune_count"], shown["texts"]["tune_doing"]) == ("4 of 40 trials", "2 running")
    table = shown["lists"]["tune_table"]
    assert table["head"][1] == "defocus / Å"
    assert [row["cells"][0] for row in table["rows"]] == ["4", "3", "2", "1"], "the last one first"
    assert [row["best"] for row in table["rows"]] == [False, False, True, False]
    assert table["rows"][0]["cells"][-1] == "diverged"
    assert (shown["marks"]["tune_start"], shown["marks"]["tune_stop"]) == ("off", "on")
    points = page.tune.landscape.trials.data
    assert points == {"at": [90.0, 140.0], "loss": [100.0, 0.0]}, "those that came to their end, in percent"


def test_what_was_found_goes_into_the_form_and_the_calibration(page):
    shown = told(page, FOUND)
    assert shown["lists"]["tune_found"]["estimates"] == [{"text": "defocus 151 ± 7 Å", "told": True}]
    assert shown["lists"]["tune_found"]["said"] == ["better by 4 %"]
    assert page.tune.landscape.curve.data["loss"] == [100.0, 0.0]
    press(page, "use")
    assert page.refine.fields["num_slices"].value == "3"
    assert page.refine.further.value == "atv_weight = 0.2"
    assert page.sender.sent == [("configure", {"values": {"defocus_A": 151.0}, "if_shown": "scan-1"})]
    assert page.view_name == "refine"


def test_what_was_stopped_goes_on_with_what_was_asked_whatever_the_form_says(page):
    assert told(page, {**FOUND, "state": "stopped"})["marks"]["tune_resume"] == "on"
    press(page, "resume", rows={"tilt": ["", ""]}, trials="80")
    ((command, arguments),) = page.sender.sent
    assert command == "tune" and arguments["over"] == ["defocus"] and arguments["trials"] == 80
    assert (arguments["preset"], arguments["sweeps"]) == ({"probe_modes": 2}, 6)


def test_another_scan_that_is_tuned_is_named(page):
    shown = told(page, {"state": "none", "other": "0099"})
    assert "scan 0099 is being tuned" in shown["texts"]["tune_doing"]
    assert shown["marks"]["tune_start"] == "off"


def test_a_reply_that_is_damaged_shows_nothing(page):
    shown = told(page, {"state": "kept", "trials": [{"number": "x"}]})
    assert shown["lists"]["tune_table"]["rows"] == []


def test_viewers_see_trials_and_start_none():
    sender = CommandSender()
    page = Session(Document(), silent_feed(state="complete"), sender, read_only=True)
    page.view_choice.active = VIEWS.index("tune")
    page.sender = sender
    assert told(page, FOUND)["texts"]["tune_state"] == "done"
    for key in ("start", "resume", "stop", "use"):
        press(page, key, rows={"defocus": ["", ""]})
    assert sender.sent == []
    assert content(page)["texts"]["sentence"].startswith("this page is read-only")
