"""The start map of a refinement and the alignment of bright-field images, typed by a first-time user on a real scan."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from browser_tools import Watched, eventually, server_with
from playwright.sync_api import Page, expect
from running import Server

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCAN = "au_ac_300kV_parallax"
"""Out of focus, so its images are shifted against each other."""
QUICK = {"slices": "1", "epochs": "1", "sweeps": "0", "probe modes": "1"}
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server_with(SCAN, tmp_path_factory.mktemp("recordings")) as one:
        yield one


@pytest.fixture
def form(running: Server, watched: Watched) -> Page:
    """The Refine view, filled in for a short run."""
    running.call("map_settings", values=dict.fromkeys(running.status()["map_settings"]))
    page = watched.open(running.status()["dashboard"])
    page.get_by_role("button", name="Refine", exact=True).click()
    for label, value in QUICK.items():
        write(page, label, value)
    return page


def write(page: Page, label: str, value: str) -> None:
    field = page.locator("[data-of=refine] .setting", has=page.get_by_text(label, exact=True)).locator("input")
    field.fill(value)
    field.blur()


def choose_start(page: Page, name: str) -> None:
    setting = page.locator("[data-of=refine] .setting", has=page.get_by_text("start map", exact=True))
    setting.locator("select").select_option(name)


def refined(running: Server, page: Page) -> dict[str, Any]:
    """Press the button, wait, and return the settings with which the run was made."""
    before = running.status()["refinement"]["run"]
    page.locator("[data-of=refine]").get_by_role("button", name="Refine this scan").click()
    done = running.wait_for(
        lambda s: s["refinement"]["run"] != before and s["refinement"]["state"] in ("done", "failed"), PATIENCE_S
    )
    assert done["refinement"]["state"] == "done", done["refinement"]["message"]
    run = done["refinement"]["run"]
    with h5py.File(done["results"]) as file:
        return dict(json.loads(file[f"refinements/{run}"].attrs["preset"]))


@pytest.mark.parametrize("name", ["obf", "ssb", "wdd_phase", "tcbf", "idpc"])
def test_a_refinement_starts_from_any_map(running: Server, form: Page, watched: Watched, name: str) -> None:
    choose_start(form, name)
    assert refined(running, form)["start_map"] == name
    assert watched.complaints == []


def test_the_start_has_its_modulus_its_settings_and_pixels(running: Server, form: Page) -> None:
    """Settings typed below the shown map apply to it as the start; another start is reported in a line."""
    choose_start(form, "ssb")
    write(form, "others", "start_map_amplitude = true, ssb.crop = 0.7")
    form.locator("[data-of=refine]").get_by_role("button", name="Refine this scan").click()
    sentence = form.locator(".sentence")
    expect(sentence).to_contain_text("ssb.crop = 0.7 is requested, but ssb was made with")
    running.call("map_settings", values={"ssb.crop": 0.7})
    running.wait_for(lambda s: s["state"] == "complete", PATIENCE_S)
    preset = refined(running, form)
    assert (preset["start_map_amplitude"], preset["map_settings"]) == (True, {"ssb.crop": 0.7})
    choose_start(form, "tcbf")
    write(form, "others", "tcbf.upsample = 2")
    running.call("map_settings", values={"tcbf.upsample": 2})
    running.wait_for(lambda s: s["state"] == "complete", PATIENCE_S)
    assert refined(running, form)["map_settings"] == {"tcbf.upsample": 2}


def test_a_refinement_starts_from_files(running: Server, form: Page, tmp_path: Path) -> None:
    for name, image in (("phase", np.zeros((96, 96))), ("modulus", np.ones((48, 48)))):
        np.save(tmp_path / f"{name}.npy", image)
    phase, modulus = tmp_path / "phase.npy", tmp_path / "modulus.npy"
    write(form, "others", f"start_phase_image = {phase}, start_amplitude_image = {modulus}")
    preset = refined(running, form)
    assert (preset["start_phase_image"], preset["start_amplitude_image"]) == (str(phase), str(modulus))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("start_mop = ssb", "start_map"),
        ("obf.nois = 3", "obf.noise"),
        ("start_map_amplitude = true", "start_map_amplitude is set, but obf has no modulus"),
        ("ssb.crop = 0.7", "the refinement starts from obf"),
        ("start_phase_image = /nowhere/phase.npy", "/nowhere/phase.npy"),
    ],
)
def test_a_start_that_cannot_be_is_said_in_a_line(running: Server, form: Page, typed: str, said: str) -> None:
    before = running.status()["refinement"]["run"]
    write(form, "others", typed)
    form.locator("[data-of=refine]").get_by_role("button", name="Refine this scan").click()
    expect(form.get_by_text(said).locator("visible=true").first).to_be_visible(timeout=1e3 * PATIENCE_S)
    state = running.status()["refinement"]
    assert state["run"] == before or state["state"] == "failed"


def test_the_alignment_takes_every_knob(running: Server, watched: Watched) -> None:
    """Other numbers give another picture; anything that is not a number is not sent."""
    page = watched.open(running.status()["dashboard"])
    page.get_by_role("button", name="align bright-field images").click()
    dialog = page.get_by_role("dialog", name="shifts of bright-field images")
    press, said, picture = dialog.get_by_role("button", name="align"), dialog.locator(".said"), dialog.locator("img")
    press.click()
    expect(picture).to_be_visible(timeout=1e3 * PATIENCE_S)
    seen = [picture.get_attribute("src")]
    knobs = [
        lambda: dialog.get_by_label("bin / px").fill("5"),
        lambda: dialog.get_by_label("rounds").fill("1"),
        lambda: dialog.get_by_label("reference").select_option("centre"),
        lambda: dialog.get_by_label("aberrations").select_option("2"),
        lambda: dialog.get_by_label("aberrations").select_option("3"),
        lambda: dialog.get_by_label("search anywhere").check(),
    ]
    for turn in knobs:
        turn()
        press.click()
        eventually(lambda: picture.get_attribute("src") not in (None, seen[-1]), PATIENCE_S)
        seen.append(picture.get_attribute("src"))
        expect(said).to_contain_text("correlation of images")
    expect(dialog.locator("tr")).to_have_count(14)  # a head, twelve aberrations, the rotation
    expect(dialog.locator("tr").nth(1)).to_contain_text("−400 Å")  # in use: as sent
    dialog.get_by_label("bin / px").fill("0")
    press.click()
    assert dialog.get_by_label("bin / px").evaluate("e => !e.validity.valid")
    assert picture.get_attribute("src") == seen[-1]
    dialog.get_by_label("bin / px").fill("")
    dialog.get_by_label("search anywhere").uncheck()
    dialog.get_by_label("aberrations").select_option("1")
    press.click()
    eventually(lambda: picture.get_attribute("src") not in (None, seen[-1]), PATIENCE_S)
    dialog.get_by_role("button", name="use these values").click()
    eventually(lambda: running.status()["calibration"]["C10"]["origin"] == "given")
    assert running.status()["given"]["C10"] == "typed"
    assert watched.complaints == []
