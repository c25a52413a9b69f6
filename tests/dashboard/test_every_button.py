"""Everything that the page can do, a script can do: every button sends a command of the control protocol."""

import json
import re
from concurrent.futures import Future
from typing import Any

import pytest
from bokeh.document import Document
from fake_server import MAP_KINDS, state_payload

from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.map_kinds import MapKinds
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.session import Session
from ptylive.dashboard.skeleton import FOLDER
from ptylive.server.commands.analysis_commands import AnalysisCommands
from ptylive.server.commands.batch_commands import BatchCommands
from ptylive.server.commands.calibration_commands import CalibrationCommands
from ptylive.server.commands.checks import CheckCommands
from ptylive.server.commands.decide_commands import DecideCommands
from ptylive.server.commands.independent_commands import IndependentCommands
from ptylive.server.commands.library_commands import LibraryCommands
from ptylive.server.commands.map_commands import MapCommands
from ptylive.server.commands.refine_commands import RefineCommands
from ptylive.server.commands.resume_commands import ResumeCommands
from ptylive.server.commands.tune_commands import TuneCommands
from ptylive.server.serve.opened_files import OpenedFiles
from ptylive.server.serve.session import Session as Server
from ptylive.server.serve.stream_commands import StreamCommands

OF_THE_BROWSER = {
    "full",
    "help",
    "copy",
    "load",
    "preset",
    "overwrite",
    "notify",
    "contrast",
    "layout",
    "change_depth",
    "guide",
    "picture",
    "print",
    "smooth",
    "cards",
}
"""Buttons that only change what this viewer sees, or the clipboard."""
TESTED_ELSEWHERE = {
    "past",
    "landscape",
    "use",
    "use_row",
    "way",
    "show_run",
    "search",
    "upload",
    "restore",
    "align",
    "unwrite",
}
"""Open the earlier scan being looked at (test_present.py); draw the loss against another value (panels/series); apply
what the data say (panels/live, panels/advice), or show a run of the file; filter the list of scans; upload a file
(web/test_uploads.py); align images (panels/advice); remove a detector (panels/test_detectors.py); restore what was
deleted (panels/test_library.py)."""
COMMANDS: dict[str, tuple[dict[str, Any], str]] = {
    "edit": ({"what": "set", "name": "C10", "value": "10 nm"}, "configure"),
    "estimate": ({"what": "estimate", "name": "C10"}, "calibrate"),
    "pin": ({"what": "pin", "name": "rotation_deg"}, "configure"),
    "undo": ({"what": "undo"}, "undo"),
    "reset": ({"what": "reset"}, "reset"),
    "metadata": ({"what": "metadata", "name": "a.h5"}, "metadata"),
    "run": ({"what": "run", "key": "resume"}, "refine_resume"),
    "compare": ({"what": "compare", "name": "run1"}, "runs"),
    "beside": ({"what": "beside", "name": "a.h5"}, "runs_of"),
    "beside_ticked": ({"what": "beside", "name": "b.h5", "value": "a.h5"}, "open"),
    "fetch": ({"what": "fetch", "value": '["a.h5"]'}, "fetch"),
    "withdraw": ({"what": "withdraw", "name": "run2"}, "refine_withdraw"),
    "open": ({"what": "open", "name": "a.h5"}, "open"),
    "replay": ({"what": "replay", "name": "a.h5"}, "replay"),
    "delete": ({"what": "delete", "name": "a.h5"}, "delete"),
    "tune": ({"what": "tune", "key": "start", "value": '{"rows": {"defocus": ["", ""]}}'}, "tune"),
    "batch": ({"what": "batch", "key": "start", "value": '["a.h5"]'}, "batch"),
    "together": (
        {"what": "together", "key": "start", "value": '[["a.h5", "0", "0"], ["b.h5", "20 mrad", "0"]]'},
        "open",
    ),
    "decide": ({"what": "decide", "key": "start"}, "decide"),
    "film": ({"what": "film", "key": "show"}, "film"),
    "take": ({"what": "take", "value": "a.mib"}, "take"),
    "end_scan": ({"what": "end_scan"}, "end_scan"),
    "record": ({"what": "record"}, "record"),
    "export": ({"what": "key", "key": "e"}, "export"),
    "orientations": ({"what": "orientations", "key": "open"}, "orientations"),
    "detector": ({"what": "detector", "key": "disc", "numbers": [32, 32, 12]}, "detectors"),
    "written": ({"what": "detector", "key": "write", "name": "haadf", "value": "lost"}, "detectors"),
}
FIELDS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"what": "depth", "numbers": [20]}, "configure"),
    ({"what": "note", "value": "a grain"}, "note"),
    ({"what": "numbers", "panel": 0, "value": "noise = 2"}, "map_settings"),
    ({"what": "past", "numbers": [1]}, "snapshot"),
    ({"what": "key", "key": "r"}, "refine"),
    ({"what": "key", "key": "s"}, "refine_stop"),
    ({"what": "run", "key": "side_by_side"}, "side_by_side"),
    ({"what": "run", "key": "report"}, "report"),
    ({"what": "replay", "key": "demo"}, "replay"),
    ({"what": "batch", "key": "table"}, "batch_table"),
)


