"""Roles: tokens, cookies, the read-only page, and what a page without rights cannot do."""

import http.client
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from bokeh.document import Document
from fake_server import FakeServer, state_payload
from running_dashboard import RunningDashboard, start_dashboard

from ptylive.dashboard.access import Access, ReadOnlySender, Role, may_visit
from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.session import Session
from ptylive.schema import CommandError, PtyliveError

OPERATOR, VIEWER = "operator-token-0123456789", "viewer-token-0123456789"


@pytest.fixture
def guarded(server: FakeServer) -> Iterator[RunningDashboard]:
    running = start_dashboard(server.control, tokens=f"{OPERATOR} {VIEWER}")
    yield running
    running.end()


def get(dashboard: RunningDashboard, path: str, cookie: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=60)
    connection.request("GET", path, headers={**({"Cookie": cookie} if cookie else {}), **headers})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.headers), body


def log_in(dashboard: RunningDashboard, token: str) -> tuple[str, dict[str, str]]:
    code, headers, _ = get(dashboard, f"/login?token={token}")
    assert code == 302
    return headers["Set-Cookie"].split(";")[0], headers


def test_nothing_is_served_before_the_token(guarded: RunningDashboard) -> None:
    for path in ("/", "/view", "/static/js/bokeh.min.js", "/autoload.js", "/view/ws", "/ws", "/metadata"):
        code, _, body = get(guarded, path, Origin=guarded.url)
        assert code == 401, path
        assert "ptylive" not in body
    assert get(guarded, "/login?token=wrong")[0] == 401
    assert get(guarded, "/login")[0] == 401
    assert get(guarded, "/", cookie=f"ptylive_{guarded.port}=operator.0000")[0] == 401


def test_each_token_opens_its_own_page(guarded: RunningDashboard) -> None:
    operator, headers = log_in(guarded, OPERATOR)
    assert headers["Location"] == "./"
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]
    assert OPERATOR not in headers["Set-Cookie"]
    assert get(guarded, "/", operator)[0] == 200
    viewer, headers = log_in(guarded, VIEWER)
    assert headers["Location"] == "view"
    code, _, body = get(guarded, "/view", viewer)
    assert code == 200
    assert VIEWER not in body
    assert get(guarded, "/", viewer)[:2][0] == 302
    for path in ("/ws", "/autoload.js", "/metadata"):
        assert get(guarded, path, viewer, Origin=guarded.url)[0] == 403, path


def test_a_read_only_page_asks_but_never_commands() -> None:
    sent: list[str] = []

    class CommandSender:
        def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
            sent.append(command)
            return Future()

    feed = Feed("tcp://127.0.0.1:9")
    feed._view = FeedView(state=ServerState.model_validate(state_payload()), connected=True, last_contact=1.0)
    page = Session(Document(), feed, ReadOnlySender(CommandSender()), read_only=True)
    page.tick()
    assert set(sent) <= {"check", "runs", "note", "history", "scans"}
    assert all(button.disabled for buttons in page.refine._buttons.values() for button in buttons)
    before = list(sent)
    page.refine._on_refine({"num_slices": 1})
    page.calibration.undo(None)
    page.orders.send("note", "", text="mine")
    page.orders.send("shutdown", "")
    page.tick()
    assert sent == before
    assert page.orders.said.startswith("this page is read-only")
    assert '"role": "viewer"' in page.page.content


def test_tokens_must_be_secret() -> None:
    with pytest.raises(PtyliveError, match="two different tokens"):
        Access("short", VIEWER)
    with pytest.raises(PtyliveError, match="two different tokens"):
        Access(OPERATOR, OPERATOR)
    access = Access(OPERATOR, VIEWER)
    assert access.role_of_token(VIEWER) is Role.VIEWER
    assert access.role_of_cookie(access.cookie(Role.OPERATOR)) is Role.OPERATOR
    assert Access(OPERATOR, VIEWER + "x").role_of_cookie(access.cookie(Role.OPERATOR)) is None
    assert may_visit(Role.VIEWER, "/view/ws")
    assert not may_visit(Role.VIEWER, "/viewer")
    refused = ReadOnlySender(None).submit("note", text="x")  # type: ignore[arg-type]
    with pytest.raises(CommandError, match="read-only"):
        refused.result()
