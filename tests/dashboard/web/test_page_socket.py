"""The websocket of a page: floods, garbage, and order of precedence."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from page_client import PageClient
from tornado.httpclient import AsyncHTTPClient

from ptylive.dashboard.app import Dashboard
from ptylive.dashboard.web import guard, page_socket
from ptylive.dashboard.web.page_document import root_names
from ptylive.dashboard.web.page_socket import Pace, PageSocket, RefusedMessages, Turnstile

NOBODY = "tcp://127.0.0.1:9"


def with_dashboard(use: Callable[[Dashboard], Awaitable[Any]], **settings: Any) -> Any:
    """Run a dashboard in a loop of its own (playwright keeps one in the main thread) and use it."""

    async def run() -> Any:
        dashboard, stop = Dashboard(NOBODY, port=0, **settings), asyncio.Event()
        running = asyncio.ensure_future(dashboard.run(stop))
        try:
            return await use(dashboard)
        finally:
            stop.set()
            await running

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


def change(model: str, attr: str, new: Any) -> dict[str, Any]:
    return {"events": [{"kind": "ModelChanged", "model": {"id": model}, "attr": attr, "new": new}]}


@pytest.mark.slow
def test_rubbish_is_counted_and_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_socket, "LOG_EVERY_S", 1e6)
    deep = "[" * 100_000 + "]" * 100_000

    async def use(dashboard: Dashboard) -> None:
        page = await PageClient.open(dashboard.url, "/view")
        kind, reply = await page.ask("PULL-DOC-REQ", {})
        assert kind == "PULL-DOC-REPLY"
        view = reply["doc"]["roots"][root_names().index("view")]
        for number, content in enumerate((change(view["id"], "active", 99), change("p1", "active", 1), {}, [], "3")):
            kind, _ = await page.ask("PATCH-DOC", content, 10 + number)
            assert kind == "ERROR"
        assert (await page.ask("PUSH-DOC", {"doc": {"roots": []}}, 20))[0] == "ERROR"
        assert (await page.ask("PATCH-DOC", change(view["id"], "active", 1), 21))[0] == "OK"
        assert dashboard.refused.counts == {"read-only page": 6}
        for content, header in ((deep, {}), ("{}", {"num_buffers": 10**9})):
            other = await PageClient.open(dashboard.url, "/view")
            assert (await other.ask("PATCH-DOC", content, 1, **header))[0] == "closed"
        assert (await page.ask("PATCH-DOC", change(view["id"], "active", 0), 22))[0] == "OK"
        assert dashboard.refused.counts == {"read-only page": 8}

    with caplog.at_level(logging.WARNING):
        with_dashboard(use)
    assert len([r for r in caplog.records if "refused from a read-only page" in r.message]) == 1
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_a_proxy_that_drops_the_upgrade_is_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    async def use(dashboard: Dashboard) -> None:
        headers = {"Origin": dashboard.url, "Connection": "close"}
        answer = await AsyncHTTPClient().fetch(f"{dashboard.url}/ws", headers=headers, raise_error=False)
        assert answer.code == 400

    with caplog.at_level(logging.WARNING):
        with_dashboard(use)
    (said,) = [record.message for record in caplog.records if "refused" in record.message]
    assert "without an Upgrade header, which a proxy" in said


def test_a_flood_is_read_slowly() -> None:
    pace = Pace(per_s=100.0, at_once=10.0)
    waits = [pace.wait_s() for _ in range(1000)]
    assert waits[0] == 0.0
    assert waits[-1] > 5.0, "990 messages too many at 100 a second"


def test_refusals_are_counted_when_they_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    refused = RefusedMessages()
    for _ in range(10_000):
        refused.add("read-only page", "this")
    assert refused.counts["read-only page"] == 10_000
    assert len(caplog.records) == 1


def test_operators_come_first() -> None:
    async def run() -> list[str]:
        turnstile, order = Turnstile(), []

        async def enter(name: str, *, first: bool) -> None:
            async with turnstile.turn(first=first):
                order.append(name)

        names = [("viewer 1", False), ("viewer 2", False), ("operator", True), ("viewer 3", False)]
        await asyncio.gather(*(enter(name, first=first) for name, first in names))
        return order

    with ThreadPoolExecutor(1) as thread:
        order = thread.submit(lambda: asyncio.run(run())).result()
    assert order == ["viewer 1", "operator", "viewer 2", "viewer 3"]


def test_pages_that_were_given_up_let_the_next_one_pass() -> None:
    """One that waits, one whose turn has just come, and the one at work: all are cancelled when the server ends."""

    async def run() -> list[str]:
        turnstile, order = Turnstile(), []

        async def enter(name: str) -> None:
            async with turnstile.turn(first=True):
                order.append(name)

        tasks = [asyncio.create_task(enter(name)) for name in "abcde"]
        await asyncio.sleep(0)
        for task in (tasks[1], tasks[0], tasks[3]):  # the turn is passed on before they have noticed
            task.cancel()
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert [type(one) for one in found if one is not None] == [asyncio.CancelledError] * 3
        last = asyncio.create_task(enter("last"))
        waiting = asyncio.create_task(enter("waiting"))
        await asyncio.sleep(0)
        await last
        waiting.cancel()  # its turn had come, or comes now
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.wait_for(enter("after"), 30)
        return order

    with ThreadPoolExecutor(1) as thread:
        order = thread.submit(lambda: asyncio.run(run())).result()
    assert order[:4] == ["a", "c", "e", "last"] and order[-1] == "after"


@pytest.mark.slow
def test_there_is_room_for_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_SESSIONS", 2)
    monkeypatch.setattr(guard, "FOR_OPERATORS", 1)

    async def use(dashboard: Dashboard) -> None:
        await PageClient.open(dashboard.url, "/view")
        with pytest.raises(Exception, match="503"):
            await PageClient.open(dashboard.url, "/view")
        operator = await PageClient.open(dashboard.url)
        assert (await operator.ask("SERVER-INFO-REQ", {}))[0] == "SERVER-INFO-REPLY"
        with pytest.raises(Exception, match="503"):
            await PageClient.open(dashboard.url)

    with_dashboard(use)


def test_asking_for_the_page_makes_none() -> None:
    async def use(dashboard: Dashboard) -> None:
        from tornado.httpclient import AsyncHTTPClient

        answers = await asyncio.gather(*(AsyncHTTPClient().fetch(dashboard.url) for _ in range(24)))
        assert {answer.code for answer in answers} == {200}
        assert len({json.dumps(answer.body.decode()) for answer in answers}) == 24, "each has a token of its own"
        assert dashboard.open_pages == 0

    with_dashboard(use)


def test_a_page_whose_session_went_first_is_not_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As happens when a dashboard ends while its pages are open."""
    told: list[PageSocket] = []

    def on_close(self: PageSocket) -> None:
        told.append(self)

    monkeypatch.setattr(page_socket.WSHandler, "__init__", lambda *_args, **_settings: None)
    monkeypatch.setattr(page_socket.WSHandler, "on_close", on_close)
    for session in (None, object()):
        socket = PageSocket(None)
        socket.connection = SimpleNamespace(_session=session)
        socket.on_close()
        assert told == ([] if session is None else [socket])
