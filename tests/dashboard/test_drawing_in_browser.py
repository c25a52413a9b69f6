"""How maps and objects are drawn: pixel by pixel or smoothly, and areas outside the scan."""

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, rows_covered
from fake_server import FakeServer, state_payload
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.server.wire.messages import array_to_plain

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SIZES = [(1024, 768, "dark"), (1280, 800, "light"), (1920, 1080, "dark"), (2560, 1440, "light")]
CALIBRATION = {"rotation_deg": {"value": 30.0, "origin": "given"}}


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    """Maps of 8 x 8 pixels; an object of 48 Å, bright on the right, of which a field of 32 Å was scanned at 30°."""
    server.publish("maps", rows_covered(SIDE))
    coarse = np.arange(64, dtype=np.float32).reshape(8, 8)
    server.maps_of(adf=coarse, obf=coarse.T)
    phase = np.zeros((192, 192), np.float32)
    phase[:, 96:] = 1.0
    run = {"state": "done", "run": "run1", "epoch": 2, "loss": 1.0}
    server.publish("state", state_payload(state="complete", refinement=run, calibration=CALIBRATION))
    told = {"uid": "scan-1", "run": "run1", "state": "done", "losses": [2.0, 1.0], "phases": ["sweep", "lbfgs"]}
    server.publish("refinement", {**told, "object": {**array_to_plain(phase), "sampling_A": [0.25, 0.25]}})
    page = watched.open(dashboard.url)
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    return page


def dress(page: Page, width: int, height: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": height})
    if theme == "light":
        page.get_by_role("button", name="light", exact=True).click()
        expect(page.locator("body")).to_have_attribute("data-theme", "light")


def shades(page: Page, selector: str) -> int:
    """Number of grey levels in the middle of a panel."""
    shot = pixels(page, selector)
    rows, cols = (slice(n // 2 - min(shot.shape[:2]) // 4, n // 2 + min(shot.shape[:2]) // 4) for n in shot.shape[:2])
    return len(np.unique(shot[rows, cols].sum(axis=-1)))


def under_the_cursor(page: Page) -> str:
    page.locator("#canvas-map-3").scroll_into_view_if_needed()
    box = page.locator("#canvas-map-3").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.move(box["x"] + 0.53 * box["width"], box["y"] + 0.53 * box["height"])
    expect(page.locator("#cursor")).to_contain_text("adf")
    return str(page.locator("#cursor").inner_text())


@pytest.mark.parametrize(("width", "height", "theme"), SIZES)
def test_maps_and_objects_are_smooth_or_pixels(
    page: Page, watched: Watched, width: int, height: int, theme: str
) -> None:
    dress(page, width, height, theme)
    button = page.get_by_role("button", name="smooth drawing")
    expect(button).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "false")
    eventually(lambda: shades(page, "#canvas-map-3") <= 40)
    said = under_the_cursor(page)
    button.click()
    eventually(lambda: shades(page, "#canvas-map-3") > 80)
    eventually(lambda: shades(page, "#canvas-map-1") > 80)
    assert under_the_cursor(page) == said, "the value is that of the data"
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    expect(button).to_have_attribute("aria-pressed", "true")
    eventually(lambda: shades(page, "#canvas-map-3") > 80)
    page.keyboard.press("m")
    eventually(lambda: shades(page, "#canvas-map-3") <= 40)
    page.get_by_role("button", name="Refine", exact=True).click()
    eventually(lambda: 1 < shades(page, "#canvas-object") < 6)
    page.keyboard.press("m")
    eventually(lambda: shades(page, "#canvas-object") >= 6)
    assert watched.complaints == []


@pytest.mark.parametrize(("width", "height", "theme"), SIZES)
def test_what_the_scan_has_not_seen_is_dimmed(
    page: Page, watched: Watched, width: int, height: int, theme: str
) -> None:
    """Fractions of the object's height, from its middle; bright on the right."""
    dress(page, width, height, theme)
    page.get_by_role("button", name="Refine", exact=True).click()
    whole = page.get_by_role("button", name="the whole object")

    def at(right: float, down: float, height_A: float) -> int:
        shot = pixels(page, "#canvas-object").sum(axis=-1)
        scale = min(shot.shape) / height_A
        return int(shot[shot.shape[0] // 2 + round(down * scale), shot.shape[1] // 2 + round(right * scale)])

    crop_A = 32 * (np.cos(np.pi / 6) + np.sin(np.pi / 6))
    # a corner outside the rotated field
    eventually(lambda: at(8, 8, crop_A) > 600 and at(20, 20, crop_A) < 0.6 * at(8, 8, crop_A))
    whole.click()
    expect(page.locator("body")).to_have_attribute("data-entire", "on")
    eventually(lambda: at(23, 23, 48) < 0.6 * at(8, 8, 48))
    assert at(8, 8, 48) > 600
    assert 0.3 * at(8, 8, 48) < at(23, 23, 48), "dimmed, not hidden"
    assert at(23, -10, 48) < 0.6 * at(8, -10, 48)
    whole.click()
    expect(page.locator("body")).to_have_attribute("data-entire", "off")
    eventually(lambda: at(8, 8, crop_A) > 600 and at(20, 20, crop_A) < 400)
    assert watched.complaints == []
