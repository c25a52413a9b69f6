"""The page in a real Chromium: what is on the screen, pixel by pixel, and what a click does."""

import io
import shutil
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
from fake_server import FakeServer, map_payload, state_payload
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running_dashboard import RunningDashboard, start_dashboard

from ptylive.dashboard.colours import UNVISITED
from ptylive.server.messages import array_to_plain

pytestmark = pytest.mark.browser
SIDE = 64


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page with everything it complained of and every host it asked."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    def open(self, url: str) -> Page:
        self.page.goto(url)
        self.page.wait_for_selector("body[data-ready=yes]")
        return self.page


@pytest.fixture
def watched(chromium: Browser) -> Iterator[Watched]:
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    yield Watched(page)
    page.close()


def quadrants() -> np.ndarray:
    """0 and 1 above, 0.5 and 0.25 below."""
    data = np.zeros((SIDE, SIDE), dtype=np.float32)
    half = SIDE // 2
    data[:half, half:], data[half:, :half], data[half:, half:] = 1.0, 0.5, 0.25
    return data


def rows_covered(rows: int) -> dict[str, object]:
    coverage = np.zeros((SIDE, SIDE), dtype=bool)
    coverage[:rows] = True
    return map_payload("coverage", coverage)


def pixels(page: Page, selector: str) -> np.ndarray:
    """RGB of an element as it is on the screen."""
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
    """Part of a picture that has a colour."""
    return float((np.abs(shot - rgb(colour)).max(axis=-1) <= 3).mean())


