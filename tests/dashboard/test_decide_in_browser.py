"""Before and after a refinement, on the page of a real server: thickness and time by a click, comparable runs."""

from collections.abc import Iterator

import pytest
from browser_tools import Watched, answers, eventually
from playwright.sync_api import Page, expect
from running import Server
from running import server as real_server

from ptylive.application.simulation import simulate_file
from ptylive.schema.simulation.settings import SimulationSettings

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SMALL = {"scan_shape": 24, "scan_step_A": 0.8, "detector_shape": 32, "detector_pixel_mrad": 3.0, "seed": 1}
PATIENCE_MS = 300_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that shows a thin specimen."""
    folder = tmp_path_factory.mktemp("recordings")
    simulate_file(folder / "thin.h5", SimulationSettings.of({**SMALL, "electrons_per_pattern": 1e4}))
    with real_server(folder, "--dashboard", "127.0.0.1:0") as one:
        eventually(lambda: answers(one.status()["dashboard"]))
        one.call("open", recording="thin.h5")
        one.wait_for(lambda s: s["results"])
        yield one


def field(page: Page, label: str):
    return page.locator("[data-of=refine] .setting", has=page.get_by_text(label, exact=True)).locator("input")


def type_into(page: Page, **values: str) -> None:
    for label, value in values.items():
        field(page, label.replace("_", " ")).fill(value)
        field(page, label.replace("_", " ")).blur()


def test_the_thickness_is_said_before_the_click(running: Server, watched: Watched) -> None:
    page = watched.open(running.status()["dashboard"])
    page.get_by_role("button", name="Refine", exact=True).click()
    said, press = page.locator("[data-text=decide_said]"), page.get_by_role("button", name="find thickness")
    expect(field(page, "slices")).to_have_value("auto")
    press.click()
    expect(said).to_contain_text("finding the thickness")
    page.locator(".decide-said").get_by_role("button", name="cancel").click()
    eventually(lambda: running.call("decide_status")["state"] == "stopped", 120)
    expect(press).to_be_visible()
    expect(said).to_have_text("")
    expect(field(page, "slices")).to_have_value("auto")

    press.click()
    expect(said).to_contain_text("one slice: ", timeout=PATIENCE_MS)
    expect(said).to_contain_text("a refinement takes about 0:")
    expect(field(page, "slices")).to_have_value("1")
    assert running.call("runs")["runs"] == {}, "nothing was refined"
    assert watched.complaints == []


def test_runs_are_compared_by_patterns_held_out(running: Server, watched: Watched) -> None:
    """The second has another data term, hence another loss."""
    page = watched.open(running.status()["dashboard"])
    page.get_by_role("button", name="Refine", exact=True).click()
    type_into(page, slices="1", epochs="3", sweeps="2", probe_modes="1")
    rows = page.locator("#runs li")
    for number, term in ((1, "lsq_sqrt"), (2, "ml")):
        chooser = page.locator("[data-of=refine] .setting", has=page.get_by_text("loss", exact=True)).locator("select")
        chooser.select_option(term)
        page.locator("[data-of=refine]").get_by_role("button", name="Refine this scan").click()
        running.wait_for(lambda s, n=number: s["refinement"]["run"] == f"run{n}")
        running.wait_for(lambda s: s["refinement"]["state"] == "done")
        expect(rows).to_have_count(number, timeout=PATIENCE_MS)
    for row in rows.all():
        expect(row).to_contain_text("held out ")
    expect(rows.filter(has_text="(best)")).to_have_count(1)
    expect(rows.filter(has_text="±")).to_have_count(1)
    expect(page.locator("[data-text=refine_phase]")).to_have_text("L-BFGS")
    judged = [one["held_out"] for one in running.call("runs")["runs"].values()]
    assert {one["patterns"] for one in judged} == {64}
    assert watched.complaints == []
