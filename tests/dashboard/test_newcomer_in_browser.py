"""What a newcomer reads on a small screen: whole values, names of fields, and what an empty box is for."""

import pytest
from browser_tools import Watched, eventually
from fake_server import FakeServer, state_payload
from playwright.sync_api import expect
from running_dashboard import RunningDashboard

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LONG = {
    "rotation_deg": {"value": -120.5, "origin": "estimated", "uncertainty": 0.4},
    "C10": {"value": -135000.0, "origin": "estimated", "uncertainty": 1300.0},
    "energy_eV": {"value": 300e3, "origin": "given"},
    "beam_center_px": {"value": [131.75, 131.75], "origin": "estimated", "uncertainty": 0.12},
    "detector_pixel_invA": {"value": 0.04762, "origin": "estimated", "uncertainty": 0.0001},
}
CUT = """() => [...document.querySelectorAll(".calibration [data-cell]")]
  .filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)"""


@pytest.mark.parametrize("width", [1101, 1280, 1920])
def test_no_value_of_the_calibration_is_cut(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, width: int
) -> None:
    """Regression: at 1280 pixels a defocus was "13.5 µm under…", and the energy was not there at all."""
    watched.page.set_viewport_size({"width": width, "height": 800})
    server.publish("state", state_payload(calibration=LONG, given={"energy_eV": "configured"}))
    page = watched.open(dashboard.url)
    expect(page.locator("[data-text=cal_C10]")).to_have_text("13.5 ± 0.13 µm underfocus")
    expect(page.locator("tr[data-row=energy_eV]")).to_be_visible()
    assert page.evaluate(CUT) == []
    assert watched.complaints == []


def test_a_field_has_the_name_of_its_row(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    """Regression: a screen reader said "C10"."""
    server.publish("state", state_payload(state="complete"))
    page = watched.open(dashboard.url)
    for row in ("defocus", "scan step"):
        page.get_by_role("button", name=f"change {row}", exact=True).click()
        field = page.get_by_role("textbox", name=row, exact=True)
        expect(field).to_be_visible()
        field.press("Escape")
    page.locator("[data-act=edit][data-name=map_0]").click()
    expect(page.get_by_role("textbox", name="parameters of panel 1")).to_be_visible()
    assert watched.complaints == []


def test_an_empty_list_says_what_it_is_for_and_a_run_is_not_compared_with_itself(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    page = watched.open(dashboard.url)
    page.get_by_role("button", name="Refine", exact=True).click()
    empty = "getComputedStyle(document.getElementById('runs'), '::before').content"
    assert "none yet" in page.evaluate(empty)
    runs = {name: {"state": "done", "loss": 2.0, "epochs": 4} for name in ("run1", "run2")}
    server.replies["runs"] = {"runs": runs}
    done = {"state": "done", "run": "run2", "uid": "scan-1", "epoch": 4, "loss": 2.0}
    server.publish("state", state_payload(state="complete", refinement=done, results="/data/0142_results.h5"))
    server.publish("refinement", {**done, "epochs": 4, "losses": [5.0, 4.0, 3.0, 2.0], "phases": ["sweep"] * 4})
    expect(page.locator("#runs li")).to_have_count(2)
    assert page.evaluate(empty) == "none"
    eventually(lambda: page.locator("#runs").get_by_role("button", name="compare").count() == 1)
    assert page.locator("#runs [data-act=compare]").get_attribute("data-name") == "run1"
    assert watched.complaints == []


def test_a_viewer_cannot_write_where_nothing_would_be_kept(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    """Regression: the fields took a note or a sample, which was refused and stayed there in place of the real one."""
    server.replies["note"] = {"note": "of the operator"}
    server.replies["history"] = {"scans": [{"recording": "0142.h5", "note": "kept", "shape": [64, 64]}], "total": 1}
    page = watched.open(f"{dashboard.url}/view")
    note = page.get_by_role("textbox", name="note on this scan")
    expect(note).to_have_value("of the operator")
    assert not note.is_editable()
    expect(page.get_by_role("slider", name="depth")).to_be_disabled()
    page.get_by_role("button", name="Library", exact=True).click()
    card = page.locator(".card").first
    for field in ("note", "sample"):
        expect(card.get_by_placeholder(field)).not_to_be_editable()
    page.locator("#match").fill("mos2")
    eventually(lambda: any(asked.get("match") == "mos2" for asked in server.received("history")))
    assert watched.complaints == []


def test_pictures_have_names_and_high_contrast_leaves_what_is_chosen_visible(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    """Regression: a screen reader found nameless areas; with high contrast no button looked pressed, and colour bars
    were gone.
    """
    server.publish("state", state_payload(state="complete"))
    page = watched.open(dashboard.url)
    for name in ("map of panel 1", "diffraction pattern"):
        expect(page.get_by_role("img", name=name, exact=True)).to_be_attached()
    page.emulate_media(forced_colors="active")
    look = "e => getComputedStyle(e).backgroundColor"
    session, library = (page.get_by_role("button", name=name, exact=True) for name in ("Session", "Library"))
    eventually(lambda: session.evaluate(look) != library.evaluate(look))
    bar = page.locator("[data-panel='0'] .colour-bar i")
    assert "gradient" in bar.evaluate("e => getComputedStyle(e).backgroundImage")
    assert bar.evaluate("e => getComputedStyle(e).forcedColorAdjust") == "none"
    assert watched.complaints == []


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800)])
def test_a_click_shows_the_whole_of_what_a_refinement_said(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, width: int, height: int
) -> None:
    """Regression: all but the first remarks could be read with a mouse only, as a tooltip."""
    watched.page.set_viewport_size({"width": width, "height": height})
    remarks = [f"remark {number} of a refinement, which is longer than a few words" for number in range(8)]
    done = {"state": "done", "run": "run1", "uid": "scan-1", "epoch": 4, "loss": 2.0, "message": "; ".join(remarks)}
    server.publish("state", state_payload(state="complete", refinement=done))
    server.publish("refinement", {**done, "epochs": 4, "losses": [2.0] * 4, "phases": ["sweep"] * 4})
    page = watched.open(dashboard.url)
    last = page.locator(".sentence").get_by_text(remarks[-1])
    expect(last).to_be_attached()
    page.locator(".sentence").click(position={"x": 20, "y": 8})
    whole = page.locator(".sentence").bounding_box()
    box = last.bounding_box()
    assert whole is not None and box is not None
    assert whole["y"] <= box["y"] and box["y"] + box["height"] <= whole["y"] + whole["height"] <= height
    assert watched.complaints == []
