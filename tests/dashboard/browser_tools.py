"""A real Chromium, the complaints of its pages, and what is on its screen."""

import io
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from fake_server import map_payload
from PIL import Image
from playwright.sync_api import Page, expect
from running import Server, server

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay

SIDE = 64
PATIENCE_S = 60.0
"""Timeout for a page on a machine with other things to do; a test only waits that long if it fails."""
OPENING_S = 180.0
"""Timeout for the first page of a dashboard, which is made while other jobs run."""
expect.set_options(timeout=1e3 * PATIENCE_S)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Watched:
    """A page with everything it complained about and every host it contacted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def open(self, url: str) -> Page:
        self.page.goto(url, timeout=1e3 * OPENING_S)
        self.page.wait_for_selector("body[data-ready=yes]", timeout=1e3 * OPENING_S)
        return self.page


def quadrants() -> np.ndarray:
    """0 and 1 in the upper half, 0.5 and 0.25 in the lower."""
    data = np.zeros((SIDE, SIDE), dtype=np.float32)
    half = SIDE // 2
    data[:half, half:], data[half:, :half], data[half:, half:] = 1.0, 0.5, 0.25
    return data


def rows_covered(rows: int) -> dict[str, object]:
    coverage = np.zeros((SIDE, SIDE), dtype=bool)
    coverage[:rows] = True
    return map_payload("coverage", coverage)


def pixels(page: Page, selector: str) -> np.ndarray:
    """RGB of an element as shown on the screen."""
    image = Image.open(io.BytesIO(page.locator(selector).screenshot()))
    return np.asarray(image.convert("RGB"), dtype=int)


def quadrant_colours(page: Page, selector: str) -> np.ndarray:
    """Colours (2, 2, 3) at the centres of the quadrants of the square map centred in a panel."""
    shot = pixels(page, selector)
    height, width = shot.shape[:2]
    quarter = min(height, width) // 4
    return np.array([[shot[height // 2 + r * quarter, width // 2 + c * quarter] for c in (-1, 1)] for r in (-1, 1)])


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def share_of(shot: np.ndarray, colour: str) -> float:
    """Share of a picture that has a colour."""
    return float((np.abs(shot - rgb(colour)).max(axis=-1) <= 3).mean())


def answers(url: str) -> bool:
    """Whether somebody listens at an address."""
    with socket.socket() as probe:
        return probe.connect_ex((urlsplit(url).hostname, urlsplit(url).port)) == 0


def eventually(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def server_with(scan: str, recordings: Path) -> Iterator[Server]:
    """A real server with a page, and a bundled scan that has ended."""
    with server(recordings, "--dashboard", "127.0.0.1:0") as one:
        url = one.status()["dashboard"]
        eventually(lambda: answers(url))
        replay(bundled(scan), ReplaySettings(to=one.data))
        one.wait_for_results()
        yield one
