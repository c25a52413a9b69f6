"""What contradicts the values in use, and what a click applies."""

from dataclasses import replace

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed
from quick_first import quick_first

from ptylive.dashboard.client.state import RefinementState
from ptylive.dashboard.panels.live.doubts import of_refinement
from ptylive.dashboard.session import Session
from ptylive.schema.advice.cannot_tell import cannot_tell_words
from ptylive.schema.advice.orientation import orientation_words

WRONG = {"name": "rotation", "state": "bad", "text": "given: 90.0°, the data say 0.3 ± 0.2°", "use": ["rotation_deg"]}
FINE = {"name": "rotation", "state": "ok", "text": "given: 0.0°, the data say 0.3 ± 0.2°", "use": []}


@pytest.fixture
def session(sender: CommandSender) -> Session:
    return Session(Document(), silent_feed(), sender)


def checked(session: Session, sender: CommandSender, *findings: dict[str, object]) -> dict[str, dict[str, str]]:
    content(session)
    sender.answer("check", checks=list(findings))
    content(session)
    return content(session)


def test_a_rotation_that_the_data_contradict_is_replaced_by_a_click(session: Session, sender: CommandSender) -> None:
    shown = checked(session, sender, WRONG)
    assert shown["marks"]["doubt"] == shown["marks"]["remedy"] == "on"
    assert shown["texts"]["doubt"] == "rotation given: 90.0°, the data say 0.3 ± 0.2°"
    assert [shown["texts"][f"map_{i}_badge"] for i in range(4)] == ["rotation in doubt"] * 3 + [""]
    ask(session, what="use")
    command, arguments = sender.sent[-1]
    assert (command, arguments["names"]) == ("calibrate", ["rotation_deg"])


def test_nothing_is_said_and_nothing_sent_where_all_is_well(session: Session, sender: CommandSender) -> None:
    shown = checked(session, sender, FINE)
    assert shown["marks"]["doubt"] == "off"
    assert shown["texts"]["doubt"] == shown["texts"]["map_0_badge"] == ""
    ask(session, what="use")
    assert sender.sent == []


@pytest.mark.parametrize(("state", "said"), quick_first([("done", True), ("running", False)]))
def test_the_other_half_turn_of_a_refinement_is_offered(sender: CommandSender, state: str, said: bool) -> None:
    words = "the other half turn, rotation 164.8°, C10 150 Å: for a thick specimen it predicts patterns better"
    feed = silent_feed(refinement={"state": state, "run": "run2", "message": words})
    session = Session(Document(), feed, sender)
    content(session)
    shown = content(session)
    assert (shown["marks"]["doubt"] == "on") is said
    ask(session, what="use")
    if said:
        assert shown["texts"]["doubt"].startswith("run2 found the other half turn: 164.8°, 150 Å overfocus")
        values = sender.sent[-1][1]["values"]
        assert (sender.sent[-1][0], values) == ("configure", {"rotation_deg": 164.8, "C10": 150.0})
    else:
        assert sender.sent == []


def test_a_half_turn_that_was_taken_over_is_no_doubt(sender: CommandSender) -> None:
    words = "the other half turn, rotation -15.2°, C10 150 Å"
    session = Session(Document(), silent_feed(refinement={"state": "done", "run": "r", "message": words}), sender)
    content(session)
    assert content(session)["marks"]["doubt"] == "off", "the maps have it"


@pytest.mark.parametrize(("state", "said"), quick_first([("done", True), ("running", False)]))
def test_what_a_refinement_could_not_tell_is_said_without_a_click(
    sender: CommandSender, state: str, said: bool
) -> None:
    words = cannot_tell_words("the defocus", "nothing shows it", "defocus_A")
    feed = silent_feed(refinement={"state": state, "run": "run2", "message": f"done; one slice; {words}; 4 modes"})
    session = Session(Document(), feed, sender)
    content(session)
    shown = content(session)
    assert (shown["marks"]["doubt"] == "on") is said
    assert shown["marks"]["remedy"] == "off"
    if said:
        assert shown["texts"]["doubt"] == words.replace("defocus_A", "defocus")
        assert shown["texts"]["map_0_badge"] == "calibration in doubt"
    ask(session, what="use")
    assert sender.sent == []


