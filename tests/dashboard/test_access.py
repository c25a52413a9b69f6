"""Roles: tokens, cookies, the read-only page, and what a page without rights cannot do."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from bokeh.document import Document
from fake_server import FakeServer, state_payload
from page_client import PageClient
from page_in_memory import ask
from page_in_thread import ACCESS, Running
from quick_first import quick_first
from running_dashboard import RunningDashboard, fork_dashboard

from ptylive.dashboard import app
from ptylive.dashboard.access import READ_ONLY, Access, NamedSender, ReadOnlySender, Role, Visitor, may_visit
from ptylive.dashboard.client.feed import Feed, FeedView
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.session import Session
from ptylive.schema import CommandError, PtyliveError

OPERATOR, VIEWER = "operator-token-0123456789", "viewer-token-0123456789"


@pytest.fixture
def guarded(server: FakeServer) -> Iterator[RunningDashboard]:
    running = fork_dashboard(server.control, tokens=f"{OPERATOR} {VIEWER}")
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
    code, _, body = get(guarded, "/login?token=wrong")
    assert code == 401 and "This token is not valid for this server" in str(body)
    code, _, body = get(guarded, "/login")
    assert code == 401 and "A token is needed" in str(body)
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
    assert '"role": "viewer"' in page.page.content, "from its first moment"
    page.tick()
    assert set(sent) <= {"check", "decide_status", "estimates", "runs", "note", "history", "scans"}
    assert all(button.disabled for buttons in page.refine._buttons.values() for button in buttons)
    before = list(sent)
    page.refine._on_refine({"num_slices": 1})
    page.calibration.undo(None)
    page.orders.send("note", "", text="mine")
    page.orders.send("shutdown", "")
    page.tick()
    assert sent == before
    assert page.orders.sentence.startswith("this page is read-only")
    assert '"role": "viewer"' in page.page.content


def test_tokens_must_be_secret() -> None:
    with pytest.raises(PtyliveError, match="two different tokens"):
        Access("short", VIEWER)
    with pytest.raises(PtyliveError, match="two different tokens"):
        Access(OPERATOR, OPERATOR)
    access = Access(OPERATOR, VIEWER)
    operators = Visitor(Role.OPERATOR)
    assert access.visitor_of_token(VIEWER) == Visitor(Role.VIEWER)
    assert access.visitor_of_cookie(access.cookie(operators)) == operators
    assert Access(OPERATOR, VIEWER + "x").visitor_of_cookie(access.cookie(operators)) is None
    assert may_visit(Role.VIEWER, "/view/ws")
    assert not may_visit(Role.VIEWER, "/viewer")
    refused = ReadOnlySender(None).submit("note", text="x")  # type: ignore[arg-type]
    with pytest.raises(CommandError, match="read-only"):
        refused.result()


ANNA, BEN = ("anna", "token-of-anna-0123456789"), ("ben", "token-of-ben-0123456789")


def test_an_operator_with_a_name_is_known_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its own token and cookie, which expires with the token; nobody else's cookie changes."""
    monkeypatch.setenv("PTYLIVE_DASHBOARD_TOKENS", f"{OPERATOR} anna:{ANNA[1]} {VIEWER} ben:{BEN[1]}")
    access = Access.from_environment()
    assert access == Access(OPERATOR, VIEWER, (ANNA, BEN))
    anna = access.visitor_of_token(ANNA[1])
    assert anna == Visitor(Role.OPERATOR, "anna")
    cookies = {access.cookie(who) for who in (anna, Visitor(Role.OPERATOR, "ben"), Visitor(Role.OPERATOR))}
    assert len(cookies) == 3
    assert access.visitor_of_cookie(access.cookie(anna)) == anna
    assert Access(OPERATOR, VIEWER, (("anna", BEN[1]),)).visitor_of_cookie(access.cookie(anna)) is None
    assert Access(OPERATOR, VIEWER, (BEN,)).visitor_of_cookie(access.cookie(anna)) is None
    assert Access(OPERATOR, VIEWER).visitor_of_cookie(access.cookie(Visitor(Role.OPERATOR))) is not None


