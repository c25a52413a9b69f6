"""Advice on the screen: values next to those in use, eight orientations, thickness."""

from typing import Any

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrants, rows_covered
from fake_server import FakeServer, state_payload
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.schema.advice.depth import FoundDepth
from ptylive.server.wire.messages import array_to_plain

pytestmark = pytest.mark.browser
SIZES = ((1024, 768), (1280, 800), (1920, 1080))
GIVEN = {
    "energy_eV": {"value": 80e3, "origin": "given"},
    "C10": {"value": -300.0, "origin": "given"},
    "rotation_deg": {"value": 90.0, "origin": "given"},
    "detector_transform": {"value": "none", "origin": "given"},
}


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(obf=quadrants(), adf=quadrants())
    server.replies["estimates"] = {"estimates": {"C10": {"value": -146.0, "uncertainty": 11.0, "agrees": False}}}
    server.publish("state", state_payload(state="complete", calibration=GIVEN, contradicted={"energy_eV": 300e3}))
    page = watched.open(dashboard.url)
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    return page


def ways() -> list[dict[str, Any]]:
    """Eight pictures; number i has i + 1 bright columns out of nine."""
    out = []
    for i in range(8):
        shades = np.ones((9, 9), np.uint8)
        shades[:, : i + 1] = 255
        word, angle = ("transpose" if i % 2 else "none"), 45.0 * i
        told = {"rotation_deg": angle, "detector_transform": word, "curl": 0.02 + 0.1 * i, "in_use": i == 2}
        out.append({**told, "picture": array_to_plain(shades)})
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_contradicts_a_value_stands_below_it_with_a_click(
    server: FakeServer, page: Page, watched: Watched, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    energy, defocus = page.locator("[data-beside=energy_eV]"), page.locator("[data-beside=C10]")
    expect(energy).to_have_text("typed 80 kV, sent 300 kVuse sent")
    expect(defocus).to_have_text("data say 146 ± 11 Å underfocususe")
    for line in (energy, defocus):
        box, column = line.bounding_box(), page.locator(".calibration").bounding_box()
        assert box is not None and column is not None
        assert column["x"] <= box["x"] and box["x"] + box["width"] <= column["x"] + column["width"], "inside its box"
    energy.get_by_role("button").click()
    eventually(lambda: bool(server.received("configure")))
    assert server.received("configure")[-1]["values"] == {"energy_eV": 300e3}
    defocus.get_by_role("button").click()
    eventually(lambda: bool(server.received("calibrate")))
    assert server.received("calibrate")[-1]["names"] == ["C10"]
    agree = {"C10": {"value": -290.0, "uncertainty": 11.0, "agrees": True}}
    server.replies["estimates"] = {"estimates": agree}
    server.publish("state", state_payload(state="complete", uid="scan-2", calibration=GIVEN))
    expect(energy).to_be_hidden()
    expect(defocus).to_be_hidden()
    origin = page.locator("[data-text=cal_C10_origin]")
    expect(origin).to_have_text("given ✓")
    expect(origin).to_have_attribute("title", "data say 290 ± 11 Å underfocus")
    assert watched.complaints == []


def bright_share(page: Page, number: int) -> float:
    """Share of a small picture that is bright."""
    shot = pixels(page, f".way:nth-child({number + 1}) img")
    return float((shot.sum(axis=-1) > 450).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_one_of_eight_orientations_is_used_by_a_click(
    server: FakeServer, page: Page, watched: Watched, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    server.replies["orientations"] = {"orientations": ways()}
    assert server.received("orientations") == [], "what is not shown is not computed"
    page.get_by_role("button", name="eight orientations").click()
    dialog = page.get_by_role("dialog", name="orientations")
    expect(dialog.locator(".way")).to_have_count(8)
    box = dialog.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
    shares = [bright_share(page, i) for i in range(8)]
    assert shares == pytest.approx([(i + 1) / 9 for i in range(8)], abs=0.06), "each its own picture, in this order"
    expect(dialog.locator(".way").nth(2)).to_contain_text("in use")
    expect(dialog.locator(".way").first).to_have_text("0.0°, as recordedcurl 2 %")
    dialog.locator(".way").nth(3).click()
    eventually(lambda: bool(server.received("configure")))
    assert server.received("configure")[-1]["values"] == {"rotation_deg": 135.0, "detector_transform": "transpose"}
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="eight orientations").click()
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert watched.complaints == []


@pytest.mark.slow
def test_of_a_thick_specimen_obf_does_not_come_first(server: FakeServer, page: Page, watched: Watched) -> None:
    first = page.locator("[data-panel='0'] select").first
    expect(first).to_have_value("phase (OBF)")
    server.maps_of(idpc=np.full((SIDE, SIDE), 0.5, np.float32), tcbf=quadrants())
    server.replies["estimates"] = {"estimates": {}, "modulation": 0.8}
    server.publish("state", state_payload(state="complete", uid="scan-2"))
    server.maps_of(adf=quadrants())
    expect(first).to_have_value("annular DF")
    expect(page.locator("[data-panel='3'] select").first).to_have_value("phase (OBF)")
    expect(page.locator("[data-text=map_3_badge]")).to_have_text("too thick for this map")
    expect(page.locator("[data-text=map_0_badge]")).to_have_text("")
    expect(page.locator(".first-maps")).to_contain_text(
        "multiple scattering (bright field ± 80 %): dark field first, OBF last"
    )
    badge = pixels(page, "[data-text=map_3_badge]")
    assert (np.abs(badge - [0x6D, 0x2A, 0x12]).max(-1) < 12).mean() > 0.4, "it is on the screen"
    assert watched.complaints == []


@pytest.mark.slow
def test_a_thickness_that_was_found_is_changed_by_a_click(server: FakeServer, page: Page, watched: Watched) -> None:
    message = f"{FoundDepth(5, 102.0, 90.0, 120.0)}: a depth of 20 Å already predicts held-out patterns better"
    refinement = {"state": "running", "run": "run1", "epoch": 0, "loss": None, "message": message}
    server.publish("state", state_payload(state="complete", refinement=refinement))
    said = page.locator(".refine .depth-found")
    expect(said).to_have_text("thickness 90 to 120 Å: 5 slices of 20 Å change", use_inner_text=True)
    said.get_by_role("button").click()
    expect(page.locator("body")).to_have_attribute("data-view", "refine")
    field = page.locator(".setting", has=page.get_by_text("thickness / Å", exact=True)).locator("input")
    expect(field).to_be_focused()
    expect(field).to_have_value("102.0")
    expect(page.locator(".setting", has=page.get_by_text("slices", exact=True)).locator("input")).to_have_value("5")
    assert watched.complaints == []


@pytest.mark.slow
def test_a_drift_beyond_its_bound_is_said_in_title_stream_and_by_the_browser(
    server: FakeServer, page: Page, watched: Watched
) -> None:
    expect(page.locator("dd.drifts")).to_be_hidden()
    page.evaluate(
        """() => { window.told = [];
        window.Notification = class { constructor(_, {body}) { told.push(body); } static permission = "granted"; };
        Object.defineProperty(document, "hidden", {get: () => true}); }"""
    )
    server.publish("state", state_payload(state="scanning"))
    expect(page.locator("[data-text=state]")).to_have_text("SCANNING")
    drift = {"A": 12.3, "bound_A": 3.2, "since": "0137"}
    server.publish("state", state_payload(state="complete", drift=drift))
    expect(page.locator("dd.drifts")).to_have_text("12.3 Å since scan 0137 (> 3.2 Å)")
    eventually(lambda: page.title() == "(drift) ✓ 0142 · ptylive")
    eventually(lambda: "drift of 12.3 Å since scan 0137, more than 3.2 Å" in page.evaluate("window.told"))
    server.publish("state", state_payload(state="complete", drift={**drift, "A": 1.0}))
    eventually(lambda: page.title() == "✓ 0142 · ptylive")
    expect(page.locator("dd.drifts")).to_have_text("1.00 Å since scan 0137")
    assert watched.complaints == []
