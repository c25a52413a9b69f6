"""Virtual detectors on the page: where they are drawn, and those written as text in addition."""

import json
import time
from typing import Any

import numpy as np
import pytest
from bokeh.models import InlineStyleSheet
from fake_server import state_payload
from page_in_memory import CommandSender, ask, content

from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels import detectors
from ptylive.dashboard.panels.diffraction import DiffractionPanel
from ptylive.dashboard.pictures import RawPicture, Surroundings, prepare
from ptylive.dashboard.session import Session

DISC = {"name": "disc1", "center_px": [32.0, 32.0], "inner_px": 0.0, "outer_px": 6.0}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "REST_S", 0.0)


def sent(sender: CommandSender) -> list[dict[str, Any]]:
    command, arguments = sender.sent[-1]
    assert command == "detectors"
    return list(arguments["detectors"])


def listed(session: Session) -> Any:
    return content(session)["lists"]["detectors"]


def test_words_go_to_the_server_beside_what_is_drawn(session: Session, sender: CommandSender) -> None:
    ask(session, what="detector", key="disc", numbers=[32, 32, 12])
    ask(session, what="detector", key="write", name=" haadf ", value=" lost ")
    assert listed(session) == [["disc1", "6.00 px, drawn"], ["haadf", "lost"]]
    assert sent(sender) == [DISC, {"name": "haadf", "what": "lost"}]
    ask(session, what="detector", key="remove", name="haadf")
    assert listed(session) == [["disc1", "6.00 px, drawn"]]
    assert sent(sender) == [DISC]
    ask(session, what="detector", key="write", name="rings", value="profiles:3")
    ask(session, what="detector", key="clear")
    content(session)
    assert sent(sender) == []


def test_what_the_server_has_is_shown(session: Session) -> None:
    handles = session.diffraction.detectors
    both = [DISC, {"name": "haadf", "what": "lost"}]
    handles._touched = time.monotonic() - 2 * detectors.TOUCHED_S
    handles._sent = (handles.drawn, handles.written)
    handles.follow(ServerState.model_validate(state_payload(detectors=both)))
    assert [one.name for one in handles.drawn] == ["disc1"]
    assert handles.written == {"haadf": "lost"}


def test_no_more_than_eight_which_is_said(session: Session) -> None:
    for n in range(detectors.MOST):
        ask(session, what="detector", key="write", name=f"d{n}", value="lost")
    assert content(session)["texts"]["sentence"] != detectors.TOO_MANY
    for request in ({"key": "write", "name": "d8", "value": "lost"}, {"key": "disc", "numbers": [32, 32, 12]}):
        session.orders.say("")
        ask(session, what="detector", **request)
        assert content(session)["texts"]["sentence"] == detectors.TOO_MANY
    assert len(listed(session)) == detectors.MOST
    ask(session, what="detector", key="write", name="d0", value="above:0.5")
    assert listed(session)[0] == ["d0", "above:0.5"], "another definition is no further detector"


def test_a_detector_without_a_place_is_refused(session: Session, sender: CommandSender) -> None:
    ask(session, what="detector", key="disc", numbers=[])
    assert content(session)["texts"]["sentence"] == detectors.NOWHERE
    assert listed(session) == []
    assert all(command != "detectors" for command, _ in sender.sent)


def test_the_largest_count_of_a_pattern_is_told(sender: CommandSender) -> None:
    panel = DiffractionPanel(InlineStyleSheet(), lambda: None, Orders(sender))
    for counts, high, note in ((7.0, "max 7.0 counts", ""), (0.0, "max 0 counts", "no counts in this pattern")):
        pattern = prepare(RawPicture("pattern", np.full((4, 4), counts, np.float32)), 1, Surroundings())
        assert panel.texts("pattern", pattern) == {"pattern_high": high, "pattern_note": note}


def test_without_a_bright_field_a_detector_is_placed_in_the_middle_of_the_pattern(sender: CommandSender) -> None:
    panel = DiffractionPanel(InlineStyleSheet(), lambda: None, Orders(sender))
    assert panel.clips() == {"disc": "[]"}, "nothing is known of the detector"
    assert panel.view.offer(prepare(RawPicture("pattern", np.ones((48, 64), np.float32)), 1, Surroundings()))
    assert json.loads(panel.clips()["disc"]) == [23.5, 31.5, 12.0]
    panel.draw_disc(ServerState.model_validate(state_payload()))
    assert json.loads(panel.clips()["disc"]) == [31.5, 31.5, 15.0]
