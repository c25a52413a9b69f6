"""Dialogs that send a request to the server: alignment of images, virtual detectors as text."""

import io

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, quadrants, rows_covered
from fake_server import FakeServer, state_payload
from PIL import Image
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.server.wire.messages import array_to_plain

pytestmark = pytest.mark.browser
SIZES = ((1024, 768), (1280, 800))


def png() -> np.ndarray:
    """A picture as wide as that of shifts and rings."""
    out = io.BytesIO()
    Image.new("RGB", (760, 420), (200, 60, 30)).save(out, "png")
    return np.frombuffer(out.getvalue(), np.uint8)


ALIGNED = {
    "bins": 93,
    "correlation": 0.71,
    "left_A": 0.42,
    "rotation_deg": -14.9,
    "rotation_error_deg": 0.2,
    "aberrations": {
        name: {"value_A": -404.6, "error_A": 3.2, "limit_A": 98.4} for name in ("C10", "C12a", "C12b", "C21a", "C21b")
    },
    "values": {"C10": -404.6, "rotation_deg": -14.9},
    "png": array_to_plain(png()),
}


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(obf=quadrants(), adf=quadrants())
    server.publish("state", state_payload(state="complete"))
    return watched.open(dashboard.url)


def inside(page: Page, dialog: str, width: int) -> None:
    box = page.locator(dialog).bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
    over = page.locator(dialog).evaluate("e => e.scrollWidth - e.clientWidth")
    assert over <= 0, "nothing sticks out to the side"


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_images_are_aligned_with_the_knobs_that_are_set(
    server: FakeServer, page: Page, watched: Watched, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    server.replies["align"] = ALIGNED
    page.get_by_role("button", name="align bright-field images").click()
    dialog = page.get_by_role("dialog", name="shifts of bright-field images")
    expect(dialog).to_be_visible()
    dialog.get_by_label("aberrations").select_option("3")
    dialog.get_by_label("bin / px").fill("4")
    dialog.get_by_label("reference").select_option("centre")
    dialog.get_by_role("button", name="align").click()
    expect(dialog.locator("img")).to_be_visible()
    expect(dialog.locator("tr").nth(1)).to_contain_text("−405 Å")
    (asked,) = server.received("align")
    wanted = {"bin_px": 4.0, "order": 3, "rounds": 3, "reference": "centre", "free": False}
    assert {name: asked[name] for name in wanted} == wanted
    inside(page, "#alignment", width)
    dialog.get_by_role("button", name="use these values").click()
    eventually(lambda: bool(server.received("configure")))
    assert server.received("configure")[-1]["values"] == ALIGNED["values"]
    expect(dialog).to_be_hidden()
    assert watched.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_detector_in_words_is_added_and_removed(
    server: FakeServer, page: Page, watched: Watched, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.get_by_role("button", name="detectors in words").click()
    dialog = page.get_by_role("dialog", name="virtual detectors")
    dialog.get_by_label("name").fill("haadf")
    dialog.get_by_label("is", exact=True).fill("lost")
    dialog.get_by_role("button", name="add").click()
    eventually(lambda: bool(server.received("detectors")))
    assert server.received("detectors")[-1]["detectors"] == [{"name": "haadf", "what": "lost"}]
    expect(dialog.locator("li")).to_contain_text("haadflost")
    inside(page, "#written", width)
    head = page.locator(".diffraction h2")
    assert head.evaluate("e => e.scrollWidth - e.clientWidth") <= 0, "the buttons fit above the pattern"
    dialog.get_by_role("button", name="remove haadf").click()
    eventually(lambda: server.received("detectors")[-1]["detectors"] == [])
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert watched.complaints == []
