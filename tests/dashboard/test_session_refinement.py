"""Refinements from one page without a browser: input, commands sent, and what is shown."""

import shlex
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed

from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.state import RefinementState, RefinementSummary
from ptylive.dashboard.panels.refine import further_text, parse_further
from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.dashboard.session import VIEWS, Session
from ptylive.schema import CommandError
from ptylive.server.cli.values import parse_assignments


def test_an_accepted_refinement_opens_its_view(session: Session, sender: CommandSender) -> None:
    session.refine._on_refine({"num_slices": 1})
    assert sender.sent == [("refine", {"preset": {"num_slices": 1}, "if_shown": "scan-1"})]
    session.tick()
    assert all(button.disabled for button in session.refine._buttons["refine"]), "one click, one refinement"
    sender.future.set_result({})
    assert content(session)["texts"]["sentence"] == "refinement started"
    assert session.view_name == "refine"


def test_a_refused_command_is_told(session: Session, sender: CommandSender) -> None:
    session.refine._on_refine({"num_slices": 1})
    sender.future.set_exception(CommandError("no scan to refine"))
    assert content(session)["texts"]["sentence"] == "no scan to refine"
    assert session.view_name == "session"


def test_an_impossible_setting_is_told_before_anything_is_sent(session: Session, sender: CommandSender) -> None:
    session.refine.fields["num_slices"].value = "many"
    session.refine._on_refine(session.refine.preset())
    assert sender.sent == []
    assert "refinement setting num_slices" in content(session)["texts"]["sentence"]


def test_what_is_typed_becomes_numbers(session: Session) -> None:
    session.refine.fields["total_thickness_A"].value = " 12,5 "
    session.refine.fields["epoch_max"].value = "30"
    session.refine.fields["sweeps"].value = ""
    preset = session.refine.preset()
    assert preset["total_thickness_A"] == 12.5
    assert preset["epoch_max"] == 30
    assert "sweeps" not in preset


def test_every_other_setting_can_be_typed(session: Session) -> None:
    """Including settings of other packages, which the server accepts or refuses."""
    refine = session.refine
    refine.further.value = 'wavelet = 0.1,phase_only_obj=false, sequence = [1, 2], note="a, b", reg = epoch >= 3, odd'
    assert refine.preset() | {"odd": ""} == refine.preset()
    typed = {key: refine.preset()[key] for key in ("wavelet", "phase_only_obj", "sequence", "note", "reg")}
    assert typed == {"wavelet": 0.1, "phase_only_obj": False, "sequence": [1, 2], "note": "a, b", "reg": "epoch >= 3"}
    refine.further.value = "epoch_max = 3"
    refine.fields["epoch_max"].value = "30"
    assert refine.preset()["epoch_max"] == 30, "its own field comes first"


@pytest.fixture(scope="module")
def typing() -> Session:
    """One page for everything that is typed into one field."""
    return Session(Document(), silent_feed(), CommandSender())


@pytest.mark.parametrize(
    "typed", ['b = {"x": 1}', "a = null", "c = [null]", "a b = 3", "= 3", "é", "[[[[", '"', "n = NaN"]
)
def test_whatever_is_typed_there_the_page_goes_on(typing: Session, typed: str) -> None:
    """The server refuses it; until then it appears in a command line and in a preset file that stay readable."""
    typing.refine.further.value = typed
    clips = content(typing)["clips"]
    assert "--set" in clips["command"]
    name = typed.partition("=")[0].strip()
    assert name in tomllib.loads(clips["preset"])["refine"]


def test_what_a_preset_file_says_besides_is_in_the_last_field(session: Session) -> None:
    refine = session.refine
    refine.load("hist_length = 7\nsequence = [0, 5]\nphase_only_obj = false")
    assert refine.further.value == "hist_length = 7, phase_only_obj = false, sequence = [0, 5]"
    assert {"hist_length": 7, "phase_only_obj": False, "sequence": [0, 5]}.items() <= refine.preset().items()
    assert refine.load("epoch_max = 2") == "preset loaded"
    assert refine.further.value == ""


