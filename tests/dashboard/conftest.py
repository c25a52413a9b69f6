"""Fixtures for tests of the dashboard: a fake server, and a dashboard in a process of its own."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bokeh.document import Document
from bokeh.model import Model
from browser_tools import BROWSERS, Watched
from fake_server import FakeServer
from page_in_memory import CommandSender, silent_feed
from playwright.sync_api import Browser, sync_playwright
from running_dashboard import RunningDashboard, fork_dashboard

from ptylive.dashboard.client.feed import Feed
from ptylive.dashboard.panels.live.later import LaterFigure
from ptylive.dashboard.session import Session
from ptylive.dashboard.skeleton import PageRoots


@pytest.fixture(autouse=True)
def figures_that_are_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that no browser shows have only the figures that a test looks at: two thirds of a page's time goes to them.

    Marked ``whole_page``: tests of what a page consists of.
    """
    if request.node.get_closest_marker("whole_page") is not None:
        return
    add = PageRoots._add

    def add_what_is_made(page: PageRoots, roots: Iterable[Model | LaterFigure]) -> None:
        shown = page._document.session_context is not None
        add(page, [root for root in roots if shown or not isinstance(root, LaterFigure) or root.is_made])

    monkeypatch.setattr(PageRoots, "_add", add_what_is_made)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A fake server that answers and publishes."""
    fake = FakeServer()
    yield fake
    fake.close()


@pytest.fixture
def dashboard(server: FakeServer) -> Iterator[RunningDashboard]:
    """A dashboard process connected to the fake server."""
    running = fork_dashboard(server.control)
    yield running
    running.end()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium: Browser) -> Iterator[Watched]:
    """An empty page of a small laptop's size."""
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    yield Watched(page)
    page.close()


@pytest.fixture
def feed() -> Feed:
    """A feed that does not listen."""
    return silent_feed()


@pytest.fixture
def sender() -> CommandSender:
    """Receives the commands of :func:`session`."""
    return CommandSender()


@pytest.fixture
def session(feed: Feed, sender: CommandSender) -> Session:
    """A page in memory."""
    return Session(Document(), feed, sender)
