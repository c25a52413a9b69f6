"""Panels arranged by the viewer: dragged or moved by keys, remembered by the browser, ignored in one-column layouts."""

import json

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrants, rows_covered
from fake_server import FakeServer, state_payload
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDE = ((1280, 800), (1920, 1080), (2560, 1440))
FOCUS = "document.activeElement.getAttribute('aria-label')"


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(obf=quadrants(), tcbf=quadrants(), idpc=quadrants(), adf=quadrants())
    server.publish("state", state_payload(state="complete"))
    page = watched.open(dashboard.url)
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    return page


def box(page: Page, number: int) -> tuple[float, float, float, float]:
    """Left, top, width, height of a panel."""
    found = page.locator(f".maps .panel[data-panel='{number}']").bounding_box()
    return (0.0, 0.0, 0.0, 0.0) if found is None else (found["x"], found["y"], found["width"], found["height"])


def places(page: Page, count: int = 4) -> list[tuple[float, float]]:
    return [box(page, number)[:2] for number in range(count)]


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
    page.mouse.move(*end, steps=4)
    page.mouse.up()


def edge_of(page: Page, number: int) -> tuple[float, float]:
    """A point on a panel's upper edge that is not on a button."""
    found = page.locator(f".maps .panel[data-panel='{number}'] .tools").bounding_box()
    chooser = page.locator(f".maps .panel[data-panel='{number}'] .map-choice").bounding_box()
    assert found is not None and chooser is not None
    return chooser["x"] + chooser["width"] + 3, found["y"] + found["height"] / 2


def reloaded(page: Page) -> None:
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")


