"""Hours in minutes: viewers that look, reload, freeze and stall while maps keep coming.

The short form has a fake server; the long one streams raw frames through a real server.
"""

import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import psutil
import pytest
from browser_tools import OPENING_S, Watched, eventually
from fake_server import FakeServer, map_payload, state_payload
from playwright.sync_api import Page
from running import Server
from running import server as real_server
from running_dashboard import RunningDashboard
from viewers import staring

pytestmark = pytest.mark.browser
FRAMES_PER_S = 2000
SOAK_S = float(os.environ.get("PTYLIVE_SOAK_S", "600"))
RELOADS = int(os.environ.get("PTYLIVE_SOAK_RELOADS", "200"))
RELOAD_S = 5.0
"""Time that a reload may take if two cores do everything."""
INTERVAL_S = 10.0
FORGOTTEN_S = 40.0
"""By then, closed pages are forgotten."""
MAPS = ("obf", "tcbf", "idpc", "adf")
PAINTED = """() => Array.from({length: 4}, (_, i) =>
  Bokeh.documents[0].get_model_by_name(`map_${i}`).renderers[0].data_source.data.number[0])"""
FREEZE = """() => { window.held = []; window.paint = window.requestAnimationFrame;
  window.requestAnimationFrame = then => window.held.push(then); }"""
WAKE = "() => { window.requestAnimationFrame = window.paint; for (const then of window.held) window.paint(then); }"
"""A background tab paints nothing; it continues where it was when it comes to the front."""
BRIGHTEST = "() => Bokeh.documents[0].get_model_by_name('map_3').renderers[0].data_source.data.high[0]"


class Publisher(threading.Thread):
    """Four maps of 256 x 256, five times a second; the contrast of every map says how many there have been."""

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


def rates(page: Page, process: psutil.Process, seconds: float) -> tuple[float, float]:
    """Pictures painted per second and map, and the share of a core used by the dashboard."""
    before, cpu, start = page.evaluate(PAINTED), process.cpu_times(), time.monotonic()
    page.wait_for_timeout(1000 * seconds)
    after, spent, elapsed = page.evaluate(PAINTED), process.cpu_times(), time.monotonic() - start
    painted = min(b - a for a, b in zip(before, after, strict=True)) / elapsed
    return painted, (spent.user + spent.system - cpu.user - cpu.system) / elapsed