@pytest.mark.parametrize(
    "named", [(("anna", "short"),), (("anna", OPERATOR),), (ANNA, ("anna", BEN[1])), (("a;b", BEN[1]),)]
)
def test_tokens_of_operators_must_be_secret_and_their_own(named: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(PtyliveError, match="NAME:TOKEN"):
        Access(OPERATOR, VIEWER, named)


class Kept:
    """Keeps everything that is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        self.sent.append((command, arguments))
        return Future()


def test_commands_that_change_something_carry_the_name() -> None:
    kept = Kept()
    sender = NamedSender(kept, "anna")
    sender.submit("undo")
    sender.submit("note", recording="a")
    sender.submit("note", recording="a", text="mine")
    assert kept.sent == [
        ("undo", {"by": "anna"}),
        ("note", {"recording": "a"}),
        ("note", {"recording": "a", "text": "mine", "by": "anna"}),
    ]


def test_a_page_belongs_to_who_has_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    senders: list[Any] = []
    monkeypatch.setattr(app, "Session", lambda document, feed, sender, **_: senders.append(sender))
    access = Access(OPERATOR, VIEWER, (ANNA,))
    page = Running(access=access)
    try:
        for who in (Visitor(Role.OPERATOR, "anna"), Visitor(Role.OPERATOR)):
            cookie = f"ptylive_{page.dashboard.port}={access.cookie(who)}"
            page.do(lambda cookie=cookie: PageClient.open(page.dashboard.url, Cookie=cookie))
        assert isinstance(senders[0], NamedSender)
        assert senders[0]._name == "anna"
        assert senders[1] is page.dashboard.commands
    finally:
        page.end()


def viewers_page(may_fetch: bool, sent: list[tuple[str, dict[str, Any]]]) -> Session:
    class Sender:
        def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
            sent.append((command, arguments))
            future: Future[dict[str, Any]] = Future()
            if command == "fetch":
                future.set_result({"files": ["/data/a.h5"]})
            return future

    sender = ReadOnlySender(Sender(), may_fetch=may_fetch)
    offer = (lambda path: f"download/key/{path.name}") if may_fetch else None
    return Session(Document(), Feed("tcp://127.0.0.1:9"), sender, read_only=True, offer_download=offer)


@pytest.mark.parametrize("may_fetch", [False, True])
def test_viewers_fetch_where_they_may_and_command_nothing(may_fetch: bool) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    page = viewers_page(may_fetch, sent)
    for number, request in enumerate(({"what": "fetch", "value": '["a.h5"]'}, {"what": "delete", "name": "a.h5"})):
        page.asked.content = json.dumps({"number": number, **request})
        page.tick()
    page.tick()
    asked = [(command, arguments) for command, arguments in sent if command in ("fetch", "delete", "export")]
    assert asked == ([("fetch", {"recordings": ["a.h5"]})] if may_fetch else [])
    shown = json.loads(page.page.content)
    assert shown["marks"]["fetches"] == ("on" if may_fetch else "off")
    assert [one["href"] for one in shown["lists"]["downloads"]] == (["download/key/a.h5"] if may_fetch else [])


@pytest.mark.parametrize(("may_fetch", "status"), [(False, 403), (True, 200)])
def test_a_download_is_a_viewers_too_where_that_is_so(tmp_path: Path, may_fetch: bool, status: int) -> None:
    running = Running(access=ACCESS)
    try:
        file = tmp_path / "a.h5"
        file.write_bytes(b"frames")
        running.dashboard.viewers_fetch = may_fetch
        address = f"/{running.dashboard.downloads.offer(file)}"
        found, _, body = running.get(address, Cookie=running.cookie("viewer"))
        assert found == status
        assert (body == b"frames") is may_fetch
        assert running.get(address)[0] in (401, 403), "nobody without a token"
    finally:
        running.end()


@pytest.mark.parametrize(
    "request_", quick_first([
        {"what": "show_run", "name": "run1"}, {"what": "search", "key": "match", "value": "mos2"},
        {"what": "contrast", "key": "open", "panel": 0}, {"what": "beside", "name": "0141.h5"},
    ], 2)
)  # fmt: skip
def test_viewers_change_what_they_see(request_: dict[str, Any]) -> None:
    """Regression: viewers could not search the library, open a histogram, or look at an earlier run."""
    sent: list[tuple[str, dict[str, Any]]] = []
    page = viewers_page(False, sent)
    ask(page, **request_)
    assert page.orders.sentence != READ_ONLY


@pytest.mark.parametrize("key", quick_first(["r", "s", "e"]))
def test_a_key_that_viewers_cannot_use_says_why(key: str) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    page = viewers_page(False, sent)
    ask(page, what="key", key=key, panel=0)
    assert page.orders.sentence == READ_ONLY
    ask(page, what="key", key="d", panel=0)
    assert page.light.active
