"""Refinements, trials and batches from a page in a real Chromium, on a cluster whose processes are killed meanwhile."""

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest
from browser_tools import Watched, answers, eventually
from dask_processes import Dask, dask
from playwright.sync_api import Page, expect
from running import Server
from running import server as real_server

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCANS = ("mos2_svac_80kV_focus", "au_ac_300kV_parallax")
PATIENCE_MS = 300_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    with dask(tmp_path_factory.mktemp("dask")) as one:
        yield one


@pytest.fixture(scope="module")
def running(cluster: Dask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two scans and a cluster for which it waits."""
    folder = tmp_path_factory.mktemp("recordings")
    settings = ("--set", f"refine.cluster={cluster.address}", "--set", "refine.when_cluster_missing=wait")
    with real_server(folder, "--dashboard", "127.0.0.1:0", *settings) as one:
        eventually(lambda: answers(one.status()["dashboard"]))
        for scan in SCANS:
            before = one.status()["uid"]
            replay(bundled(scan), ReplaySettings(to=one.data, rate=4000.0))
            one.wait_for(lambda s, b=before: s["uid"] != b and s["state"] == "complete" and s["results"])
        yield one


@pytest.fixture
def page(running: Server, watched: Watched) -> Iterator[Page]:
    """Open the page with the form filled in for short runs."""
    opened = watched.open(running.status()["dashboard"])
    opened.get_by_role("button", name="Refine", exact=True).click()
    for label, value in (("epochs", "400"), ("sweeps", "0"), ("probe modes", "1"), ("slices", "1")):
        set_field(opened, label, value)
    yield opened
    assert watched.complaints == []


def set_field(page: Page, label: str, value: str) -> None:
    field = page.locator("[data-of=refine] .setting", has=page.get_by_text(label, exact=True)).locator("input")
    field.fill(value)
    field.blur()


def go_to(page: Page, view: str) -> None:
    page.get_by_role("button", name=view, exact=True).click()


def choose_place(page: Page, view: str, place: str) -> None:
    page.locator(f"[data-of={view}] [data-place]").select_option(place)


def test_a_refinement_runs_on_the_cluster_stops_and_goes_on(running: Server, cluster: Dask, page: Page) -> None:
    """If scheduler and worker are killed midway, it waits, says so, and resumes from its checkpoint."""
    view = page.locator("[data-of=refine]")
    expect(view.locator("[data-place] option")).to_have_text([f"cluster {cluster.address}", "this machine"])
    view.get_by_role("button", name="Refine this scan").click()
    expect(page.locator("[data-text=refine_where]")).to_contain_text("the only worker", timeout=PATIENCE_MS)
    running.wait_for(lambda s: s["refinement"]["epoch"] >= 3, timeout_s=300)
    view.get_by_role("button", name="Stop").click()
    state = page.locator("h2 [data-text=refine_state]").first
    expect(state).to_have_text("stopped", timeout=PATIENCE_MS)
    stopped_at = running.status()["refinement"]["epoch"]

    page.locator(".resume").click()
    running.wait_for(lambda s: s["refinement"]["epoch"] > stopped_at, timeout_s=300)
    folder = Path(running.status()["recording"]).parent
    eventually(lambda: any(folder.glob("*.checkpoint")), 60)
    cluster.kill()
    expect(page.locator(".sentence")).to_contain_text("waiting for the cluster", timeout=PATIENCE_MS)
    lost_at = running.status()["refinement"]["epoch"]
    cluster.start()
    running.wait_for(lambda s: s["refinement"]["epoch"] > max(lost_at, stopped_at), timeout_s=300)
    view.get_by_role("button", name="Stop").click()
    expect(state).to_have_text("stopped", timeout=PATIENCE_MS)
    status = running.status()
    with h5py.File(status["results"]) as results:
        assert len(results["refinements/run1/loss"]) == status["refinement"]["epoch"]


def test_trials_are_started_stopped_and_gone_on_with_and_their_best_used(running: Server, page: Page) -> None:
    go_to(page, "Tune")
    form = page.locator(".tune-form")
    form.locator("[data-varied=tilt] [data-low]").fill("wide")
    form.get_by_role("button", name="Start trials").click()
    expect(form.locator("[data-varied=tilt] .wrong")).to_contain_text("one end of the range is missing")
    assert running.call("tune_status")["state"] == "none"

    form.locator("[data-varied=tilt] [data-tick]").uncheck()
    form.locator("[data-varied=defocus] [data-low]").fill("-30")
    form.locator("[data-varied=defocus] [data-high]").fill("20 nm")
    form.locator("[data-varied=trials] [data-low]").fill("200")
    choose_place(page, "tune", "here")
    form.get_by_role("button", name="Start trials").click()
    rows = page.locator("#tune-table tr")
    eventually(lambda: rows.count() > 2, 300)
    form.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-text=tune_state]")).to_have_text("stopped", timeout=PATIENCE_MS)
    ended = running.call("tune_status")["ended"]
    assert 0 < ended < 200

    form.locator("[data-varied=trials] [data-low]").fill("10")
    form.get_by_role("button", name="Resume").click()
    expect(page.locator("[data-text=tune_state]")).to_have_text("done", timeout=PATIENCE_MS)
    status = running.call("tune_status")
    assert status["ended"] >= max(10, ended)
    expect(page.locator("#tune-found li").first).to_contain_text("defocus")
    points = page.evaluate("Bokeh.documents[0].get_model_by_name('landscape').renderers[1].data_source.data.at.length")
    assert points == sum(one["state"] == "done" for one in status["trials"])

    page.get_by_role("button", name="Use the best values").click()
    expect(page.locator("[data-of=refine] .settings")).to_be_visible()
    best = status["corrections"]["defocus_A"]
    eventually(lambda: abs(running.status()["calibration"]["C10"]["value"] + best) < 1e-6)
    assert running.status()["calibration"]["C10"]["origin"] == "given"


def test_ticked_scans_of_the_library_are_refined_once(running: Server, page: Page) -> None:
    set_field(page, "epochs", "2")
    running.call("map_settings", values={"wdd.epsilon": 0.1})
    running.call("detectors", detectors=[{"name": "ring", "center_px": [30, 30], "inner_px": 5, "outer_px": 9}])
    go_to(page, "Library")
    expect(page.locator(".tick")).to_have_count(len(SCANS))
    choose_place(page, "library", "cluster")
    page.get_by_role("button", name="all", exact=True).click()
    expect(page.locator("#chosen")).to_have_text("2 ticked")
    press = page.get_by_role("button", name="refine ticked")
    press.click()
    done = page.locator("#batch-table tr[data-state=done]")
    expect(done).to_have_count(2, timeout=2 * PATIENCE_MS)
    running.wait_for(lambda s: s["batch"]["state"] == "done")
    rows = running.call("batch_status")["rows"]
    folder = Path(running.status()["recording"]).parent
    written = {row["recording"]: (folder / row["recording"]).stat().st_mtime_ns for row in rows}

    press.click()
    expect(page.locator("#batch-said")).to_contain_text("nothing left to do", timeout=PATIENCE_MS)
    assert running.call("batch_status")["rows"] == rows
    for row in rows:
        results = folder / row["recording"].replace(".h5", "_results.h5")
        with h5py.File(results) as file:
            assert len(file[f"refinements/{row['run']}/loss"]) == 2
            assert json.loads(file["maps/wdd_phase"].attrs["settings"])["epsilon"] == 0.1
            assert json.loads(file["maps/vd_ring"].attrs["settings"])["outer_px"] == 9
            assert len(file["snr"]) > 1
        assert written[row["recording"]] == (folder / row["recording"]).stat().st_mtime_ns
    page.get_by_role("button", name="table", exact=True).click()
    link = page.locator("#downloads a")
    expect(link).to_have_attribute("download", "batch_table.html")
    fetched = page.request.get(f"{running.status()['dashboard']}/{link.get_attribute('href')}")
    assert fetched.ok and fetched.text().count("data:image/png;base64,") == 4, json.dumps(rows)