@pytest.mark.slow
def test_short_soak(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    process = psutil.Process(dashboard.process.pid)
    publisher = Publisher(server)
    publisher.start()
    try:
        page = watched.open(dashboard.url)
        with staring(dashboard.url, 2):
            eventually(lambda: min(page.evaluate(PAINTED)) > 3)
            painted, load = rates(page, process, 6.0)
            print(f"{painted:.1f} pictures/s, {100 * load:.0f} % of a core")
            assert painted > 0, "4 on a quiet machine"
            page.evaluate(FREEZE)
            before = publisher.count
            eventually(lambda: publisher.count > before + 12)
            asleep = page.evaluate(BRIGHTEST)
            newest = publisher.count
            assert asleep < newest - 5
            page.evaluate(WAKE)
            eventually(lambda: page.evaluate(BRIGHTEST) > 0.98 * newest)
        memory = process.memory_info().rss
        for _ in range(4):
            page.reload()
            page.wait_for_selector("body[data-ready=yes]", timeout=1e3 * OPENING_S)
        eventually(lambda: page.evaluate(BRIGHTEST) > 0.9 * publisher.count)
        assert process.memory_info().rss - memory < 60e6
    finally:
        publisher.stopping.set()  # otherwise what is published piles up here
        publisher.join(60)
    assert watched.complaints == []


def _answers(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((urlsplit(url).hostname, urlsplit(url).port)) == 0


def child(running: Server, module: str) -> psutil.Process:
    """The child process of the server that runs a module."""
    return next(p for p in psutil.Process(running.process.pid).children() if module in p.cmdline())


def settled(process: psutil.Process, patience_s: float = 180.0) -> None:
    """Wait until a process has finished the compilation at its start."""
    give_up = time.monotonic() + patience_s
    while process.cpu_percent(2.0) > 10 and time.monotonic() < give_up:
        pass


@contextmanager
def scanning(data: str) -> Iterator[subprocess.Popen[str]]:
    """Send 2000 frames a second of 64 x 64 pixels, one scan of 256 x 256 points after the other."""
    script = Path(__file__).with_name("endless_scans.py")
    command = [sys.executable, str(script), data, str(FRAMES_PER_S)]
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield sender
    finally:
        sender.kill()
        sender.communicate()


def counters(url: str) -> dict[str, float]:
    """A server's counters, summed over all scans, by name."""
    with urlopen(url, timeout=60) as reply:
        lines = reply.read().decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}


@dataclass
class Soak:
    """A page that is being watched, and the dashboard's process."""

    page: Page
    process: psutil.Process
    seconds: float
    began: float = field(default_factory=time.monotonic)
    watched_s: float = 0.0
    pictures: int = 0
    """Number painted of the slowest map while the page was watched."""
    slowest: float = math.inf
    """Lowest rate of pictures per second in an INTERVAL_S."""
    cpu_s: float = 0.0
    memory: list[float] = field(default_factory=list)

    def watch(self, until: float) -> None:
        """Count pictures and processor time until this share of the time has passed."""
        while time.monotonic() < self.began + until * self.seconds:
            began, cpu, before = time.monotonic(), _cpu_s(self.process), self.page.evaluate(PAINTED)
            self.page.wait_for_timeout(1000 * INTERVAL_S)
            painted = min(b - a for a, b in zip(before, self.page.evaluate(PAINTED), strict=True))
            elapsed = time.monotonic() - began
            self.watched_s += elapsed
            self.pictures += painted
            self.slowest = min(self.slowest, painted / elapsed)
            self.cpu_s += _cpu_s(self.process) - cpu
            self.memory.append(self.process.memory_info().rss / 1e6)

    def sleep(self, seconds: float) -> float:
        """Stop the browser from painting for a while; return how many seconds it then takes to get newer pictures."""
        self.page.evaluate(FREEZE)
        self.page.wait_for_timeout(1000 * seconds)
        before = self.page.evaluate(PAINTED)
        self.page.evaluate(WAKE)
        woken = time.monotonic()
        eventually(lambda: min(b - a for a, b in zip(before, self.page.evaluate(PAINTED), strict=True)) >= 1, 5.0)
        return time.monotonic() - woken

    def reload(self, times: int) -> float:
        """Reload the page many times; return by how many MB the dashboard has grown since the first fifth of them."""
        first = 0.0
        for time_ in range(times):
            self.page.reload()
            self.page.wait_for_selector("body[data-ready=yes]")
            if time_ == times // 5:
                first = self.process.memory_info().rss / 1e6
        time.sleep(FORGOTTEN_S)
        return self.process.memory_info().rss / 1e6 - first

    @property
    def growth(self) -> float:
        """Growth in MB from the second to the last third of the time that was watched."""
        third = max(1, len(self.memory) // 3)
        return float(np.median(self.memory[-third:]) - np.median(self.memory[third : 2 * third]))

    def __str__(self) -> str:
        rate, load = self.pictures / self.watched_s, self.cpu_s / self.watched_s
        text = f"{self.watched_s:.0f} s watched: {rate:.2f} pictures/s (least {self.slowest:.2f})"
        return f"{text}, {100 * load:.0f} % of a core, {self.memory[0]:.0f} to {self.memory[-1]:.0f} MB"


def _cpu_s(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


@pytest.mark.slow
@pytest.mark.timeout(SOAK_S + RELOAD_S * RELOADS + 600)
def test_long_soak(tmp_path: Path, watched: Watched) -> None:
    """Raw frames at 2000 a second for ten minutes, maps of 256 x 256, three viewers, a frozen viewer, 200 reloads.

    Requires no frame lost, at least 4 pictures a second, less than 60 % of a core, and no memory lost. PTYLIVE_SOAK_S
    and PTYLIVE_SOAK_RELOADS override the 600 s and 200 reloads.
    """
    options = ("--dashboard", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--no-record")
    with real_server(tmp_path, *options) as running:
        status = running.status()
        eventually(lambda: _answers(status["dashboard"]), 60)  # commands are accepted before the dashboard is up
        page = watched.open(status["dashboard"])
        settled(child(running, "ptylive.server.serve.acquire"))
        with scanning(running.data) as sender, staring(status["dashboard"], 2):
            eventually(lambda: min(page.evaluate(PAINTED)) > 3, 60)
            soak = Soak(page, child(running, "ptylive.dashboard"), SOAK_S)
            soak.watch(0.4)
            woken_s = soak.sleep(min(30.0, SOAK_S / 6))
            grown = soak.reload(RELOADS)
            soak.watch(1.0)
            sender.terminate()
            sent = json.loads(sender.communicate(timeout=90)[0])
            running.wait_for(lambda s: s["state"] == "complete")
        counted = counters(status["metrics"])
    said = f"{soak}; {sent}; {RELOADS} reloads: {grown:+.0f} MB; awake after {woken_s:.1f} s"
    print(said)
    placed, lost = counted["ptylive_frames_placed_total"], counted["ptylive_frames_lost_total"]
    assert (placed, lost) == (sent["frames"], 0), said
    assert not [name for name in counted if name.startswith("ptylive_rejected")], said
    assert sent["frames"] / sent["seconds"] > 0.98 * FRAMES_PER_S, said
    assert soak.pictures / soak.watched_s >= 4.0, said
    assert soak.cpu_s / soak.watched_s < 0.6, said
    assert grown < 60.0, said
    assert soak.growth < 30.0, said
    assert woken_s < 2.0, said
    assert watched.complaints == []
