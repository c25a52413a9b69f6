"""The screen after a click on a map, on its colour bar, and with a refined object."""

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrants, rows_covered
from fake_server import FakeServer, state_payload
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.server.wire.messages import array_to_plain

CROSS = np.array([0x4C, 0xFF, 0x9D])


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(adf=quadrants(), obf=np.linspace(0, 1, SIDE**2, dtype=np.float32).reshape(SIDE, SIDE))
    server.publish("state", state_payload(state="complete"))
    page = watched.open(dashboard.url)
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    return page


def crosses(page: Page, panel: int) -> int:
    return int((np.abs(pixels(page, f"#canvas-map-{panel}") - CROSS).max(axis=-1) < 12).sum())


@pytest.mark.slow
def test_a_click_marks_the_point_everywhere_and_shows_its_pattern(server: FakeServer, page: Page) -> None:
    pattern = np.zeros((32, 32), np.float32)
    pattern[8:24, 8:24] = 100.0
    server.replies["pattern"] = {"pattern": array_to_plain(pattern), "frames": 1}
    box = page.locator("#canvas-map-0").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    eventually(lambda: len(server.received("pattern")) == 1)
    row, column = server.received("pattern")[0]["point"]
    assert abs(row - SIDE / 2) <= 1
    assert abs(column - SIDE / 2) <= 1
    expect(page.locator("[data-text=pattern_where]")).to_have_text(
        f"row {row}, column {column}: 1 frame, 25\u2009600 counts"
    )
    eventually(lambda: all(crosses(page, panel) > 20 for panel in (0, 3)))
    shot = pixels(page, "#canvas-diffraction")
    assert shot[shot.shape[0] // 2, shot.shape[1] // 2].sum() > 600, "the bright square is in the middle"
    page.keyboard.press("Alt+ArrowDown")
    eventually(lambda: server.received("pattern")[-1]["point"] == [row + 1, column])
    page.keyboard.press("Alt+Shift+ArrowRight")
    eventually(lambda: server.received("pattern")[-1].get("to") == [row + 1, column + 1])


@pytest.mark.slow
def test_handles_and_gamma_change_what_is_on_the_screen(page: Page, watched: Watched) -> None:
    opener, box = page.get_by_role("button", name="contrast of panel 4"), page.locator("#contrast")

    def below_left() -> int:
        """The quadrant with the value 0.5, with nothing drawn over it."""
        page.keyboard.press("Escape")
        expect(box).to_be_hidden()
        shot = pixels(page, "#canvas-map-3")[:, :, 0]
        quarter = min(shot.shape) // 4
        return int(shot[shot.shape[0] // 2 + quarter, shot.shape[1] // 2 - quarter])

    assert 110 < below_left() < 145
    opener.click()
    expect(box).to_be_visible()
    page.locator("#contrast-high").fill("500")
    expect(page.locator("#contrast-limits")).to_contain_text("locked")
    eventually(lambda: below_left() > 245)
    opener.click()
    box.get_by_role("button", name="auto").click()
    eventually(lambda: 110 < below_left() < 145)
    opener.click()
    page.locator("#contrast-gamma").fill("-50")
    eventually(lambda: below_left() > 160)
    assert watched.complaints == []


@pytest.mark.slow
def test_the_refined_object_stands_among_the_maps(server: FakeServer, page: Page) -> None:
    """Bright in the upper half, with a margin around the scanned field; 64 x 64 points, 0.5 A apart."""
    phase = np.zeros((192, 192), np.float32)
    phase[:96] = 1.0
    picture = {**array_to_plain(phase), "sampling_A": [0.25, 0.25]}
    calibration = {"rotation_deg": {"value": 90.0, "origin": "given"}}
    server.publish("state", state_payload(state="complete", calibration=calibration))
    told = {"uid": "scan-1", "run": "run1", "state": "done", "losses": [1.0], "object": picture}
    server.publish("refinement", told)
    chooser = page.locator("[data-panel='1'] select").first
    eventually(lambda: "refined phase" in chooser.locator("option").all_inner_texts())
    chooser.select_option("refined phase")

    def halves() -> np.ndarray:
        shot = pixels(page, "#canvas-map-1").sum(axis=-1)
        quarter = min(shot.shape) // 4
        middle = shot.shape[0] // 2, shot.shape[1] // 2
        return np.array([[shot[middle[0] + r * quarter, middle[1] + c * quarter] for c in (-1, 1)] for r in (-1, 1)])

    eventually(lambda: np.ptp(halves()) > 300)
    found = halves() > 350
    assert found[0, 0] == found[1, 0] != found[0, 1] == found[1, 1], "turned by the rotation of the scan"
    server.publish("state", state_payload(state="complete", uid="scan-2"))
    eventually(lambda: "refined phase" not in page.locator("[data-panel='0'] select").first.inner_text())
