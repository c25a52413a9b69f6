"""The thickness that a refinement found, and what a click does with it."""

from typing import Any

import pytest
from bokeh.document import Document
from page_in_memory import CommandSender, ask, content, silent_feed
from quick_first import quick_first

from ptylive.dashboard.session import Session
from ptylive.schema.advice.depth import FoundDepth

SAID = f"complex object; {FoundDepth(5, 102.0, 90.0, 120.0)}: a depth of 20.3 Å already predicts better; 1 probe mode"


def page(sender: CommandSender, **refinement: Any) -> Session:
    return Session(Document(), silent_feed(refinement={"run": "run1", "message": SAID, **refinement}), sender)


@pytest.mark.parametrize("state", quick_first(["running", "done", "stopped"]))
def test_it_is_said_before_the_first_epoch_and_can_be_changed(sender: CommandSender, state: str) -> None:
    session = page(sender, state=state)
    session.refine.fields["probe_modes"].value = "3"
    shown = content(session)
    assert shown["texts"]["depth_found"] == "thickness 90 to 120\N{NO-BREAK SPACE}Å: 5 slices of 20\N{NO-BREAK SPACE}Å"
    assert shown["marks"]["depth_found"] == "on"
    ask(session, what="change_depth")
    settings = session.refine.preset()
    assert (settings["num_slices"], settings["total_thickness_A"], settings["probe_modes"]) == (5, 102.0, 3)
    assert session.view_name == "refine"


@pytest.mark.parametrize(
    "refinement", quick_first([{"state": "none"}, {"state": "done", "message": "one slice: 20 Å would show"}])
)
def test_nothing_is_said_where_nothing_was_found(sender: CommandSender, refinement: dict[str, str]) -> None:
    shown = content(page(sender, **refinement))
    assert shown["texts"]["depth_found"] == ""
    assert shown["marks"]["depth_found"] == "off"
