"""Commands meant for one scan never affect another."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bokeh.document import Document
from fake_server import map_payload, state_payload

from ptylive.dashboard.access import ReadOnlySender
from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.present import OF_THE_SHOWN_SCAN, Shown, ShownScanSender
from ptylive.dashboard.session import Session
from ptylive.schema import CommandError

LISTED = [{"uid": uid, "series": uid, "time": 1.0} for uid in ("scan-1", "before")]
MAPS = [map_payload("obf", np.eye(8, dtype=np.float32))]


def is_question(command: tuple[str, dict[str, Any]]) -> bool:
    """Whether a command asks for a note, which changes nothing."""
    return command[0] == "note" and not {"text", "sample"} & command[1].keys()


class CommandSender:
    """Answers at once."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        earlier = state_payload(uid="before", series="0141", recording="/data/0141.h5", state="complete")
        self.replies: dict[str, dict[str, Any]] = {
            "scans": {"scans": LISTED},
            "snapshot": {"state": earlier, "maps": MAPS},
            "export": {"files": ["/data/0142_obf.png"], "path": "/data/0142_obf.png"},
        }

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        self.sent.append((command, arguments))
        future: Future[dict[str, Any]] = Future()
        future.set_result(self.replies.get(command, {}))
        return future

    def commands(self) -> list[tuple[str, dict[str, Any]]]:
        return [one for one in self.sent if one[0] in OF_THE_SHOWN_SCAN and not is_question(one)]


def opened(sender: CommandSender, *, read_only: bool = False) -> Session:
    feed = Feed("tcp://127.0.0.1:9")
    state = ServerState.model_validate(state_payload(state="complete"))
    feed._view = FeedView(state=state, connected=True, last_contact=1.0)
    offered: list[Path] = []
    page = Session(
        Document(),
        feed,
        ReadOnlySender(sender) if read_only else sender,
        read_only=read_only,
        offer_download=lambda path: offered.append(path) or f"download/key/{path.name}",
    )
    page.tick()
    page.tick()
    return page


def ask(page: Session, **request: Any) -> None:
    ask.count += 1
    page.asked.content = json.dumps({"number": ask.count, **request})
    page.tick()


ask.count = 0
REQUESTS: tuple[dict[str, Any], ...] = (
    {"what": "key", "key": "r"},
    {"what": "key", "key": "e", "panel": 0},
    {"what": "run", "key": "save"},
    {"what": "run", "key": "side_by_side"},
    {"what": "run", "key": "report"},
    {"what": "set", "name": "rotation_deg", "value": "3"},
    {"what": "estimate", "name": "C10"},
    {"what": "undo"},
    {"what": "depth", "numbers": [20.0]},
    {"what": "note", "value": "mine"},
)


def test_while_an_earlier_scan_is_looked_at_the_newest_is_left_alone() -> None:
    sender = CommandSender()
    page = opened(sender)
    ask(page, what="past", numbers=[1])
    page.tick()
    assert page.past.looking_back
    for request in REQUESTS:
        ask(page, **request)
        assert sender.commands() == [], request
        assert "you are viewing the earlier scan 0141" in page.orders.sentence, request
    ask(page, what="past", key="open")
    assert ("open", {"recording": "0141.h5"}) in sender.sent
    page.tick()
    assert not page.past.looking_back


def test_a_command_says_which_scan_it_is_for() -> None:
    sender = CommandSender()
    page = opened(sender)
    for request in REQUESTS:
        ask(page, **request)
    sent = sender.commands()
    changing = {"refine", "export", "save", "side_by_side", "report", "configure", "calibrate", "undo", "note"}
    assert {command for command, _ in sent} == changing
    assert {arguments["if_shown"] for _, arguments in sent} == {"scan-1"}


def test_a_viewer_is_told_that_nothing_can_be_changed() -> None:
    sender = CommandSender()
    page = opened(sender, read_only=True)
    for request in (*REQUESTS[3:], {"what": "delete", "name": "x"}, {"what": "detector", "key": "disc"}):
        page.orders.say("")
        ask(page, **request)
        assert page.orders.sentence.startswith("this page is read-only"), request
    assert sender.commands() == []
    assert page.diffraction.detectors.drawn == []


def test_what_was_exported_is_offered() -> None:
    page = opened(CommandSender())
    ask(page, what="key", key="e", panel=0)
    page.tick()
    offered = json.loads(page.page.content)["lists"]["downloads"]
    assert offered == [{"name": "0142_obf.png", "href": "download/key/0142_obf.png"}]


def test_questions_pass_as_they_are() -> None:
    sender = CommandSender()
    bound = ShownScanSender(sender, lambda: Shown("scan-1"), lambda: "0141")
    bound.submit("runs")
    bound.submit("note")
    bound.submit("note", text="x", recording="0141.h5")
    assert sender.sent == [("runs", {}), ("note", {}), ("note", {"text": "x", "recording": "0141.h5"})]
    with pytest.raises(CommandError, match="earlier scan 0141"):
        bound.submit("save").result()


def test_a_click_is_meant_for_what_the_browser_displays() -> None:
    """Regression: on a busy machine a click came seconds late, and acted on the scan and the run of that moment."""
    sender = CommandSender()
    page = opened(sender)
    assert json.loads(page.page.content)["lists"]["on_screen"] == ["scan-1", "", ""]
    ask(page, what="on_screen", name="before", key="run1", value="other")
    ask(page, what="run", key="save")
    page.actions.stop()
    page.actions.resume()
    assert sender.sent[-3:] == [
        ("save", {"if_shown": "before"}),
        ("refine_stop", {"run": "run1", "uid": "other"}),
        ("refine_resume", {"run": "run1", "uid": "other"}),
    ]


def test_a_stored_run_is_one_of_the_displayed_scan() -> None:
    sender = CommandSender()
    bound = ShownScanSender(sender, lambda: Shown("scan-1", "run7", "other"), lambda: "")
    bound.submit("refine_resume", run="run2", epochs=20)
    assert sender.sent == [("refine_resume", {"run": "run2", "epochs": 20, "uid": "scan-1"})]