def test_a_doubt_ends_where_the_next_remark_begins(sender: CommandSender) -> None:
    """Regression: what the run said first, in its other message, was written behind the doubt."""
    words = cannot_tell_words("the half turn", "skewed by -0.8 deviations", "rotation_deg or defocus_A")
    said = {"state": "done", "run": "run2", "message": f"converged: it falls; {words}"}
    feed = silent_feed(refinement=said)
    feed._view = replace(feed._view, refinement=RefinementState(run="run2", message=said["message"]))
    session = Session(Document(), feed, sender)
    content(session)
    shown = content(session)["texts"]["doubt"]
    assert shown == "calibration: cannot tell the half turn: skewed by −0.8 deviations (give scan rotation or defocus)"


@pytest.mark.parametrize(
    ("state", "doubted"), [("running", False), ("failed", False), ("done", True), ("stopped", True)]
)
def test_a_refinement_raises_doubts_only_when_it_has_ended(state: str, doubted: bool) -> None:
    """A running refinement may still find other values, and a failed refinement has found none."""
    server = silent_feed(refinement={"state": state, "run": "run2", "message": ""}).view().state
    for message in (
        "the other half turn, rotation 164.8°, C10 150 Å",
        orientation_words("transpose", 40.0, 0.5, "the maps did not exclude it"),
        cannot_tell_words("the defocus", "nothing shows it", "defocus_A"),
    ):
        assert (of_refinement(server, message) is not None) is doubted


def test_another_orientation_of_a_refinement_is_offered_until_it_is_used(sender: CommandSender) -> None:
    words = orientation_words("transpose", 40.0, 0.5, "the maps did not exclude it")
    said = {"state": "done", "run": "run2", "message": f"lsq; {words}"}
    session = Session(Document(), silent_feed(refinement=said), sender)
    content(session)
    shown = content(session)["texts"]["doubt"]
    assert shown == "run2 found another orientation: 40.0°, detector transform transpose; phases of the maps are wrong"
    ask(session, what="use")
    command, arguments = sender.sent[-1]
    values = {"rotation_deg": 40.0, "detector_transform": "transpose"}
    assert (command, arguments["values"]) == ("configure", values)
    used = {name: {"value": value, "origin": "given"} for name, value in values.items()}
    session = Session(Document(), silent_feed(refinement=said, calibration=used), sender)
    content(session)
    assert content(session)["marks"]["doubt"] == "off"
    turned = {**said, "message": f"{words}; the other half turn, rotation -140.0°, C10 150 Å"}
    session = Session(Document(), silent_feed(refinement=turned, calibration=used), sender)
    content(session)
    content(session)
    ask(session, what="use")
    assert sender.sent[-1][1]["values"] == {**values, "rotation_deg": -140.0, "C10": 150.0}


@pytest.mark.parametrize(
    "message", quick_first(["the other half turn, rotation 164.8°, C10 150 Å", cannot_tell_words("a", "b", "c")])
)
def test_what_a_refinement_found_is_no_doubt_about_the_next_scan(sender: CommandSender, message: str) -> None:
    """Regression: the rotation of a refined scan was offered for the scan that arrived after it."""
    said = {"state": "done", "run": "run2", "message": message}
    for uid, shown in (("an earlier scan", "off"), (silent_feed().view().state.uid, "on")):
        session = Session(Document(), silent_feed(refinement={**said, "uid": uid}), sender)
        content(session)
        assert content(session)["marks"]["doubt"] == shown


def test_orientations_that_the_maps_did_not_exclude_are_a_doubt_until_they_are_compared(sender: CommandSender) -> None:
    rivals = {"rival_orientations": {"value": [1.0, 40.0, -80.0], "origin": "estimated"}}
    uid = silent_feed().view().state.uid
    for state, of_scan, shown in (("none", "", "on"), ("done", "an earlier scan", "on"), ("done", uid, "off")):
        feed = silent_feed(calibration=rivals, refinement={"state": state, "uid": of_scan, "message": ""})
        session = Session(Document(), feed, sender)
        content(session)
        page = content(session)
        assert page["marks"]["doubt"] == shown
        assert page["marks"]["remedy"] == "off"
        assert page["texts"]["map_0_badge"] == ("rotation in doubt" if shown == "on" else "")
        if shown == "on":
            assert page["texts"]["doubt"].startswith(
                "the data do not exclude another orientation (the other handedness"
            )
