"""Metadata sent with a scan, in the library: read, searched, copied; and the refined phase next to the map."""

import io

import numpy as np
import pytest
from browser_tools import Watched, eventually
from fake_server import FakeServer
from PIL import Image
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.server.wire.messages import array_to_plain

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SIZES = [(390, 844, "dark"), (1024, 768, "dark"), (1280, 800, "light"), (1920, 1080, "dark"), (2560, 1440, "light")]
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


def small(data: np.ndarray) -> dict[str, object]:
    return array_to_plain(data.astype(np.uint8))


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    """Two scans, the first of which is refined: dark on the left, bright on the right."""
    halves = np.zeros((8, 8))
    halves[:, 4:] = 255
    common = {"shape": [64, 64], "frames": 4096, "lost": 0, "calibration": {}, "note": "", "sample": "", "time": 1.79e9}
    common |= {"thumbnail": {**small(np.full((8, 8), 128)), "map": "obf"}}
    first = {
        **common,
        "recording": "a.h5",
        "series": "a",
        "runs": {"run1": {}},
        "object": {**small(halves), "run": "run1"},
    }
    second = {**common, "recording": "b.h5", "series": "b", "runs": {}, "object": None}
    server.replies["history"] = {"scans": [first, second], "count": 2, "total": 2}
    entries = [{"name": f"metadata/value_{i:03}", "value": str(i)} for i in range(300)]
    entries += [{"name": "metadata/sent/header", "value": "HDR,\nDwell time: 100 µs\n" + "x" * 900}]
    entries += [{"name": HOSTILE, "value": HOSTILE}]
    server.replies["metadata"] = {"recording": "a.h5", "entries": entries, "left_out": 3}
    page = watched.open(dashboard.url)
    page.get_by_role("button", name="Library", exact=True).click()
    expect(page.locator(".card")).to_have_count(2)
    return page


@pytest.mark.parametrize(("width", "height", "theme"), SIZES)
def test_what_was_sent_is_read_searched_and_copied(
    server: FakeServer, page: Page, watched: Watched, width: int, height: int, theme: str
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.set_viewport_size({"width": width, "height": height})
    if theme == "light":
        page.get_by_role("button", name="light", exact=True).click()
    opener, box = page.get_by_role("button", name="what was sent with a"), page.locator("#metadata")
    opener.click()
    expect(box).to_be_visible()
    assert server.received("metadata")[-1]["recording"] == "a.h5"
    expect(page.locator("#metadata-of")).to_have_text("a.h5")
    expect(page.locator("#metadata-said")).to_have_text("302 values; 3 more are not listed: see the file")
    found = box.bounding_box()
    assert found is not None
    assert found["x"] >= 0
    assert found["x"] + found["width"] <= width
    assert found["y"] + found["height"] <= height
    assert box.evaluate("e => e.scrollWidth - e.clientWidth") == 0, "long values are wrapped"
    match = page.get_by_label("words of a name or a value")
    expect(match).to_be_focused()
    match.fill("dwell header")
    rows = box.locator("tr")
    expect(rows).to_have_count(1)
    expect(rows.first.locator("td")).to_contain_text("Dwell time: 100 µs")
    expect(page.locator("#metadata-said")).to_contain_text("1 of 302 values")
    box.get_by_role("button", name="copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("metadata/sent/header = HDR,\nDwell time: 100 µs")
    match.fill("onerror")
    expect(rows.first.locator("td")).to_have_text(HOSTILE)
    assert page.title() != "owned"
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(opener).to_be_focused()
    assert watched.complaints == []


def test_the_focus_stays_on_its_button_when_the_cards_are_drawn_anew(page: Page) -> None:
    button = page.get_by_role("button", name="what was sent with b")
    button.focus()
    page.evaluate("ptylive.painters.history([{recording: 'b.h5', title: 'b', lines: ['drawn anew']}])")
    expect(page.locator(".card")).to_contain_text("drawn anew")
    expect(button).to_be_focused()


def test_a_refusal_is_one_line(server: FakeServer, page: Page) -> None:
    server.replies["metadata"] = {"ok": False, "error": "b.h5: file signature not found", "hint": "is it whole?"}
    page.get_by_role("button", name="what was sent with b").click()
    expect(page.locator("[data-text=sentence]")).to_contain_text("b.h5: file signature not found")
    expect(page.locator("#metadata")).to_be_hidden()


@pytest.mark.parametrize(("width", "height", "theme"), SIZES)
def test_the_refined_phase_stands_beside_the_map(
    page: Page, watched: Watched, width: int, height: int, theme: str
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    if theme == "light":
        page.get_by_role("button", name="light", exact=True).click()
    first, second = page.locator(".card").first, page.locator(".card").nth(1)
    expect(first.locator("img")).to_have_count(2)
    expect(second.locator("img")).to_have_count(1)
    map_box, phase = first.locator("img").first.bounding_box(), first.get_by_alt_text("refined phase of a")
    phase_box = phase.bounding_box()
    assert map_box is not None
    assert phase_box is not None
    assert map_box["x"] + map_box["width"] <= phase_box["x"]
    assert abs(map_box["width"] - phase_box["width"]) < 2

    def shades() -> np.ndarray:
        shot = np.asarray(Image.open(io.BytesIO(phase.screenshot())).convert("RGB"), int).sum(axis=-1)
        return np.array([shot[shot.shape[0] // 2, shot.shape[1] * part // 4] for part in (1, 3)])

    eventually(lambda: bool(shades()[0] < 60 and shades()[1] > 500))
    assert watched.complaints == []


@pytest.mark.parametrize("width", [1280, 1920, 2560])
def test_scans_are_listed_as_cards_or_lines(page: Page, watched: Watched, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    button, cards = page.get_by_role("button", name="list", exact=True), page.locator(".card")

    def heights() -> list[float]:
        return [box["height"] if (box := one.bounding_box()) else 0.0 for one in cards.all()]

    assert min(heights()) > 150
    button.click()
    eventually(lambda: max(heights()) < 80)
    for one in cards.all():
        assert one.evaluate("e => e.scrollWidth - e.clientWidth") <= 1, "nothing sticks out"
    starts = {round(box["x"]) for one in page.locator(".card .head").all() if (box := one.bounding_box())}
    assert len(starts) == 1
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    page.get_by_role("button", name="Library", exact=True).click()
    expect(button).to_have_attribute("aria-pressed", "true")
    eventually(lambda: bool(heights()) and max(heights()) < 80)
    button.click()
    eventually(lambda: min(heights()) > 150)
    assert watched.complaints == []
