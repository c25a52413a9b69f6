"""One page in a real Chromium on a real server: a scan arrives, is refined with a click, and looked at again later."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import h5py
import numpy as np
import psutil
import pytest
from browser_tools import Watched, answers, eventually
from playwright.sync_api import Page, expect
from running import Server
from running import server as real_server

from ptylive.server.wire.messages import array_from_plain
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.source import open_source

pytestmark = pytest.mark.browser
SCAN = "mos2_svac_80kV_focus"
PAINTED = "Bokeh.documents[0].get_model_by_name('map_0').renderers[0].data_source.data.number[0]"
OBJECT = "Bokeh.documents[0].get_model_by_name('object').renderers[0].data_source.data.image[0].length"

LOOKS_ELSEWHERE = """() => {
  window.told = [];
  window.Notification = class { constructor(_title, {body}) { told.push(body); } static permission = "granted"; };
  Object.defineProperty(document, "hidden", {get: () => true});
}"""
"""A browser that may show notifications, with another tab in front."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with real_server(tmp_path_factory.mktemp("recordings"), "--dashboard", "127.0.0.1:0") as one:
        url = one.status()["dashboard"]
        eventually(lambda: answers(url))  # commands are accepted before the dashboard is up
        yield one


def set_field(page: Page, label: str, value: str) -> None:
    field = page.locator(".setting", has=page.get_by_text(label, exact=True)).locator("input")
    field.fill(value)
    field.blur()


def scanned(running: Server, name: str, **settings: float) -> dict:
    """Status once the results of one more scan are there; tests sharing this server run in any order."""
    before = running.status()["uid"]
    replay(bundled(name), ReplaySettings(to=running.data, **settings))
    return running.wait_for(lambda s: s["uid"] != before and s["state"] == "complete" and s["results"])


@pytest.mark.slow
def test_a_scan_is_refined_by_a_click(running: Server, watched: Watched) -> None:
    page = watched.open(running.status()["dashboard"])
    status = scanned(running, SCAN, rate=4000.0)
    expect(page.locator("[data-text=state]")).to_have_text("COMPLETE")
    eventually(lambda: page.evaluate(PAINTED) >= 1)

    page.get_by_role("button", name="Refine", exact=True).click()
    for label, value in (("epochs", "1"), ("sweeps", "1"), ("probe modes", "1")):
        set_field(page, label, value)
    press = page.locator("[data-of=refine]").get_by_role("button", name="Refine this scan")
    expect(press).to_be_enabled()
    press.click()
    expect(page.locator("h2 [data-text=refine_state]").first).to_have_text("done", timeout=400_000)
    eventually(lambda: page.evaluate(OBJECT) > 1000)
    expect(page.locator("#runs")).to_contain_text("run1")
    with h5py.File(status["results"]) as results:
        assert results["refinements/run1/object"].shape[1] == 1

    page.get_by_role("button", name="positions").click()
    expect(page.locator(".sentence")).to_contain_text("positions moved by")
    page.get_by_role("button", name="Session", exact=True).click()
    page.keyboard.press("o")
    expect(page.locator("[data-text=trotter_flat_after]")).to_contain_text("flat")
    assert watched.complaints == []
    assert watched.hosts == {urlsplit(running.status()["dashboard"]).netloc}


@pytest.mark.slow
def test_a_refinement_that_was_too_short_goes_on_by_a_click(running: Server, watched: Watched) -> None:
    page = watched.open(running.status()["dashboard"])
    status = scanned(running, SCAN, rate=4000.0)
    page.get_by_role("button", name="Refine", exact=True).click()
    for label, value in (("epochs", "4"), ("sweeps", "0"), ("probe modes", "1")):
        set_field(page, label, value)
    page.locator("[data-of=refine]").get_by_role("button", name="Refine this scan").click()
    state = page.locator("h2 [data-text=refine_state]").first
    expect(state).to_have_text("not converged", timeout=400_000)
    page.locator("[data-of=refine], h2").get_by_role("button", name="+20 epochs").first.click()
    expect(page.locator("dd[data-text=refine_epoch]")).to_have_text("24 of 24", timeout=400_000)
    expect(state).to_have_text(re.compile("^(done|not converged)$"), timeout=400_000)  # the result is stored
    with h5py.File(status["results"]) as results:
        (run,) = results["refinements"]
        assert len(results[f"refinements/{run}/loss"]) == 24
    assert watched.complaints == []


@pytest.mark.slow
def test_one_looks_back_at_a_scan_while_the_next_is_there(running: Server, watched: Watched, tmp_path: Path) -> None:
    first = scanned(running, SCAN, rate=4000.0)
    page = watched.open(first["dashboard"])
    scanned(running, "au_ac_300kV_parallax")
    shape = "Bokeh.documents[0].get_model_by_name('map_3').renderers[0].data_source.data.image[0].shape"
    eventually(lambda: page.evaluate(shape) == [48, 48])
    expect(page.locator("#past")).to_be_enabled()
    newest = int(page.locator("#past").input_value())
    page.locator("#past").fill(str(newest - 1))
    eventually(lambda: page.evaluate(shape) == [64, 64])
    expect(page.locator("[data-text=past]")).to_contain_text(first["series"])
    page.locator("#past").fill(str(newest))
    eventually(lambda: page.evaluate(shape) == [48, 48])
    assert watched.complaints == []