def test_stages_of_a_preset_file_go_to_the_server_and_into_what_is_copied(session: Session) -> None:
    text = "[refine]\nepoch_max = 20\n[[stage]]\nname = 'coarse, first'\nwindow_px = 32\n[[stage]]\nepoch_max = 8\n"
    stages = [{"name": "coarse, first", "window_px": 32}, {"epoch_max": 8}]
    assert session.refine.load(text) == "preset loaded, with stages"
    assert session.refine.preset()["stages"] == stages
    clips = content(session)["clips"]
    assert tomllib.loads(clips["preset"])["refine"]["stages"] == stages
    words = shlex.split(clips["command"])
    given = parse_assignments(words[at + 1] for at, word in enumerate(words) if word == "--set")
    assert given["stages"] == stages
    assert "stage 2: " in session.refine.load("[[stage]]\n[[stage]]\nwindow_px = 1\n")


@pytest.mark.parametrize("value", [0.25, True, [1, 2], "epoch >= 3", "a, b", "7", "true", 'say "a, b"', "[", "å"])
def test_what_the_last_field_shows_is_what_was_meant(value: object) -> None:
    assert parse_further(further_text({"one": value, "two": 2})) == {"one": value, "two": 2}


def test_positions_are_refined_when_that_is_chosen(session: Session) -> None:
    refine = session.refine
    assert "update_probe_pos" not in refine.preset()
    refine.fields["update_probe_pos"].value = "refined"
    assert refine.preset()["update_probe_pos"] is True
    assert "--set update_probe_pos=true" in content(session)["clips"]["command"]
    assert refine.load("update_probe_pos = false\nepoch_max = 20") == "preset loaded"
    assert "update_probe_pos" not in refine.preset()
    assert refine.load("update_probe_pos = true") == "preset loaded"
    assert refine.preset()["update_probe_pos"] is True
    later = refine.load('update_probe_pos = "epoch >= 10"')
    assert later == "preset loaded, with update_probe_pos"
    assert refine.preset()["update_probe_pos"] == "epoch >= 10"


def test_the_deviation_of_the_phase_is_shown_in_its_place(session: Session, feed: Feed) -> None:
    session.view_choice.active = VIEWS.index("refine")
    there = RawPicture("object", np.arange(16.0).reshape(4, 4), units="rad", deviation=0.25)
    scatter = np.full((4, 4), 0.25)
    scatter[0] = np.nan
    raws = {"object": there, "object_deviation": RawPicture("object_deviation", scatter, units="rad")}
    pictures = {name: prepare(raw, 1, Surroundings()) for name, raw in raws.items()}
    assert not pictures["object_deviation"].visited[0].any()
    assert pictures["object_deviation"].visited[1:].all()
    feed._view = FeedView(connected=True, pictures={"object": pictures["object"]}, available=frozenset({"object"}))
    session.tick()
    assert content(session)["marks"]["deviation"] == "none"
    assert content(session)["texts"]["object_units"] == "rad ± 0.25"
    bound = prepare(replace(there, at_least=True), 1, Surroundings())
    feed._view = FeedView(connected=True, pictures={"object": bound}, available=frozenset({"object"}))
    session.tick()
    assert content(session)["texts"]["object_units"] == "rad ± 0.25 or more"
    feed._view = FeedView(connected=True, pictures=pictures, available=frozenset(pictures))
    ask(session, what="run", key="deviation")
    assert "object_deviation" in feed._wanted[session.id]
    session.tick()
    texts, marks = content(session)["texts"], content(session)["marks"]
    assert (texts["object_title"], texts["object_units"]) == ("Standard deviation of the phase", "rad")
    assert marks["deviation"] == "on"
    ask(session, what="run", key="deviation")
    session.tick()
    assert content(session)["texts"]["object_title"] == "Object phase"


def test_a_run_that_has_not_come_to_rest_can_go_on(session: Session, feed: Feed, sender: CommandSender) -> None:
    state = feed.view().state.model_copy(update={"refinement": RefinementSummary(state="done", run="run1")})
    for falling, converged, word, mark in (
        (False, True, "done", "off"),
        (False, None, "done", "off"),
        (False, False, "not converged", "off"),  # the loss rises: more epochs are no help
        (True, False, "not converged", "on"),
    ):
        told = RefinementState(uid=state.uid, run="run1", state="done", falling=falling, converged=converged)
        feed._view = FeedView(connected=True, state=state, refinement=told)
        session.tick()
        assert content(session)["texts"]["refine_state"] == word
        assert content(session)["marks"]["more"] == mark
        ask(session, what="run", key="more")
    assert [(command, given.get("epochs")) for command, given in sender.sent] == [("refine_resume", 20)]