class Recorder:
    """Accepts every command and answers those that list something."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        self.sent.append(command)
        future: Future[dict[str, Any]] = Future()
        replies: dict[str, Any] = {
            "runs": {"runs": {"run1": {"epochs": 1, "loss": 1.0, "state": "done"}}, "pictures": []},
            "scans": {"scans": [{"uid": "before", "series": "0141"}]},
        }
        if command in replies:
            future.set_result(replies[command])
        return future


def buttons_of_the_page() -> set[str]:
    pages = "".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.html"))
    html = set(re.findall(r'data-act="(\w+)"', pages))
    script = "".join(path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.js"))
    return html | set(re.findall(r'"data-act": "(\w+)"', script)) | set(re.findall(r'button\("(\w+)"', script))


def commands_of_the_server() -> set[str]:
    groups = (Server, CalibrationCommands, MapCommands, RefineCommands, TuneCommands, AnalysisCommands)
    groups += (DecideCommands, ResumeCommands, LibraryCommands, BatchCommands, OpenedFiles, IndependentCommands)
    groups += (StreamCommands, CheckCommands)
    return {name.removeprefix("command_") for group in groups for name in dir(group) if name.startswith("command_")}


def test_every_button_is_known_here() -> None:
    assert buttons_of_the_page() == OF_THE_BROWSER | TESTED_ELSEWHERE | set(COMMANDS)


@pytest.fixture(scope="module")
def page() -> Session:
    return Session(Document(), Feed("tcp://127.0.0.1:9"), Recorder())


@pytest.mark.parametrize(("request_of_page", "command"), [*COMMANDS.values(), *FIELDS])
def test_it_asks_for_a_command(
    page: Session, request_of_page: dict[str, Any], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptylive.dashboard.panels.detectors.REST_S", -1.0)
    running = {"refine_stop": "running", "refine_resume": "stopped"}.get(command, "none")
    refinement = {"state": running, "run": "run1", "epoch": 1, "loss": 1.0}
    state = state_payload(state="complete", refinement=refinement, record=True)
    kinds = MapKinds.from_plain(MAP_KINDS)
    page.feed._view = FeedView(state=ServerState.model_validate(state), connected=True, last_contact=1.0, kinds=kinds)
    sender = Recorder()
    page.orders._sender, page.orders._pending = sender, []
    for _ in range(3):
        page.tick()
    before = len(sender.sent)
    page.asked.content = json.dumps({"number": 1 + len(page.asked.content), **request_of_page})
    for _ in range(2):
        page.tick()
    assert command in sender.sent[before:]
    assert command in commands_of_the_server()
