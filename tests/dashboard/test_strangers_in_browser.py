"""First-time users on a real server: they use nothing but what the page says."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_tools import Watched, answers, eventually
from playwright.sync_api import Page, expect
from running import Server
from running import server as real_server

from ptylive.server.wire.messages import array_from_plain
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.source import open_source

pytestmark = pytest.mark.browser
SCAN = "mos2_svac_80kV_focus"
OBF = "Bokeh.documents[0].get_model_by_name('map_0').renderers[0].data_source.data"
PAINTED = f"{OBF}.image[0].length"
BESIDE = "Bokeh.documents[0].get_model_by_name('compare').renderers[0].data_source.data.image[0].length"


def opened(one: Server, watched: Watched) -> Page:
    url = one.status()["dashboard"]
    eventually(lambda: answers(url))
    return watched.open(url)


def maps(one: Server) -> dict[str, np.ndarray]:
    return {m["name"]: array_from_plain(m) for m in one.call("snapshot")["maps"]}


def agrees(found: dict[str, np.ndarray], wanted: np.ndarray) -> bool:
    """Whether the OBF phase is there (maps are remade one by one) and is right."""
    obf = found.get("obf", np.zeros((1, 1)))
    return obf.shape == wanted.shape and bool(np.corrcoef(obf.ravel(), wanted.ravel())[0, 1] > 0.98)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, np.ndarray]]:
    """A server that has received the scan with all its metadata, and its OBF phase."""
    with real_server(tmp_path_factory.mktemp("right"), "--dashboard", "127.0.0.1:0") as one:
        replay(bundled(SCAN), ReplaySettings(to=one.data))
        one.wait_for_results()
        yield one, maps(one)["obf"]


def type_into(page: Page, label: str, value: str) -> None:
    """Click the button that an empty panel offers, and type a value; it is offered until the value is known."""
    page.locator("#canvas-map-0 .needs").get_by_role("button", name=label, exact=True).click()
    field = page.locator(".calibration input.field")
    field.fill(value)
    field.press("Enter")


@pytest.mark.slow
def test_a_file_without_metadata_becomes_a_right_map_by_what_the_page_says(
    right: tuple[Server, np.ndarray], tmp_path: Path, watched: Watched
) -> None:
    """(a): a bare array; the user knows voltage, aperture and step."""
    files = tmp_path / "files"
    files.mkdir()
    with open_source(bundled(SCAN)) as source:
        shape = (*source.header.scan.require_shape(), *source.header.detector_shape)
        np.save(files / "mystery.npy", source.frames(np.arange(source.frame_count)).reshape(shape))
    with real_server(tmp_path / "scans", "--dashboard", "127.0.0.1:0", "--files", str(files)) as one:
        page = opened(one, watched)
        page.get_by_role("button", name="Library", exact=True).click()
        page.get_by_text("open a file").click()
        page.locator("#files").get_by_role("button", name="open", exact=True).click()
        expect(page.locator("#canvas-map-0 .needs")).to_contain_text("needs the energy, the semi-angle, the scan step")
        for label, value in (("energy", "80 kV"), ("semi-angle", "25 mrad"), ("scan step", "0.4 Å")):
            type_into(page, label, value)
        eventually(lambda: page.evaluate(PAINTED) > 1000, 120)
        expect(page.locator("#canvas-map-0 .needs")).to_be_hidden()
        eventually(lambda: agrees(maps(one), right[1]))
    assert watched.complaints == []


@pytest.mark.slow
def test_a_rotation_that_the_header_has_wrong_is_put_right_by_one_click(
    right: tuple[Server, np.ndarray], watched: Watched
) -> None:
    """(b): 90 degrees off; the maps are marked as in doubt until the click."""
    one, wanted = right
    page = opened(one, watched)
    before = one.status()["uid"]
    replay(bundled(SCAN), ReplaySettings(to=one.data, values={"rotation_deg": 90.0}))
    one.wait_for(lambda s: s["uid"] != before and s["state"] == "complete" and s["results"])
    expect(page.locator("[data-text=map_0_badge]")).to_have_text("rotation in doubt")
    expect(page.locator("[data-text=map_3_badge]")).to_have_text("")
    expect(page.locator("[data-text=doubt]")).to_contain_text("given: 90.0°, the data say")
    wrong = maps(one)
    page.locator(".doubt").get_by_role("button", name="use").click()
    eventually(lambda: abs(one.status()["calibration"]["rotation_deg"]["value"]) < 2)
    expect(page.locator(".doubt")).to_be_hidden()
    eventually(lambda: agrees(maps(one), wanted))
    assert not agrees(wrong, wanted)
    assert watched.complaints == []


def forty(folder: Path, recording: Path, results: Path) -> list[Path]:
    """Forty recordings an hour apart, every fifth refined; the newest refined one is the 36th."""
    made = []
    for i in range(40):
        path = folder / f"scan{i:02d}.h5"
        shutil.copy(recording, path)
        if i % 5 == 0:
            shutil.copy(results, folder / f"scan{i:02d}_results.h5")
        os.utime(path, (1.79e9 + 3600 * i,) * 2)
        made.append(path)
    return made


@pytest.mark.slow
def test_of_forty_scans_the_third_oldest_refined_one_is_found_compared_and_downloaded(
    right: tuple[Server, np.ndarray], tmp_path: Path, watched: Watched
) -> None:
    """(d)."""
    source, _ = right
    before = source.status()["uid"]
    replay(bundled(SCAN), ReplaySettings(to=source.data))
    status = source.wait_for(lambda s: s["uid"] != before and s["state"] == "complete" and s["results"])
    source.call("refine", preset={"epoch_max": 2, "sweeps": 2, "probe_modes": 1, "num_slices": 1})
    source.wait_for(lambda s: s["refinement"]["state"] == "done")
    made = forty(tmp_path, Path(status["recording"]), Path(status["results"]))
    with real_server(tmp_path, "--dashboard", "127.0.0.1:0") as one:
        page = opened(one, watched)
        page.get_by_role("button", name="Library", exact=True).click()
        expect(page.locator("[data-text=library_page]")).to_have_text("1 to 24")
        page.get_by_role("button", name="older ›").click()
        expect(page.locator("[data-text=library_page]")).to_have_text("25 to 40")
        page.get_by_label("refined", exact=True).check()
        expect(page.locator("[data-text=library_count]")).to_have_text("8 of 40 scans", timeout=120_000)
        expect(page.locator(".card")).to_have_count(8)
        page.locator(".card").first.get_by_role("button", name="open", exact=True).click()
        expect(page.locator("body")).to_have_attribute("data-view", "session")
        eventually(lambda: one.status()["recording"].endswith("scan35.h5"))
        page.get_by_role("button", name="Library", exact=True).click()
        third = page.locator(".card").nth(5)
        third.get_by_role("button", name="compare", exact=True).click()
        expect(page.locator("[data-text=compare_name]")).to_have_text("scan10 last run")
        expect(page.locator("[data-text=shown_run]")).to_have_text("run1")
        eventually(lambda: page.evaluate(BESIDE) > 1000)
        page.get_by_role("button", name="Library", exact=True).click()
        page.locator(".card").nth(5).get_by_role("checkbox").check()
        page.get_by_role("button", name="download ticked").click()
        links = page.locator("#downloads a")
        expect(links).to_have_count(2)
        with page.expect_download() as download:
            links.first.click()
        assert download.value.suggested_filename == "scan10.h5"
        assert Path(download.value.path()).read_bytes() == made[10].read_bytes()
    assert watched.complaints == []