@pytest.mark.parametrize(
    ("uid", "stored", "asked"),
    [("shown", "", ["run1"]), ("other", "", []), ("other", "stopped", ["run7"]), ("shown", "done", [])],
)
def test_the_run_on_display_is_continued(
    session: Session, feed: Feed, sender: CommandSender, uid: str, stored: str, asked: list[str | None]
) -> None:
    """Regression: with an earlier scan on show, *resume* continued the last refinement, of whatever scan."""
    stopped = RefinementSummary(state="stopped", run="run1")
    state = feed.view().state.model_copy(update={"uid": "shown", "refinement": stopped})
    feed._view = FeedView(connected=True, state=state, refinement=RefinementState(uid=uid, run="run1", state="stopped"))
    session.shown_run._raw = {"object": RawPicture("object", np.zeros((4, 4)))} if stored else {}
    session.shown_run._stored = {"run": "run7", "state": stored, "losses": [1.0], "phases": ["sweep"]}
    session.shown_run.follow = lambda _view, _runs: None  # type: ignore[method-assign]
    session.tick()
    assert content(session)["marks"]["resume"] == ("on" if asked else "off")
    ask(session, what="run", key="resume")
    assert [given.get("run") for command, given in sender.sent if command == "refine_resume"] == asked


def test_a_run_that_left_nothing_to_continue_from_offers_no_resume(session: Session, feed: Feed) -> None:
    """Regression: one that had failed at once, before its first checkpoint, could be resumed, by the page's account."""
    summary = RefinementSummary(state="failed", run="run1")
    state = feed.view().state.model_copy(update={"uid": "shown", "refinement": summary})
    for resumable in (True, False):
        failed = RefinementState(uid="shown", run="run1", state="failed", resumable=resumable)
        feed._view = FeedView(connected=True, state=state, refinement=failed)
        session.tick()
        assert content(session)["marks"]["resume"] == ("on" if resumable else "off")


def test_the_losses_of_a_stored_run_are_drawn(session: Session, feed: Feed) -> None:
    """Regression: after a restart of the server nothing was drawn, because the server had no refinement to report."""
    session.shown_run._raw = {"object": RawPicture("object", np.zeros((4, 4)))}
    session.shown_run._stored = {"run": "run7", "state": "done", "losses": [3.0, 2.0], "phases": ["sweep", "lbfgs"]}
    session.shown_run.follow = lambda _view, _runs: None  # type: ignore[method-assign]
    feed._view = FeedView(connected=True, state=feed.view().state)
    shown = content(session)
    assert shown["marks"]["refinement"] == "done", "style sheets hide the plot otherwise"
    assert shown["texts"]["refine_epoch"] == "2 of 2"
    assert session.loss.sources["sweep"].data["loss"] == [3.0]


def test_stopping_is_said_until_the_refinement_has_stopped(session: Session, feed: Feed, sender: CommandSender) -> None:
    """Regression: "stopping the refinement" stayed for 20 seconds, whatever had happened since."""
    present = feed.view().state
    during = [RefinementSummary(state=word, run="run1") for word in ("running", "stopping", "stopped")]
    views = [FeedView(connected=True, state=present.model_copy(update={"refinement": run})) for run in during]
    feed._view = views[0]
    session.tick()
    session.refine.press("stop")
    sender.future.set_result({})
    feed._view = views[1]
    assert content(session)["texts"]["sentence"] == "stopping the refinement"
    feed._view = views[2]
    assert content(session)["texts"]["sentence"] == ""
    session.orders.say("copied")
    session.orders.outdated("refine_stop")
    assert content(session)["texts"]["sentence"] == "copied"


def test_a_refusal_ends_with_the_scan_that_it_was_for(session: Session, feed: Feed, sender: CommandSender) -> None:
    """Regression: that the previous scan lacked its energy was said of the next one, which had it."""
    present = feed.view().state
    feed._view = FeedView(connected=True, state=present.model_copy(update={"uid": "first"}))
    session.tick()
    session.refine.press("refine")
    sender.future.set_exception(CommandError("the refinement needs energy_eV, not 1e+09", "give energy_eV"))
    refused = content(session)["texts"]["sentence"]
    assert refused == session.orders.sentence == "the refinement needs energy, not 1e9: give energy"
    feed._view = FeedView(connected=True, state=present.model_copy(update={"uid": "second"}))
    assert content(session)["texts"]["sentence"] == ""
