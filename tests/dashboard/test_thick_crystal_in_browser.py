"""A first-time user with 10 nm of SrTiO3 who knows only energy, semi-angle and scan step: one click on Refine."""

import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from browser_tools import Watched, answers, eventually, pixels
from playwright.sync_api import Page, expect
from running import PATIENCE_S, last_json, ptylive
from running import server as real_server
from scipy import ndimage

from ptylive.streamer.source import open_source

pytestmark = pytest.mark.browser
CRYSTAL = {
    "specimen": "crystal",
    "material": "SrTiO3",
    "thickness_A": 100,
    "slice_thickness_A": 5,
    "energy_eV": 300e3,
    "convergence_semiangle_mrad": 22,
    "defocus_A": 120,
    "rotation_deg": 20,
    "scan_shape": 36,
    "scan_step_A": 0.45,
    "detector_shape": 64,
    "detector_pixel_mrad": 1.4,
    "electrons_per_pattern": 1e6,
}
NEAR_A = 0.35
"""A diagonal of the object's pixel of 0.22 Å, plus a tenth of a degree of rotation at its edge."""
OBJECT = "Bokeh.documents[0].get_model_by_name('object').renderers[0].data_source.data.image[0].length"


def mystery(folder: Path) -> Path:
    """The crystal as a bare array; returns the simulation, whose truth is used at the end only."""
    settings = [word for name, value in CRYSTAL.items() for word in ("--set", f"{name}={value}")]
    made = folder / "simulated.h5"
    last_json(ptylive("simulate", made, "--seed", 11, *settings, "--json"))
    (folder / "files").mkdir()
    with open_source(made) as source:
        shape = (*source.header.scan.require_shape(), *source.header.detector_shape)
        np.save(folder / "files" / "mystery.npy", source.frames(np.arange(source.frame_count)).reshape(shape))
    return made


def columns(phase: np.ndarray, sampling_A: float) -> np.ndarray:
    """Maxima of a projected phase: places (n, 2) in Å relative to its pixel (0, 0)."""
    smooth = ndimage.gaussian_filter(phase, 0.15 / sampling_A)
    highest = ndimage.maximum_filter(smooth, 1 + 2 * round(0.4 / sampling_A))
    return np.argwhere((smooth == highest) & (smooth > 0.1 * smooth.max())) * sampling_A


def true_columns(simulated: Path) -> np.ndarray:
    """Places relative to the first scan point, within the scanned area."""
    with h5py.File(simulated) as file:
        truth = file["truth"]
        positions = truth["positions_A"][()].reshape(-1, 2)
        found = columns(truth["phase"][()], float(truth.attrs["object_sampling_A"]))
    seen = [place for place in found if np.hypot(*(positions - place).T).min() < CRYSTAL["scan_step_A"]]
    return np.array(seen) - positions[0]


def refined_columns(results: Path) -> np.ndarray:
    with h5py.File(results) as file:
        run = file["refinements/run1"]
        slices, attributes = run["object"][0], run["object"].attrs
        phase = np.angle(slices * np.exp(-1j * np.angle(slices.sum(axis=(1, 2), keepdims=True)))).sum(0)
        return columns(phase, float(attributes["sampling_A"][0])) + attributes["origin_A"] - run["positions_A"][0]


def type_into(page: Page, label: str, value: str) -> None:
    # not of the first map: that is the dark field, which needs nothing, once multiple scattering is seen
    page.locator(".needs").get_by_role("button", name=label, exact=True).first.click(timeout=1e3 * PATIENCE_S)
    field = page.locator(".calibration input.field")
    field.fill(value)
    field.press("Enter")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trials and 20 epochs, on a machine that may do ten other things
def test_one_click_shows_every_column_of_a_thick_crystal(tmp_path: Path, watched: Watched) -> None:
    """(c): three values typed, then one click; thickness and slices are shown before the first epoch."""
    simulated = mystery(tmp_path)
    with real_server(tmp_path / "scans", "--dashboard", "127.0.0.1:0", "--files", str(tmp_path / "files")) as one:
        url = one.status()["dashboard"]
        eventually(lambda: answers(url))
        page = watched.open(url)
        page.get_by_role("button", name="Library", exact=True).click()
        page.get_by_text("open a file").click()
        page.locator("#files").get_by_role("button", name="open", exact=True).click()
        for label, value in (("energy", "300 kV"), ("semi-angle", "22 mrad"), ("scan step", "0.45 Å")):
            type_into(page, label, value)
        one.wait_for(lambda s: s["state"] == "complete" and s["results"] and s["scan"]["step_A"])
        checks = page.locator("#checks")
        press = page.locator("[data-of=session]").get_by_role("button", name="Refine this scan")
        expect(press).to_be_enabled()
        expect(checks).to_contain_text("unless trials see depth (depth of focus 41 Å)")

        press.click()
        said = page.locator(".findings [data-text=depth_found]")
        expect(said).to_contain_text(" Å: ", timeout=1e3 * PATIENCE_S)
        told = one.status()["refinement"]
        ends = said.inner_text().split("thickness ")[1].split("\N{NO-BREAK SPACE}Å:")[0]
        thinnest, thickest = (float(end) for end in ends.split(" to "))
        assert thinnest < CRYSTAL["thickness_A"] < thickest
        assert "slices of" in said.inner_text()
        assert told["epoch"] is None or told["epoch"] < 20, "before the run has ended"

        status = one.wait_for(lambda s: s["refinement"]["state"] == "done")
        eventually(lambda: page.evaluate(OBJECT) > 1000)
        time.sleep(1)  # until the last picture has been painted
        shot = pixels(page, "#canvas-object")
        wanted, found = true_columns(simulated), refined_columns(Path(status["results"]))
        apart = np.array([np.hypot(*(found - place).T).min() for place in wanted])
        assert len(wanted) > 60, "of Sr, of Ti with O, and of O alone"
        assert apart.max() < NEAR_A
        assert np.ptp(shot.reshape(-1, 3), axis=0).max() > 150, "and they are on the screen"

        page.locator(".findings").get_by_role("button", name="change").click()
        thickness = page.locator(".setting", has=page.get_by_text("thickness / Å", exact=True)).locator("input")
        expect(thickness).to_be_focused()
        expect(thickness).not_to_have_value("")  # focused by the browser, filled in by the dashboard
        assert thinnest < float(thickness.input_value()) < thickest
    assert watched.complaints == []