@pytest.mark.slow
def test_the_first_map_is_painted_while_the_scan_has_hardly_begun(tmp_path: Path, watched: Watched) -> None:
    """On a quiet machine within two seconds of the first frame; the scan lasts long enough for a busy one."""
    with real_server(tmp_path, "--dashboard", "127.0.0.1:0") as one:
        url = one.status()["dashboard"]
        eventually(lambda: answers(url))
        page = watched.open(url)
        replay(bundled(SCAN), ReplaySettings(to=one.data))
        one.wait_for_results()
        before = page.evaluate(PAINTED)
        page.wait_for_timeout(1000)
        sending = threading.Thread(target=replay, args=(bundled(SCAN), ReplaySettings(to=one.data, rate=50.0)))
        sending.start()
        state = "window.ptylive && document.querySelector('[data-text=state]').textContent"
        eventually(lambda: page.evaluate(state) == "SCANNING" and page.evaluate(PAINTED) > before + 1)
        arrived = one.status()["frames"]
        sending.join()
    assert arrived < 2048  # of 4096


@pytest.mark.slow
def test_a_newcomer_is_told_where_frames_are_awaited_and_sends_the_demo_scan(tmp_path: Path, watched: Watched) -> None:
    with real_server(tmp_path, "--dashboard", "127.0.0.1:0") as one:
        url = one.status()["dashboard"]
        eventually(lambda: answers(url))
        page = watched.open(url)
        welcome = page.locator(".welcome")
        expect(welcome).to_be_visible()
        expect(welcome).to_contain_text(one.data)
        expect(welcome).to_contain_text("Recorded scans are in the Library")
        page.evaluate(LOOKS_ELSEWHERE)
        page.get_by_role("button", name="replay the demo scan").click()
        expect(welcome).to_be_hidden()
        now = page.locator("#guide [data-step=now] b")
        expect(now).to_have_text("The scan arrives")
        status = one.wait_for(lambda s: s["state"] == "complete")
        assert status["frames"] == status["expected"] == 4096
        assert Path(status["recording"]).parent == tmp_path
        eventually(lambda: page.evaluate(PAINTED) >= 1)
        eventually(lambda: page.title() == f"✓ {status['series']} · ptylive")
        assert page.evaluate("window.told") == [f"scan {status['series']} is complete"]
        expect(now).to_have_text("Look at a pattern")
        box = page.locator("#canvas-map-1").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(now).to_have_text("Change the defocus")
        page.get_by_role("button", name="change defocus").click()
        field = page.locator(".calibration input.field")
        field.fill("10 nm")
        field.press("Enter")
        expect(now).to_have_text("Refine")
        page.get_by_role("button", name="close the four steps").click()
        expect(page.locator("#guide")).to_be_hidden()


@pytest.mark.slow
def test_an_acquisition_that_is_killed_is_said_until_it_is_restarted(tmp_path: Path, watched: Watched) -> None:
    """The banner says what was saved; after the restart the page goes on."""
    with real_server(tmp_path, "--dashboard", "127.0.0.1:0") as one:
        url = one.status()["dashboard"]
        eventually(lambda: answers(url))
        page = watched.open(url)
        rate = ReplaySettings(to=one.data, control=one.control, rate=200.0)
        sending = threading.Thread(target=replay, args=(bundled(SCAN), rate))
        sending.start()
        one.wait_for(lambda s: s["state"] == "scanning" and s["frames"] > 500)
        expect(page.locator("[data-text=state]")).to_have_text("SCANNING")
        (acquire,) = (
            child
            for child in psutil.Process(one.process.pid).children()
            if any("acquire" in word for word in child.cmdline())
        )
        banner = page.locator(".banner")
        acquire.kill()
        banner.wait_for(state="visible")
        text = banner.inner_text()
        assert "server lost at" in text
        assert "of 4\u2009096 frames of" in text
        assert "are on disk" in text
        assert f"ptylive serve --record {tmp_path}" in text
        expect(banner).to_be_hidden()
        sending.join()
        status = one.wait_for(lambda s: s["state"] == "complete")
        assert status["frames"] == 4096


@pytest.mark.slow
def test_a_click_shows_the_pattern_of_a_point_while_the_scan_runs(running: Server, watched: Watched) -> None:
    page = watched.open(running.status()["dashboard"])
    with open_source(bundled(SCAN)) as source:
        (first,) = source.frames(np.array([2 * 64 + 32]))
    sending = threading.Thread(target=replay, args=(bundled(SCAN), ReplaySettings(to=running.data, rate=150.0)))
    sending.start()
    try:
        running.wait_for(lambda s: s["state"] == "scanning" and s["frames"] > 8 * 64)
        eventually(lambda: page.evaluate(PAINTED) >= 1)
        box = page.locator("#canvas-map-0").bounding_box()
        assert box is not None
        side = min(box["width"], box["height"])
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 + side * (2.0 / 64 - 0.5) + 2)
        where = page.locator("[data-text=pattern_where]")
        expect(where).to_contain_text("1 frame,")
        status = running.status()
        row, column = (int(word.split()[-1]) for word in where.inner_text().split(":")[0].split(","))
        found = running.call("pattern", point=[2, 32])
        assert status["state"] == "scanning", "the recording is not there yet"
        assert (row <= 3, abs(column - 32) <= 1) == (True, True)
        assert np.array_equal(array_from_plain(found["pattern"]), first)
    finally:
        sending.join()
    running.wait_for_results()
    assert watched.complaints == []
