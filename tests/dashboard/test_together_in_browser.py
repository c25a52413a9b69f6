"""Scans of one place at several tilts, ticked in the Library of a real server and refined together from the page."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_tools import Watched, answers, eventually, pixels
from playwright.sync_api import Page, expect
from running import Server
from running import server as real_server

from ptylive.application.simulation import simulate_file
from ptylive.schema.simulation.settings import SimulationSettings

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SMALL = {"scan_shape": 20, "scan_step_A": 0.8, "detector_shape": 32, "detector_pixel_mrad": 3.0}
SETTINGS = {"slices": "2", "thickness / Å": "20", "epochs": "3", "sweeps": "2", "probe modes": "1"}
PATIENCE_MS = 300_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with three scans of one place, each with its own electrons."""
    folder = tmp_path_factory.mktemp("recordings")
    for seed, name in enumerate(("flat", "left", "right")):
        settings = SimulationSettings.of({**SMALL, "electrons_per_pattern": 2e4, "seed": seed})
        simulate_file(folder / f"{name}.h5", settings)
    with real_server(folder, "--dashboard", "127.0.0.1:0") as one:
        eventually(lambda: answers(one.status()["dashboard"]))
        for name in ("left", "right", "flat"):  # opening a scan makes its maps
            one.call("open", recording=f"{name}.h5")
            one.wait_for(lambda s, n=name: Path(str(s["recording"])).stem == n and s["results"])
        yield one


def go_to(page: Page, view: str) -> None:
    page.get_by_role("button", name=view, exact=True).click()


def test_three_scans_are_refined_as_one_object(running: Server, watched: Watched) -> None:
    page = watched.open(running.status()["dashboard"])
    go_to(page, "Refine")
    for label, value in SETTINGS.items():
        field = page.locator("[data-of=refine] .setting", has=page.get_by_text(label, exact=True)).locator("input")
        field.fill(value)
        field.blur()
    go_to(page, "Library")
    expect(page.locator(".tick")).to_have_count(3)
    opener = page.get_by_role("button", name="refine together")
    opener.click()
    expect(page.locator(".sentence")).to_contain_text("tick 2 to 9 scans")
    page.get_by_role("button", name="all", exact=True).click()
    opener.click()
    form = page.get_by_role("dialog", name="refine scans together")
    expect(form).to_be_visible()
    expect(form.locator(".tilted-scan")).to_have_count(3)
    expect(form).to_contain_text("slices 2, thickness / Å 20, epochs 3")

    for name, row in (("left", "20 mrad"), ("right", "60")):
        form.get_by_label(f"tilt of {name}, row").fill(row)
    start = form.get_by_role("button", name="Refine together")
    start.click()
    wrong = form.locator(".tilted-scan.is-wrong")
    expect(wrong).to_have_count(1)
    expect(wrong.locator(".wrong")).to_contain_text("row: at most 50 mrad")
    form.get_by_label("tilt of right, row").fill("-1.15°")
    start.click()
    expect(form).to_be_hidden()

    expect(page.locator("h2 [data-text=refine_state]").first).to_have_text("done", timeout=PATIENCE_MS)
    rows = page.locator("#run-scans li")
    expect(rows).to_have_count(3, timeout=PATIENCE_MS)
    expect(rows.nth(0)).to_contain_text("flat")  # smallest tilt
    expect(rows.filter(has_text="lefttilt")).to_contain_text("tilt 20.0, 0 mrad")
    expect(rows.filter(has_text="righttilt")).to_contain_text("tilt −20.1, 0 mrad")
    for row in rows.all():
        expect(row).to_contain_text("Å (not corrected)")  # its own drift, with uncertainty
    eventually(lambda: np.ptp(pixels(page, "#canvas-object")) > 100)
    assert running.status()["recording"].endswith("flat.h5")
    assert watched.complaints == []
