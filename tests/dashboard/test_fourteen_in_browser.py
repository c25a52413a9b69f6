"""The page's fourteen capabilities at four widths, in dark and light: each is present, visible and legible.

What each of them does is tested in the other files; docs/dashboard.md has the table.
"""

from pathlib import Path

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrants, rows_covered
from fake_server import FakeServer, map_payload, state_payload
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.schema.advice.cannot_tell import cannot_tell_words
from ptylive.server.wire.messages import array_to_plain

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SIZES = [(1024, 768), (1280, 800), (1920, 1080), (2560, 1440)]
LEAST_CONTRAST = 4.5
CROSS = np.array([0x4C, 0xFF, 0x9D])
CALIBRATION = {
    "energy_eV": {"value": 80e3, "origin": "given"},
    "C10": {"value": -300.0, "origin": "given"},
    "rotation_deg": {"value": 0.0, "origin": "default"},
    "disc_radius_px": {"value": 15.0, "origin": "estimated", "uncertainty": 0.1},
}
RUN = {"state": "done", "run": "run1", "epoch": 2, "loss": 1.0}


def small(value: int) -> dict[str, object]:
    return array_to_plain(np.full((8, 8), value, np.uint8))


@pytest.fixture(params=[f"{width}-{theme}" for width, _ in SIZES for theme in ("dark", "light")])
def page(
    request: pytest.FixtureRequest, server: FakeServer, dashboard: RunningDashboard, watched: Watched, tmp_path: Path
) -> Page:
    """A scan that is complete, with doubts, a refinement that had not converged, and a library."""
    width, _, theme = request.param.partition("-")
    server.publish("maps", rows_covered(SIDE))
    server.publish("maps", map_payload("obf", quadrants(), deviation=0.007))
    server.maps_of(adf=quadrants())
    phase = np.zeros((192, 192), np.float32)
    phase[:, 96:] = 1.0
    given = {"energy_eV": "typed", "C10": "sent"}
    more = {"calibration": CALIBRATION, "given": given, "contradicted": {"energy_eV": 300e3}, "refinement": RUN}
    server.publish("state", state_payload(state="complete", **more))
    told = {"uid": "scan-1", "run": "run1", "state": "done", "losses": [2.0, 1.0], "phases": ["sweep", "lbfgs"]}
    picture = {**array_to_plain(phase), "sampling_A": [0.25, 0.25]}
    server.publish("refinement", {**told, "falling": True, "converged": False, "object": picture})
    server.replies["estimates"] = {"estimates": {"C10": {"value": -146.0, "uncertainty": 11.0, "agrees": False}}}
    rows = {"run1": {"epochs": 2, "slices": 3, "thickness_A": 20.0, "modes": 2, "loss": 1.0, "state": "done"}}
    server.replies["runs"] = {"runs": rows, "pictures": []}
    server.replies["check"] = {"checks": [{"name": "overlap", "state": "ok", "text": "82 % of the probe"}]}
    pattern = np.full((32, 32), 100.0, np.float32)
    server.replies["pattern"] = {"pattern": array_to_plain(pattern), "frames": 1}
    scan = {"recording": "a.h5", "series": "grain", "time": 1.79e9, "frames": 64, "lost": 0, "shape": [8, 8]}
    scan |= {"thumbnail": {**small(128), "map": "obf"}, "object": {**small(255), "run": "run1"}, "runs": rows}
    server.replies["history"] = {"scans": [scan], "count": 1, "total": 1}
    server.replies["files"] = {"folder": "/data", "count": 1, "files": [{"name": "x.mib", "bytes": 1e6, "time": 0}]}
    server.replies["metadata"] = {"recording": "a.h5", "entries": [{"name": "energy_eV", "value": "8e4"}]}
    exported = tmp_path / "0142_obf.png"
    exported.write_bytes(b"png")
    server.replies["export"] = {"files": [str(exported)]}
    watched.page.set_viewport_size({"width": int(width), "height": dict(SIZES)[int(width)]})
    page = watched.open(dashboard.url)
    if theme == "light":
        page.get_by_role("button", name="light", exact=True).click()
    expect(page.locator("body")).to_have_attribute("data-theme", theme)
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    return page


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance (WCAG) of sRGB colours (…, 3), 0 to 255."""
    linear = np.where(colours <= 10.3, colours / 3294.6, ((colours / 255 + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


def legible(page: Page, selector: str, words: str) -> None:
    """Check that an element shows some words, lies inside the page, and has enough contrast with its background."""
    element = page.locator(selector).first
    expect(element).to_contain_text(words)
    expect(element).to_be_visible()

    def looked_at() -> bool:
        try:
            element.scroll_into_view_if_needed()
            box, lights = element.bounding_box(), luminance(pixels(page, f"{selector} >> nth=0"))
        except PlaywrightError:  # lists are redrawn
            return False
        if box is None:
            return False
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.evaluate("innerWidth") + 1, (selector, "sticks out")
        ground, bright, dark = float(np.median(lights)), float(lights.max()), float(lights.min())
        return max((bright + 0.05) / (ground + 0.05), (ground + 0.05) / (dark + 0.05)) >= LEAST_CONTRAST

    eventually(looked_at)


def view(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()


def test_values_maps_patterns_and_words(server: FakeServer, page: Page, watched: Watched) -> None:
    legible(page, "[data-text=cal_energy_eV_origin]", "typed")  # 1
    legible(page, "[data-text=cal_C10_origin]", "sent")
    legible(page, "[data-text=cal_rotation_deg_origin]", "assumed")
    legible(page, "[data-beside=energy_eV] span", "typed 80 kV, sent 300 kV")
    legible(page, "[data-act=reset]", "as sent")
    legible(page, "[data-beside=C10] span", "data say 146 ± 11 Å underfocus")  # 2
    legible(page, "[data-beside=C10] button", "use")
    legible(page, "[data-text=map_0_units]", "rad ± 0.0070")  # 3
    assert "phase" in (page.locator("[data-panel='0'] .map-choice").get_attribute("title") or "")
    assert np.ptp(pixels(page, "#canvas-map-3").reshape(-1, 3), axis=0).min() > 200
    page.locator("#canvas-map-3").scroll_into_view_if_needed()
    box = page.locator("#canvas-map-3").bounding_box()  # 7
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for panel in (0, 3):
        cross = f"#canvas-map-{panel}"
        eventually(lambda cross=cross: bool((np.abs(pixels(page, cross) - CROSS).max(-1) < 12).sum() > 20))
    legible(page, "[data-text=pattern_where]", "1 frame")
    page.locator("[data-panel='0'] [data-act=export]").click()  # 9
    legible(page, "#downloads a", "png")
    page.get_by_role("button", name="help").click()  # 10
    legible(page, ".help dt", "Session")
    expect(page.locator(".help")).to_contain_text("where a value comes from")
    page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "12"
    assert page.title() == "✓ 0142 · ptylive", "14"
    legible(page, "[data-act=notify]", "notify")
    assert watched.complaints == []


def test_refinement_library_files_and_the_end(server: FakeServer, page: Page, watched: Watched) -> None:
    view(page, "Refine")
    legible(page, ".loss .more", "+20 epochs")  # 4
    legible(page, "#checks li", "82 % of the probe")
    legible(page, ".decide-start", "find thickness")
    legible(page, "#runs li", "run1")  # 5
    legible(page, "#runs li", "3 × 6.67 Å, 2 modes")
    eventually(lambda: np.ptp(pixels(page, "#canvas-object").reshape(-1, 3), axis=0).min() > 150)  # 6
    legible(page, ".object .entire", "whole")
    view(page, "Library")
    legible(page, ".card .head b", "grain")  # 8
    expect(page.locator(".card img")).to_have_count(2)
    page.get_by_role("button", name="what was sent with grain").click()
    legible(page, "#metadata td", "8e4")
    page.keyboard.press("Escape")
    page.locator("summary", has_text="open a file").click()  # 11
    legible(page, "#files li span", "x.mib")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "12"
    assert watched.complaints == []
    server.close()
    legible(page, ".banner", "server lost at")  # 13


def test_what_a_refinement_could_not_tell_is_a_sentence_without_a_click(server: FakeServer, page: Page) -> None:
    why = "no value explains the bright field better than chance, and 0 is assumed"
    message = f"lsq; {cannot_tell_words('the defocus', why, 'defocus_A')}"
    doubted = {"calibration": CALIBRATION, "refinement": {**RUN, "message": message}}
    server.publish("state", state_payload(state="complete", **doubted))
    legible(page, "[data-text=doubt]", "cannot tell the defocus: no value explains the bright field better than chance")
    expect(page.locator(".doubt").get_by_role("button", name="use")).to_be_hidden()
    legible(page, "[data-text=map_1_badge]", "calibration in doubt")
