"""Phones to walls: everything fits, can be hit with a finger, has a name for screen readers, and appears quickly."""

import shutil
import subprocess
import tarfile

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrants, rows_covered
from fake_server import FakeServer, state_payload
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

AXE = "axe-core@4.10.3"
MOST_BYTES = 1.5e6
VIEWS = ("Session", "Refine", "Tune", "Library")
NARROW = ((390, 844), (768, 1024), (960, 540), (1024, 768))
"""A phone, a tablet, a full HD screen at 200 %, an old laptop."""
WIDE = ((1280, 800), (1920, 1080), (2560, 1440))
SMALL_TARGETS = """() => [...document.querySelectorAll("button, select, input[type=checkbox]")]
  .filter(e => e.offsetParent && getComputedStyle(e).visibility === "visible")
  .map(e => [e.title || e.textContent || e.className, e.getBoundingClientRect()])
  .filter(([, box]) => box.height && (box.height < 23.5 || box.width < 23.5)).map(([name]) => name)"""
SIDEWAYS = "() => document.documentElement.scrollWidth > innerWidth"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if packed.returncode:
        pytest.skip(f"npm gives no {AXE}")
    with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    """A page of a scan with a refinement, a library, and a warning."""
    scan = {"recording": "a.h5", "series": "grain", "time": 1.8e9, "frames": 64, "lost": 3, "shape": [8, 8]}
    server.replies["history"] = {"scans": [scan], "count": 1}
    server.replies["runs"] = {"runs": {"run1": {"epochs": 3, "loss": 1.5, "state": "done"}}, "pictures": []}
    entries = [{"name": f"metadata/value_{i}", "value": "x" * 90} for i in range(60)]
    server.replies["metadata"] = {"recording": "a.h5", "entries": entries, "left_out": 0}
    server.replies["check"] = {"checks": [{"name": "overlap", "state": "warn", "text": "35 %"}]}
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(adf=quadrants())
    server.publish("state", state_payload(series="0142_a_grain_with_a_long_name", lost=3))
    return watched.open(dashboard.url)


def show(page: Page, view: str) -> None:
    page.get_by_role("button", name=view, exact=True).first.click()
    page.wait_for_timeout(400)  # Bokeh redoes its layout


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), NARROW)
def test_one_column_that_scrolls_and_shows_every_map(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    for view in VIEWS:
        show(page, view)
        assert not page.evaluate(SIDEWAYS), view
    show(page, "Session")
    panel = page.locator("#canvas-map-3")
    panel.scroll_into_view_if_needed()
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    box = panel.bounding_box()
    assert box is not None and min(box["width"], box["height"]) > 0.3 * min(width, 800)
    shot = pixels(page, "#canvas-map-3")
    assert np.ptp(shot.reshape(-1, 3), axis=0).min() > 200, "white and black quadrants are on the screen"
    column = page.locator("[data-of=session] aside").bounding_box()
    maps = page.locator(".maps").bounding_box()
    assert column is not None and maps is not None and column["y"] >= maps["y"] + maps["height"], "below the maps"
    expect(page.locator(".series")).to_contain_text("0142")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), NARROW[:1] + WIDE)
