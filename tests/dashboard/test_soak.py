"""Hours in minutes: viewers that look, reload, freeze and stall while maps keep coming.

The short form runs with every ``make test``; the long one streams real frames through a real server.
"""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from browser_tools import Watched, eventually
from fake_server import FakeServer, map_payload, state_payload
from playwright.sync_api import Page
from running import server as real_server
from running_dashboard import RunningDashboard
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

from ptylive.server.client import ControlClient
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay

pytestmark = pytest.mark.browser
MAPS = ("obf", "tcbf", "idpc", "adf")
PAINTED = """() => Array.from({length: 4}, (_, i) =>
  Bokeh.documents[0].get_model_by_name(`map_${i}`).renderers[0].data_source.data.number[0])"""
FREEZE = """() => { window.held = []; window.paint = window.requestAnimationFrame;
  window.requestAnimationFrame = then => window.held.push(then); }"""
WAKE = "() => { window.requestAnimationFrame = window.paint; for (const then of window.held) window.paint(then); }"
"""A tab in the background paints nothing, and goes on where it was when it is looked at."""
BRIGHTEST = "() => Bokeh.documents[0].get_model_by_name('map_3').renderers[0].data_source.data.high[0]"


class Publisher(threading.Thread):
    """Four maps of 256 x 256, five times a second; the contrast of every map says how many there were."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__(daemon=True)
        self.server, self.count, self.stopping = server, 0, threading.Event()
        self.noise = np.random.default_rng(1).random((256, 256), dtype=np.float32)

    def run(self) -> None:
        self.server.publish("state", state_payload(scan={"shape": [256, 256], "step_A": [0.5, 0.5]}))
        while not self.stopping.wait(0.2):
            self.count += 1
            for name in MAPS:
                self.server.publish("maps", map_payload(name, self.noise * (1 + self.count)))


async def _stare(url: str, stop: threading.Event) -> None:
    """A viewer that takes whatever comes and never says it has shown anything."""
    page = (await AsyncHTTPClient().fetch(url)).body.decode()
    token = re.search(r'"token":"([^"]+)"', page)
    assert token is not None
    request = HTTPRequest(url.replace("http", "ws") + "/ws", headers={"Origin": url})
    socket = await websocket_connect(request, subprotocols=["bokeh", token[1]])
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(socket.read_message(), 0.2)
    socket.close()


@contextmanager
def staring(url: str, viewers: int) -> Iterator[None]:
    """Some viewers beside the browser."""
    stop = threading.Event()
    threads = [threading.Thread(target=lambda: asyncio.run(_stare(url, stop)), daemon=True) for _ in range(viewers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)


def rates(page: Page, process: psutil.Process, seconds: float) -> tuple[float, float]:
    """Pictures painted per second and map, and the share of a core that the dashboard took."""
    before, cpu, start = page.evaluate(PAINTED), process.cpu_times(), time.monotonic()
    page.wait_for_timeout(1000 * seconds)
    after, spent, elapsed = page.evaluate(PAINTED), process.cpu_times(), time.monotonic() - start
    painted = min(b - a for a, b in zip(before, after, strict=True)) / elapsed
    return painted, (spent.user + spent.system - cpu.user - cpu.system) / elapsed


def test_short_soak(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    process = psutil.Process(dashboard.process.pid)
    publisher = Publisher(server)
    publisher.start()
    page = watched.open(dashboard.url)
    with staring(dashboard.url, 2):
        eventually(lambda: min(page.evaluate(PAINTED)) > 3)
        painted, load = rates(page, process, 6.0)
        print(f"{painted:.1f} pictures/s, {100 * load:.0f} % of a core")
        assert painted > 2.0, "4 on a quiet machine"
        assert load < 0.6
        page.evaluate(FREEZE)
        page.wait_for_timeout(2500)
        asleep = page.evaluate(BRIGHTEST)
        page.evaluate(WAKE)
        newest = publisher.count
        assert asleep < newest - 5
        eventually(lambda: page.evaluate(BRIGHTEST) > 0.98 * newest, 2.0)
    memory = process.memory_info().rss
    for _ in range(4):
        page.reload()
        page.wait_for_selector("body[data-ready=yes]")
    eventually(lambda: page.evaluate(BRIGHTEST) > 0.9 * publisher.count)
    assert process.memory_info().rss - memory < 60e6
    publisher.stopping.set()
    assert watched.complaints == []


def _answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((urlsplit(url).hostname, urlsplit(url).port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_long_soak(tmp_path: Path, watched: Watched) -> None:
    """Frames at 2000 a second for ten minutes, three viewers, 200 reloads: no frame lost, no memory lost."""
    with real_server(tmp_path, "--dashboard", "127.0.0.1:0", "--no-record") as running:
        with ControlClient(running.control) as client:
            status = client.call("status")
        eventually(lambda: _answers(status["dashboard"]), 60)  # commands are taken before the dashboard is up
        process = next(
            p for p in psutil.Process(running.process.pid).children() if "dashboard" in " ".join(p.cmdline())
        )
        page = watched.open(status["dashboard"])
        settings = ReplaySettings(to=running.data, rate=2000.0, loops=290)
        stream = threading.Thread(target=replay, args=(bundled("mos2_svac_80kV_focus"), settings), daemon=True)
        stream.start()
        with staring(status["dashboard"], 2):
            eventually(lambda: min(page.evaluate(PAINTED)) > 3, 30)
            for _ in range(5):
                painted, load = rates(page, process, 20.0)
                assert load < 0.6, painted
            memory = 0
            for visit in range(200):
                page.reload()
                page.wait_for_selector("body[data-ready=yes]")
                memory = memory or (process.memory_info().rss if visit == 40 else 0)
            time.sleep(40)
            assert process.memory_info().rss - memory < 80e6
        stream.join(700)
        final = running.wait_for(lambda s: s["state"] == "complete")
        assert final["lost"] == 0
        assert final["rejected"] == {}
    assert watched.complaints == []
