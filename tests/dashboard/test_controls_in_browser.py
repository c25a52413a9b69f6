"""The page in a real Chromium: the effects of keys, clicks and drags."""

from pathlib import Path

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrant_colours, quadrants, rgb, rows_covered, share_of
from fake_server import FakeServer, map_payload, state_payload
from playwright.sync_api import expect
from running_dashboard import RunningDashboard

from ptylive.dashboard.theme import DETECTOR_COLOURS, DISC_COLOUR
from ptylive.server.wire.messages import array_to_plain

pytestmark = pytest.mark.browser


@pytest.mark.slow
def test_refine_sends_the_preset_and_the_loss_appears(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    page = watched.open(dashboard.url)
    page.get_by_role("button", name="Refine", exact=True).click()
    slices = page.locator(".setting", has_text="slices").first.locator("input")
    slices.fill("4")
    slices.blur()
    press = page.locator("[data-of=refine]").get_by_role("button", name="Refine this scan")
    expect(press).to_be_enabled()
    press.click()
    expect(page.locator(".sentence")).to_contain_text("needs total_thickness_A")
    assert server.received("refine") == []

    thickness = page.locator(".setting", has_text="thickness / Å").first.locator("input")
    thickness.fill("20")
    thickness.blur()
    # what the page says of the new value may move the button away from under the pointer
    eventually(lambda: any(asked["preset"].get("total_thickness_A") == 20 for asked in server.received("check")))
    press.click()
    eventually(lambda: len(server.received("refine")) == 1)
    preset = server.received("refine")[0]["preset"]
    assert preset == {
        "num_slices": 4,
        "total_thickness_A": 20,
        "epoch_max": "auto",
        "sweeps": "auto",
        "probe_modes": "auto",
        "algorithm": "auto",
    }

    orange, blue = "#d9962e", "#3f9bdc"
    before = pixels(page, "#canvas-loss-large")
    assert share_of(before, orange) == share_of(before, blue) == 0.0
    progress = {"uid": "scan-1", "run": "r1", "state": "running", "phase": "lbfgs", "epoch": 4, "epochs": 20}
    pictures = {
        "object": {**array_to_plain(quadrants()), "sampling_A": [0.2, 0.2]},
        "probe": {**array_to_plain(np.ones((2, 16, 16), np.complex64)), "sampling_A": [0.2, 0.2]},
    }
    losses = {"loss": 1.5, "losses": [4.0, 3.0, 2.0, 1.5], "phases": ["sweep", "sweep", "lbfgs", "lbfgs"]}
    server.publish("state", state_payload(refinement={"state": "running", "run": "r1", "epoch": 4, "loss": 1.5}))
    server.publish("refinement", {**progress, **losses, **pictures})
    eventually(lambda: share_of(pixels(page, "#canvas-loss-large"), orange) > 1e-4)
    eventually(lambda: share_of(pixels(page, "#canvas-loss-large"), blue) > 1e-4)
    eventually(lambda: np.abs(quadrant_colours(page, "#canvas-object")[0, 1] - rgb("#fcfdbf")).max() <= 8)
    expect(page.locator(".loss [data-text=refine_epoch]")).to_have_text("4 of 20")
    expect(page.locator("[data-text=probe_powers]")).to_have_text("50 · 50 %")
    expect(page.locator("[data-of=refine]").get_by_role("button", name="Queue this scan")).to_be_enabled()

    page.locator("[data-of=refine]").get_by_role("button", name="Stop").click()
    eventually(lambda: len(server.received("refine_stop")) == 1)
    page.locator("[data-of=refine]").get_by_role("button", name="Save", exact=True).click()
    eventually(lambda: len(server.received("save")) == 1)
    assert watched.complaints == []


@pytest.mark.slow
def test_a_late_click_stops_no_other_refinement(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    """The page is busy: it still displays the first run, the button has not been told either, and it is clicked."""
    running = {"state": "running", "run": "run1", "uid": "scan-1", "epoch": 4, "loss": 1.5}
    server.publish("state", state_payload(refinement=running))
    page = watched.open(dashboard.url)
    page.get_by_role("button", name="Refine", exact=True).click()
    stop = page.locator("[data-of=refine]").get_by_role("button", name="Stop")
    expect(stop).to_be_enabled()
    page.evaluate("() => { window.late = []; window.ptylive.render = content => late.push(content); }")
    server.publish("state", state_payload(refinement={**running, "run": "run2"}))
    eventually(lambda: page.evaluate("window.late.some(content => content.includes('run2'))"))
    stop.click()
    eventually(lambda: len(server.received("refine_stop")) == 1)
    (meant,) = server.received("refine_stop")
    assert (meant["run"], meant["uid"]) == ("run1", "scan-1")
    assert watched.complaints == []


@pytest.mark.slow
def test_fourier_transform_full_screen_and_help_by_keyboard(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    cols = np.indices((SIDE, SIDE))[1]
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(obf=np.cos(2 * np.pi * cols / 4).astype(np.float32), com_row=quadrants(), com_col=quadrants())
    page = watched.open(dashboard.url)
    eventually(lambda: share_of(pixels(page, "#canvas-map-0"), "#fcfdbf") > 0.05)
    page.keyboard.press("t")
    title = "Bokeh.documents[0].get_model_by_name('map_0')"
    eventually(lambda: page.evaluate(f"{title}.x_range.start") < -0.9)
    eventually(lambda: 0 < share_of(pixels(page, "#canvas-map-0"), "#fcfdbf") < 0.02)
    y_range = "Bokeh.documents[0].get_model_by_name('map_1').y_range"
    assert page.evaluate(f"{y_range}.start - {y_range}.end") > 30, "the maps keep their own coordinates"
    page.keyboard.press("f")
    box = page.locator("[data-panel='0']").bounding_box()
    assert box is not None
    assert box["width"] > 1270
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator(".help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".help")).to_be_hidden()
    page.keyboard.press("t")
    eventually(lambda: share_of(pixels(page, "#canvas-map-0"), "#fcfdbf") > 0.05)
    page.locator("#depth").click()
    page.keyboard.press("?")
    expect(page.locator(".help")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("7")
    high = "Bokeh.documents[0].get_model_by_name('map_1').renderers[0].glyph.color_mapper.high"
    eventually(lambda: page.evaluate(high) > 1000)
    assert watched.complaints == []


@pytest.mark.slow
def test_a_value_is_changed_by_its_pencil_and_taken_back(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    page = watched.open(dashboard.url)
    expect(page.locator("[data-text=cal_C10]")).to_have_text("150 ± 5.0 Å underfocus")
    page.get_by_label("change defocus").click()
    field = page.locator("[data-cell=C10] input")
    assert field.input_value() == "150 Å underfocus"
    field.fill("somewhere")
    field.press("Enter")
    expect(page.locator(".sentence")).to_contain_text("is unclear")
    refused = page.locator("[data-refused=C10]")
    expect(refused).to_contain_text("is unclear")
    page.get_by_label("change defocus").click()
    assert field.input_value() == "somewhere"
    field.press("Escape")
    expect(refused).to_be_hidden()
    page.get_by_label("change defocus").click()
    assert field.input_value() == "150 Å underfocus"
    field.fill("12 kg")
    field.press("Enter")
    expect(refused).to_contain_text("not a unit for a length")
    page.keyboard.press("Escape")  # the field is closed
    expect(refused).to_be_hidden()
    page.get_by_label("change defocus").click()
    field.fill("20 nm overfocus")
    field.press("Enter")
    eventually(lambda: [c["values"] for c in server.received("configure")] == [{"C10": 200.0}])
    page.get_by_label("change another value").click()
    page.locator("[data-cell=other] input").fill("C30 = 1e7")
    page.locator("[data-cell=other] input").press("Enter")
    eventually(lambda: server.received("configure")[-1]["values"] == {"C30": 1e7})
    page.get_by_label("estimate scan rotation").click()
    eventually(lambda: [c["names"] for c in server.received("calibrate")] == [["rotation_deg"]])
    page.get_by_role("button", name="undo").click()
    eventually(lambda: len(server.received("undo")) == 1)
    page.locator("#depth").fill("40")
    eventually(lambda: server.received("configure")[-1]["values"] == {"depth_A": 40.0})
    assert watched.complaints == []


@pytest.mark.slow
def test_what_to_change_at_the_microscope_is_read_and_copied(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    names = {"C10": 145.0, "C12a": 33.4, "C12b": 53.4}
    found = {name: {"value": value, "origin": "estimated", "uncertainty": 11.0} for name, value in names.items()}
    server.publish("state", state_payload(calibration=found))
    page = watched.open(dashboard.url)
    page.set_viewport_size({"width": 1280, "height": 800})
    line, button = page.locator("[data-text=advice]"), page.locator("[data-name=advice]")
    expect(line).to_have_text("focus up 14.5 nm; astigmatism 63 Å at 29°")
    assert line.evaluate("e => e.scrollWidth <= e.clientWidth"), "it is there to be read"
    whole = "defocus −145 ± 11 Å: focus up 14.5 nm; astigmatism 63 ± 11 Å at 29°"
    expect(button).to_have_attribute("title", whole)
    page.evaluate("() => { navigator.clipboard.writeText = async text => { window.copied = text; }; }")
    button.click()
    expect(button).to_have_text("copied")
    assert page.evaluate("window.copied") == whole
    assert watched.complaints == []


@pytest.mark.slow
def test_a_detector_is_drawn_and_dragged(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.publish("maps", map_payload("pattern", np.ones((64, 64), np.float32)))
    page = watched.open(dashboard.url)
    # the edge of the bright field, around which the detector is placed
    eventually(lambda: share_of(pixels(page, "#canvas-diffraction"), DISC_COLOUR) > 1e-4)
    page.get_by_label("add a ring detector").click()
    eventually(lambda: len(server.received("detectors")) == 1)
    ring = server.received("detectors")[0]["detectors"][0]
    assert ring == {"name": "ring1", "center_px": [31.5, 31.5], "inner_px": 17.25, "outer_px": 27.0}
    server.publish("state", state_payload(detectors=[ring]))
    box = page.locator("#canvas-diffraction").bounding_box()
    assert box is not None
    scale = min(box["width"], box["height"]) / 64
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    eventually(lambda: share_of(pixels(page, "#canvas-diffraction"), DETECTOR_COLOURS[0]) > 1e-4)  # its handles
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 2 * scale, y - 3 * scale, steps=4)
    page.mouse.move(x + 4 * scale, y - 6 * scale, steps=4)
    page.mouse.up()
    eventually(lambda: len(server.received("detectors")) >= 2)
    moved = server.received("detectors")[-1]["detectors"][0]
    assert moved["center_px"] == pytest.approx([31.5 - 6, 31.5 + 4], abs=1.0)
    assert (moved["inner_px"], moved["outer_px"]) == (17.25, 27.0)
    page.keyboard.press("Alt+KeyW")
    eventually(lambda: server.received("detectors")[-1]["detectors"][0]["center_px"][0] < moved["center_px"][0])
    assert watched.complaints == []


@pytest.mark.slow
def test_remarks_at_the_bottom_stand_by_themselves(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    page = watched.open(dashboard.url)
    for message, shown in (
        ("obf, wdd: needs energy; all counts are 0", "phase (OBF), WDD phase: need energy; all counts are 0"),
        ("recording waits: a disk", "recording waits: a disk"),
    ):
        server.publish("state", state_payload(message=message))
        expect(page.locator(".sentence span")).to_have_text(shown.split("; "))
        expect(page.locator(".sentence")).to_have_attribute("title", shown.replace("; ", "\n"))


@pytest.mark.slow
def test_a_note_is_on_the_scan_for_which_it_was_begun(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    server.publish("state", state_payload(series="first", recording="/scans/first.h5"))
    page = watched.open(dashboard.url)
    expect(page.locator(".series")).to_have_text("first")
    note = page.get_by_label("note on this scan")
    note.fill("a vacancy")
    server.publish("state", state_payload(series="second", uid="second", recording="/scans/second.h5"))
    expect(page.locator(".series")).to_have_text("second")
    page.wait_for_timeout(500)
    assert note.input_value() == "a vacancy"
    note.press("Enter")
    eventually(lambda: [c["recording"] for c in server.received("note") if "text" in c] == ["first.h5"])
    expect(note).to_have_value("")
    assert watched.complaints == []


@pytest.mark.slow
def test_the_library_opens_a_scan_and_shows_names_as_text(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched
) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    thumbnail = {**array_to_plain(np.arange(64, dtype=np.uint8).reshape(8, 8)), "map": "obf"}
    scan = {"recording": "a.h5", "series": evil, "time": 1.8e9, "frames": 64, "lost": 3, "shape": [8, 8], "note": evil}
    scan.update(thumbnail=thumbnail, runs={"run1": {}}, calibration={"C10": {"value": -150.0, "origin": "given"}})
    server.replies["history"] = {"scans": [scan], "count": 1}
    server.publish("state", state_payload(series=evil, message=evil))
    page = watched.open(dashboard.url)
    expect(page.locator(".series")).to_have_text(evil)
    expect(page.locator(".sentence")).to_have_text(evil)
    for _ in range(3):
        page.keyboard.press("v")
    expect(page.locator(".card b")).to_have_text(evil)
    expect(page.locator(".card b > span")).to_have_text([evil[:-16], evil[-16:]])  # of a long name, both ends stay
    expect(page.locator(".card")).to_contain_text("defocus 150 Å underfocus")
    expect(page.locator(".card em")).to_have_text("3 lost")
    assert page.locator(".card img").evaluate("image => image.naturalWidth") == 8
    assert page.locator(".card script").count() == 0
    page.get_by_role("button", name="open", exact=True).click()
    eventually(lambda: [c["recording"] for c in server.received("open")] == ["a.h5"])
    expect(page.locator("body")).to_have_attribute("data-view", "session")
    page.get_by_role("button", name="Library", exact=True).click()
    note = page.locator(".card input[placeholder=note]")
    note.fill("better")
    note.press("Tab")
    eventually(lambda: any(c.get("text") == "better" and c["recording"] == "a.h5" for c in server.received("note")))
    delete = page.get_by_role("button", name="delete")
    delete.click()
    page.wait_for_timeout(300)
    assert server.received("delete") == [], "asked twice"
    page.get_by_role("button", name="really?").click()
    eventually(lambda: [(c["recording"], c["sure"]) for c in server.received("delete")] == [("a.h5", True)])
    assert watched.complaints == []


@pytest.mark.slow
def test_a_preset_file_fills_the_form(
    server: FakeServer, dashboard: RunningDashboard, watched: Watched, tmp_path: Path
) -> None:
    page = watched.open(dashboard.url)
    page.get_by_role("button", name="Refine", exact=True).click()
    preset = tmp_path / "mine.toml"
    preset.write_text("[refine]\nnum_slices = 3\ntotal_thickness_A = 12.5\nhist_length = 7\n")
    page.locator("#preset-file").set_input_files(preset)
    expect(page.locator(".sentence")).to_have_text("preset loaded, with hist_length")
    expect(page.get_by_placeholder("NAME = VALUE")).to_have_value("hist_length = 7")
    press = page.locator("[data-of=refine]").get_by_role("button", name="Refine this scan")
    expect(press).to_be_enabled()
    press.click()
    eventually(lambda: len(server.received("refine")) == 1)
    wanted = {"num_slices": 3, "total_thickness_A": 12.5, "hist_length": 7}
    assert server.received("refine")[0]["preset"] == wanted
    expect(page.locator(".sentence")).to_have_text("refinement started")
    preset.write_text("num_slice = 3\n")
    page.locator("#preset-file").set_input_files(preset)
    expect(page.locator(".sentence")).to_contain_text("num_slice")
    assert watched.complaints == []


@pytest.mark.slow
def test_a_refusal_of_the_server_is_told(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    server.replies["refine"] = {"ok": False, "error": "the scan has no <b>energy_eV</b>"}
    page = watched.open(dashboard.url)
    press = page.locator("[data-of=session]").get_by_role("button", name="Refine this scan")
    expect(press).to_be_enabled()
    press.click()
    expect(page.locator(".sentence")).to_have_text("the scan has no <b>energy</b>")
    assert page.locator(".sentence b").count() == 0


@pytest.mark.slow
def test_refine_and_stop_by_keyboard(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    page = watched.open(dashboard.url)
    expect(page.locator("[data-of=session]").get_by_role("button", name="Refine this scan")).to_be_enabled()
    page.keyboard.press("/")
    page.keyboard.type("rs")
    page.keyboard.press("Escape")
    expect(page.locator(".sentence")).to_have_text("note saved")  # until then no other request can be made
    page.keyboard.press("s")
    page.keyboard.press("r")
    eventually(lambda: len(server.received("refine")) == 1)
    assert server.received("refine_stop") == [], "nothing ran, and what is typed into a field is no command"
    expect(page.locator(".sentence")).to_have_text("refinement started")
    server.publish("state", state_payload(refinement={"state": "running", "run": "r1", "epoch": 4, "loss": 1.5}))
    expect(page.locator("[data-of=refine]").get_by_role("button", name="Stop")).to_be_enabled()
    page.keyboard.press("s")
    eventually(lambda: len(server.received("refine_stop")) == 1)
    assert watched.complaints == []