@pytest.mark.parametrize(("width", "height"), WIDE)
def test_a_panel_that_is_dragged_onto_another_takes_its_place(
    page: Page, watched: Watched, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    before = places(page)
    x, y, w, h = box(page, 3)
    drag(page, edge_of(page, 0), (x + w / 2, y + h / 2))
    eventually(lambda: places(page) == [before[3], before[1], before[2], before[0]])
    eventually(lambda: pixels(page, "#canvas-map-0").max() > 240)
    drag(page, edge_of(page, 1), (width - 30, 200))
    assert places(page) == [before[3], before[1], before[2], before[0]], "nowhere is no place"
    reloaded(page)
    eventually(lambda: places(page) == [before[3], before[1], before[2], before[0]])
    eventually(lambda: pixels(page, "#canvas-map-0").max() > 240)
    page.keyboard.press("0")
    eventually(lambda: places(page) == before)
    assert watched.complaints == []


def test_keys_do_what_a_drag_does(page: Page, watched: Watched) -> None:
    before = places(page)
    page.keyboard.press("Shift+ArrowRight")
    eventually(lambda: places(page) == [before[1], before[0], *before[2:]])
    page.keyboard.press("Shift+ArrowDown")
    eventually(lambda: places(page) == [before[3], before[0], before[2], before[1]])
    page.keyboard.press("Shift+ArrowDown")
    assert places(page) == [before[3], before[0], before[2], before[1]], "there is none below"
    wide = box(page, 0)
    page.keyboard.press("+")
    eventually(lambda: box(page, 0)[2] > wide[2] + 20 and box(page, 0)[3] > wide[3] + 10)
    page.keyboard.press("-")
    eventually(lambda: abs(box(page, 0)[2] - wide[2]) < 2)
    assert watched.complaints == []


@pytest.mark.parametrize(("width", "height"), WIDE)
def test_strips_between_panels_set_their_shares(page: Page, watched: Watched, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    x, y, w, h = box(page, 0)
    drag(page, (x + w + 4, y + 60), (x + w + 104, y + 60))
    eventually(lambda: abs(box(page, 0)[2] - w - 100) < 3)
    assert abs(box(page, 1)[2] - w + 100) < 3
    drag(page, (x + 60, y + h + 4), (x + 60, y + h - 46))
    eventually(lambda: abs(box(page, 0)[3] - h + 50) < 3)
    drag(page, (x + w + 104, y + 60), (width, y + 60))
    eventually(lambda: 0.14 < box(page, 1)[2] / (2 * w) < 0.17)  # it stays large enough to be seen
    values = page.locator(".view[data-of=session] > aside").bounding_box()
    assert values is not None
    drag(page, (values["x"] - 4, 300), (values["x"] - 84, 300))
    wider = page.locator(".view[data-of=session] > aside").bounding_box()
    assert wider is not None and abs(wider["width"] - values["width"] - 80) < 3
    shares = [box(page, number) for number in range(4)]
    reloaded(page)
    eventually(lambda: np.allclose([box(page, number) for number in range(4)], shares, atol=2))
    page.locator("#aside-strip").dblclick()
    page.locator(".strip.cols[aria-label='width of panels, border 1']").dblclick()
    eventually(lambda: abs(box(page, 0)[2] - box(page, 1)[2]) < 2)
    assert watched.complaints == []


def test_a_strip_with_the_focus_follows_the_arrows(page: Page) -> None:
    strip = page.locator(".strip.rows")
    assert strip.get_attribute("aria-valuenow") == "50"
    strip.focus()
    height = box(page, 0)[3]
    page.keyboard.press("ArrowDown")
    eventually(lambda: abs(box(page, 0)[3] - height - 24) < 3)
    page.keyboard.press("ArrowRight")
    assert abs(box(page, 0)[3] - height - 24) < 3, "it moves up and down only"
    assert int(strip.get_attribute("aria-valuenow") or 0) > 50
    assert page.locator(".maps .panel.focused").get_attribute("data-panel") == "0", "arrows were the strip's"


def test_each_layout_has_shares_of_its_own_and_the_first_panel_is_the_large_one(page: Page) -> None:
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.keyboard.press("Shift+ArrowRight")
    change = page.get_by_role("button", name="layout of the maps")
    for name, strips in (("six", 3), ("pair", 1), ("large", 1), ("one", 0), ("four", 2)):
        change.click()
        expect(page.locator("body")).to_have_attribute("data-layout", name)
        expect(page.locator(".maps .strip")).to_have_count(strips)
        if name == "large":
            eventually(lambda: box(page, 1)[2] > 1.8 * box(page, 0)[2] > 100)
            page.keyboard.press("+")
            page.locator(".strip.cols[aria-label='width of panels, border 1']").focus()
            page.keyboard.press("ArrowLeft")
    eventually(lambda: abs(box(page, 0)[2] - box(page, 1)[2]) < 2)
    kept = json.loads(page.evaluate("localStorage.getItem('ptylive.arranged')"))
    assert kept["order"] == [1, 0, 2, 3, 4, 5]
    assert kept["shares"]["large"]["cols"][0] != 2.2


@pytest.mark.parametrize(
    "kept",
    [
        "nonsense",
        "null",
        '{"order": [0, 0, 2, 3, 4, 5], "shares": 3, "aside": "wide"}',
        '{"order": [1, 0], "shares": {"four": {"cols": [1, -1], "rows": [1, 1]}, "six": null}, "aside": -5}',
        '{"order": [5, 4, 3, 2, 1, 0, 6], "shares": {"four": {"cols": [1], "rows": [1, 1]}}}',
    ],
)
def test_what_is_kept_and_does_not_fit_is_left_alone(page: Page, watched: Watched, kept: str) -> None:
    before = places(page)
    page.evaluate("kept => localStorage.setItem('ptylive.arranged', kept)", kept)
    reloaded(page)
    eventually(lambda: places(page) == before)
    assert watched.complaints == []


def test_one_column_has_no_strips(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.keyboard.press("+")
    page.set_viewport_size({"width": 1024, "height": 768})
    assert page.locator(".strip:visible").count() == 0
    eventually(lambda: abs(box(page, 0)[2] - box(page, 1)[2]) < 4)
    assert not page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