def test_targets_are_large_enough_for_a_finger(page: Page, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    for view in VIEWS:
        show(page, view)
        assert page.evaluate(SMALL_TARGETS) == [], (view, width)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_no_serious_fault_for_axe(page: Page, axe: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate(axe)
    for theme in ("dark", "light"):
        for view in VIEWS:
            show(page, view)
            page.wait_for_timeout(600)  # fields that appear later
            assert serious_faults(page) == [], (theme, view)
        page.keyboard.press("d")


def serious_faults(page: Page) -> list[tuple[str, list[object]]]:
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    return [(one["id"], [node["target"] for node in one["nodes"]]) for one in serious]


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_no_serious_fault_in_what_opens_above_the_page(page: Page, axe: str, width: int) -> None:
    """Help, contrast, what was sent with a scan, and the line of each scan."""
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate(axe)
    for theme in ("dark", "light"):
        for view, opener, opened in (
            ("Session", "[data-act=help]", ".help"),
            ("Session", "[data-panel='3'] .contrast-open", "#contrast"),
            ("Library", "#cards [data-act=metadata]", "#metadata"),
            ("Library", "[data-act=cards]", "#cards"),
        ):
            show(page, view)
            page.locator(opener).first.click()
            expect(page.locator(opened)).to_be_visible()
            page.wait_for_timeout(600)
            assert serious_faults(page) == [], (theme, opened)
            page.keyboard.press("Escape")
        page.keyboard.press("d")


@pytest.mark.slow
def test_what_cannot_be_done_cannot_be_pressed(page: Page) -> None:
    for view, name in (("Refine", "resume"), ("Tune", "Use the best values"), ("Library", "retry failed")):
        show(page, view)
        expect(page.get_by_role("button", name=name)).to_be_disabled()


@pytest.mark.slow
def test_the_page_is_light(dashboard: RunningDashboard, watched: Watched) -> None:
    sizes: list[int] = []
    watched.page.on("requestfinished", lambda request: sizes.append(request.sizes()["responseBodySize"]))
    watched.open(dashboard.url)
    assert 1e5 < sum(sizes) < MOST_BYTES


@pytest.mark.slow
def test_layout_and_theme_are_kept_by_the_browser(page: Page) -> None:
    page.set_viewport_size({"width": 1920, "height": 1080})

    def widths() -> list[float]:
        boxes = [page.locator(f"#canvas-map-{i}").bounding_box() for i in range(4)]
        return [0.0 if box is None else box["width"] for box in boxes]

    assert np.ptp(widths()) < 4
    change = page.get_by_role("button", name="layout of the maps")
    for _ in ("six", "pair", "large"):
        change.click()
    eventually(lambda: widths()[0] > 1.8 * widths()[1] > 100)
    page.get_by_role("button", name="light", exact=True).click()
    expect(page.locator("body")).to_have_attribute("data-theme", "light")
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    expect(page.locator("body")).to_have_attribute("data-theme", "light")
    assert widths()[0] > 1.8 * widths()[1] > 100
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    change.click()
    eventually(lambda: widths()[1:] == [0.0, 0.0, 0.0] and widths()[0] > 1000)
    change.click()
    eventually(lambda: np.ptp(widths()) < 4)


@pytest.mark.slow
def test_a_view_begins_at_its_top_and_outlives_a_reload(page: Page) -> None:
    """Regressions: Refine opened half-way down because Session was scrolled; a reloaded page was always at Session."""
    page.set_viewport_size({"width": 1024, "height": 768})
    page.evaluate("scrollTo(0, 300)")
    show(page, "Refine")
    assert page.evaluate("scrollY") == 0
    show(page, "Session")
    assert page.evaluate("scrollY") == 300, "where it was left"
    show(page, "Refine")
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    expect(page.locator("body")).to_have_attribute("data-view", "refine")
    page.evaluate("sessionStorage.clear()")  # as in another tab
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    expect(page.locator("body")).to_have_attribute("data-view", "session")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1024, 768), *WIDE])
def test_six_panels_and_the_object_beside_a_map(server: FakeServer, page: Page, width: int, height: int) -> None:
    """Three side by side if there is room, all of one size, with pictures; kept over a reload."""
    page.set_viewport_size({"width": width, "height": height})
    server.maps_of(bf=quadrants())
    change = page.get_by_role("button", name="layout of the maps")

    def boxes() -> list[tuple[float, float, float]]:
        found = [page.locator(f"#canvas-map-{i}").bounding_box() for i in range(6)]
        return [(box["x"], box["y"], box["width"]) for box in found if box is not None]

    assert len(boxes()) == 4
    change.click()
    eventually(lambda: len(boxes()) == 6)
    eventually(lambda: pixels(page, "#canvas-map-5").max() > 240)
    across = len({round(x) for x, _, _ in boxes()})
    assert across == (3 if width > 1100 else 2)
    assert np.ptp([w for _, _, w in boxes()]) < 4
    assert page.evaluate(SMALL_TARGETS) == [] and not page.evaluate(SIDEWAYS)
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    eventually(lambda: len(boxes()) == 6)
    eventually(lambda: pixels(page, "#canvas-map-5").max() > 240)
    change.click()
    eventually(lambda: len(boxes()) == 2)
    if width > 1100:
        (left, top, _), (right, beside, _) = boxes()
        assert beside == top and right > left
