"""Virtual detectors on the page that are written as text, in addition to those that are drawn."""

import time
from typing import Any

import pytest
from fake_server import state_payload
from page_in_memory import CommandSender, ask, content

from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels import detectors
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


def test_no_more_than_eight(session: Session) -> None:
    for n in range(detectors.MOST + 2):
        ask(session, what="detector", key="write", name=f"d{n}", value="lost")
    assert len(listed(session)) == detectors.MOST
