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


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800), (1920, 1080)])
def test_a_button_says_that_more_was_said_and_shows_it(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, width: int, height: int
) -> None:
    """Regression: of eight remarks two were shown, and nothing said that a click shows the others."""
    watched.page.set_viewport_size({"width": width, "height": height})
    remarks = [f"remark {number} of a refinement, which is longer than a few words" for number in range(8)]
    server.publish("state", state_payload(state="complete", message="; ".join(remarks)))
    page = watched.open(dashboard.url)
    button = page.get_by_role("button", name="all 8 remarks")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    whole, last = page.locator(".sentence").bounding_box(), page.get_by_text(remarks[-1]).bounding_box()
    assert whole is not None and last is not None
    assert whole["y"] <= last["y"] and last["y"] + last["height"] <= whole["y"] + whole["height"] <= height
    button.click()
    expect(button).to_have_attribute("aria-expanded", "false")
    page.locator(".sentence").focus()
    page.keyboard.press("Escape")
    expect(button).to_have_attribute("aria-expanded", "false")
    server.publish("state", state_payload(state="complete", message="a single short remark"))
    expect(button).to_be_hidden()
    expect(page.locator("[data-whole]")).to_be_hidden()
    assert watched.complaints == []


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800), (1920, 1080)])
def test_a_long_name_keeps_its_end_and_the_progress_its_width(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, width: int, height: int
) -> None:
    """Regression: the number at the end of a name was cut off, and the bar beside it was as narrow as a dot."""
    watched.page.set_viewport_size({"width": width, "height": height})
    name = "2026_grain-boundary_of_the_third_lamella_of_an_interface_annealed_at_900C_" * 2 + "run_0142"
    server.publish("state", state_payload(state="scanning", series=name, recording=f"/scans/{name}.h5"))
    page = watched.open(dashboard.url)
    for of, end in ((".series", "run_0142"), ("[data-text=recording]", "run_0142.h5")):
        place = page.locator(of)
        expect(place).to_have_text(name if of == ".series" else f"{name}.h5")
        tail = place.locator("span").last
        expect(tail).to_contain_text(end)
        box, inner = place.bounding_box(), tail.bounding_box()
        assert box is not None and inner is not None and 0 < inner["x"] + inner["width"] <= box["x"] + box["width"] + 1
        assert box["x"] + box["width"] <= width
    progress = page.locator(".progress").bounding_box()
    assert progress is not None and progress["width"] > 80
    assert not page.evaluate("() => document.documentElement.scrollWidth > innerWidth")
    header = page.locator("header").bounding_box()
    help_button = page.get_by_role("button", name="help").bounding_box()
    assert header is not None and help_button is not None
    assert help_button["x"] + help_button["width"] <= header["x"] + header["width"], "nothing is pushed off the page"


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800), (1920, 1080)])
def test_a_failed_refinement_says_why_in_the_place_of_its_object(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, width: int, height: int
) -> None:
    """Regression: "no refinement yet", and "failed" as dim as "done"."""
    watched.page.set_viewport_size({"width": width, "height": height})
    failed = {"state": "failed", "run": "run1", "uid": "scan-1", "epoch": 0, "message": "no space: make room"}
    server.publish("state", state_payload(state="complete", refinement=failed))
    server.publish("refinement", {**failed, "epochs": 4, "losses": [], "phases": []})
    page = watched.open(dashboard.url)
    expect(page.locator(".sentence")).to_have_text("refinement failed: no space: make room")
    colour = "e => getComputedStyle(e).color"
    assert page.locator(".loss [data-text=refine_state]").evaluate(colour) == "rgb(240, 82, 79)"
    page.get_by_role("button", name="Refine", exact=True).first.click()
    expect(page.get_by_text("the refinement failed: no space: make room")).to_be_visible()
    expect(page.get_by_text("no refinement yet")).to_be_hidden()
    assert watched.complaints == []


ROOM = """() => [...document.querySelectorAll(".needs:not([hidden])")].flatMap(place => {
  const words = document.createRange();
  words.selectNodeContents(place.querySelector("p"));
  const [inner, outer] = [words.getBoundingClientRect(), place.parentElement.getBoundingClientRect()];
  return [inner.left - outer.left, outer.right - inner.right];
})"""


@pytest.mark.parametrize("width", [1024, 1280, 1920])
def test_what_a_map_needs_stands_in_the_middle_of_its_panel(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, width: int
) -> None:
    """Regression: at 1280 pixels the sentence ended beyond the edge."""
    watched.page.set_viewport_size({"width": width, "height": 800})
    server.publish("state", state_payload(state="complete", calibration={}, message="obf, tcbf, idpc: needs energy_eV"))
    page = watched.open(dashboard.url)
    eventually(lambda: len(page.evaluate(ROOM)) >= 6)
    for left, right in zip(*[iter(page.evaluate(ROOM))] * 2, strict=True):
        assert min(left, right) > 8
        assert abs(left - right) < 4
    assert watched.complaints == []