def eventually(condition: Callable[[], bool], timeout_s: float = 8.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_known_map_is_on_the_screen(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.publish("maps", rows_covered(SIDE // 2))
    server.maps_of(adf=quadrants(), idpc=quadrants())
    page = watched.open(dashboard.url)
    adf = "#canvas-map-3"
    eventually(lambda: share_of(pixels(page, adf), UNVISITED) > 0.2)
    above = quadrant_colours(page, adf)
    assert np.abs(above[0] - [[0, 0, 0], [255, 255, 255]]).max() <= 6
    assert np.abs(above[1] - rgb(UNVISITED)).max() <= 3

    server.publish("maps", rows_covered(SIDE))
    server.maps_of(adf=quadrants())
    server.publish("state", state_payload(state="complete", frames=SIDE**2, received=SIDE**2))
    eventually(lambda: share_of(pixels(page, adf), UNVISITED) == 0.0)
    gray = np.array([[0.0, 255.0], [127.5, 63.75]])
    assert np.abs(quadrant_colours(page, adf) - gray[..., None]).max() <= 6
    expect(page.locator("[data-text=state]")).to_have_text("COMPLETE")
    expect(page.locator("[data-text=map_3_high]")).to_have_text("1.00")

    magma = quadrant_colours(page, "#canvas-map-2")
    assert np.abs(magma[0, 1] - rgb("#fcfdbf")).max() <= 8, "phases wear magma, lightest at the top right"
    page.locator("[data-panel='2'] select").nth(1).select_option("gray")
    eventually(lambda: np.abs(quadrant_colours(page, "#canvas-map-2") - gray[..., None]).max() <= 6)

    assert watched.complaints == []
    assert watched.hosts == {f"127.0.0.1:{dashboard.port}"}


@pytest.mark.parametrize("size", [(1280, 800), (1920, 1080)])
def test_nothing_overflows(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, size: tuple[int, int]
) -> None:
    server.maps_of(adf=quadrants())
    server.publish("state", state_payload(series="a very long series name " * 8, recording="/x/" + 90 * "r" + ".h5"))
    watched.page.set_viewport_size({"width": size[0], "height": size[1]})
    page = watched.open(dashboard.url)
    for view in ("Session", "Refine", "Library"):
        page.get_by_role("button", name=view, exact=True).click()
        overflow = page.evaluate(
            """() => {
              const root = document.documentElement;
              const out = [...document.querySelectorAll(
                  `header, footer, aside, [data-of=${document.body.dataset.view}] article`)]
                .filter(e => e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1
                          || e.getBoundingClientRect().bottom > innerHeight
                          || e.getBoundingClientRect().right > innerWidth)
                .map(e => `${e.tagName} ${e.className}`);
              return [root.scrollWidth > innerWidth, root.scrollHeight > innerHeight, ...out];
            }"""
        )
        assert overflow == [False, False], view


def test_refine_sends_the_preset_and_the_loss_appears(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    page = watched.open(dashboard.url)
    page.get_by_role("button", name="Refine", exact=True).click()
    slices = page.locator(".setting", has_text="slices").first.locator("input")
    slices.fill("4")
    slices.blur()
    press = page.locator("[data-of=refine]").get_by_role("button", name="Refine this scan")
    expect(press).to_be_enabled()
    press.click()
    expect(page.locator(".sentence")).to_contain_text("needs total_thickness_A")
    assert server.received("refine") == []

    thickness = page.locator(".setting", has_text="thickness").first.locator("input")
    thickness.fill("20")
    thickness.blur()
    press.click()
    eventually(lambda: len(server.received("refine")) == 1)
    preset = server.received("refine")[0]["preset"]
    assert preset == {
        "num_slices": 4,
        "total_thickness_A": 20,
        "epoch_max": "auto",
        "sweeps": "auto",
        "probe_modes": "auto",
        "algorithm": "auto",
    }

    orange, blue = "#d9962e", "#3f9bdc"
    before = pixels(page, "#canvas-loss-large")
    assert share_of(before, orange) == share_of(before, blue) == 0.0
    progress = {"uid": "scan-1", "run": "r1", "state": "running", "phase": "lbfgs", "epoch": 4, "epochs": 20}
    pictures = {
        "object": {**array_to_plain(quadrants()), "sampling_A": [0.2, 0.2]},
        "probe": {**array_to_plain(np.ones((2, 16, 16), np.complex64)), "sampling_A": [0.2, 0.2]},
    }
    losses = {"loss": 1.5, "losses": [4.0, 3.0, 2.0, 1.5], "phases": ["sweep", "sweep", "lbfgs", "lbfgs"]}
    server.publish("state", state_payload(refinement={"state": "running", "run": "r1", "epoch": 4, "loss": 1.5}))
    server.publish("refinement", {**progress, **losses, **pictures})
    eventually(lambda: share_of(pixels(page, "#canvas-loss-large"), orange) > 1e-4)
    eventually(lambda: share_of(pixels(page, "#canvas-loss-large"), blue) > 1e-4)
    eventually(lambda: np.abs(quadrant_colours(page, "#canvas-object")[0, 1] - rgb("#fcfdbf")).max() <= 8)
    expect(page.locator(".loss [data-text=refine_epoch]")).to_have_text("4 of 20")
    expect(page.locator("[data-text=probe_powers]")).to_have_text("50 % · 50 %")
    expect(press).to_be_disabled()

    page.locator("[data-of=refine]").get_by_role("button", name="Stop").click()
    eventually(lambda: len(server.received("refine_stop")) == 1)
    page.locator("[data-of=refine]").get_by_role("button", name="Save", exact=True).click()
    eventually(lambda: len(server.received("save")) == 1)
    assert watched.complaints == []


def test_fourier_transform_full_screen_and_help_by_keyboard(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    cols = np.indices((SIDE, SIDE))[1]
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(obf=np.cos(2 * np.pi * cols / 4).astype(np.float32), com_row=quadrants(), com_col=quadrants())
    page = watched.open(dashboard.url)
    eventually(lambda: share_of(pixels(page, "#canvas-map-0"), "#fcfdbf") > 0.05)
    page.keyboard.press("t")
    title = "Bokeh.documents[0].get_model_by_name('map_0')"
    eventually(lambda: page.evaluate(f"{title}.x_range.start") < -0.9)
    eventually(lambda: 0 < share_of(pixels(page, "#canvas-map-0"), "#fcfdbf") < 0.02)
    y_range = "Bokeh.documents[0].get_model_by_name('map_1').y_range"
    assert page.evaluate(f"{y_range}.start - {y_range}.end") > 30, "the maps keep their own coordinates"
    page.keyboard.press("f")
    box = page.locator("[data-panel='0']").bounding_box()
    assert box is not None
    assert box["width"] > 1270
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator(".help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".help")).to_be_hidden()
    page.keyboard.press("t")
    eventually(lambda: share_of(pixels(page, "#canvas-map-0"), "#fcfdbf") > 0.05)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("7")
    high = "Bokeh.documents[0].get_model_by_name('map_1').renderers[0].glyph.color_mapper.high"
    eventually(lambda: page.evaluate(high) > 1000)
    assert watched.complaints == []


def test_a_refusal_of_the_server_is_told(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.replies["refine"] = {"ok": False, "error": "the scan has no <b>energy_eV</b>"}
    page = watched.open(dashboard.url)
    press = page.locator("[data-of=session]").get_by_role("button", name="Refine this scan")
    expect(press).to_be_enabled()
    press.click()
    expect(page.locator(".sentence")).to_have_text("the scan has no <b>energy_eV</b>")
    assert page.locator(".sentence b").count() == 0


def test_the_server_goes_and_comes_back(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.maps_of(adf=quadrants())
    page = watched.open(dashboard.url)
    eventually(lambda: share_of(pixels(page, "#canvas-map-3"), "#ffffff") > 0.05)
    server.close()
    expect(page.locator(".banner")).to_contain_text("server gone since")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).opacity") == "0.45"
    again = FakeServer(server.control)
    try:
        expect(page.locator(".banner")).to_be_hidden(timeout=10_000)
        again.publish("state", state_payload(uid="scan-2", series="0143"))
        again.publish("maps", map_payload("adf", 1 - quadrants(), uid="scan-2"))
        expect(page.locator(".series")).to_have_text("0143")
        eventually(lambda: quadrant_colours(page, "#canvas-map-3")[0, 0].min() > 240)
    finally:
        again.close()
    assert watched.complaints == []


def test_the_dashboard_goes_and_the_page_comes_back(server: FakeServer, watched: Watched) -> None:
    running = start_dashboard(server.control)
    page = watched.open(running.url)
    running.kill()
    expect(page.locator(".banner")).to_contain_text("dashboard gone since")
    second = start_dashboard(server.control, running.port)
    try:
        expect(page.locator(".banner")).to_be_hidden(timeout=10_000)
        expect(page.locator(".series")).to_have_text("0142")
    finally:
        second.process.terminate()
        second.process.communicate()


def test_a_viewer_who_paints_nothing_is_sent_one_picture(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    server.maps_of(adf=quadrants())
    page = watched.open(dashboard.url)
    number = "Bokeh.documents[0].get_model_by_name('map_3').renderers[0].data_source.data.number[0]"
    eventually(lambda: page.evaluate(number) >= 1)
    page.wait_for_timeout(500)
    page.evaluate("window.requestAnimationFrame = () => 0")
    before = page.evaluate(number)
    for value in range(10):
        server.maps_of(adf=quadrants() * (value + 1))
        page.wait_for_timeout(120)
    assert page.evaluate(number) <= before + 1
