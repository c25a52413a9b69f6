"""Every setting of every map, typed by a first-time user below the map of a real scan: the picture changes, or a line
says why not.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from browser_tools import Watched, eventually, pixels, server_with
from playwright.sync_api import Page, expect
from running import Server

from ptylive.engine.imaging.registry import describe, own_methods

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCAN = "au_ac_300kV_parallax"
"""Out of focus: in focus the transfer is nowhere negative, and `tcbf.flip` changes nothing."""
LABELS = {one["name"]: one["label"] for one in describe()}
SHOWN = {"wdd": "wdd_phase"}
"""The map whose panel has the settings of a method that makes several maps."""
CHANGED = "Bokeh.documents[0].get_model_by_name('map_0').renderers[0].data_source.data.image[0]"
NUMBERS = f"() => {{ const shown = {CHANGED}; return [shown.shape, Array.from(shown).slice(0, 4096)]; }}"
TYPED = {
    "idpc": ("highpass_invA = 0.3", "lowpass_invA = 0.2", "lowpass_invA = 3 1/nm"),
    "dpc_iterative": ("iterations = 2", "step = 0.5", "highpass_invA = 0.3", "lowpass_invA = 0.2"),
    "obf": ("upsample = 1.5", "depth_A = 60", "noise = 30"),
    "tcbf": (
        "upsample = 3", "depth_A = 60", "flip = 0", "epsilon = 0.3", "kernel_steps = 0.5", "align_order = 2",
        "align_bin_px = 3", "align_rounds = 1", "align_reference = 1", "align_free = 1",
    ),
    "wdd": ("epsilon = 1", "threshold = 0.3", "depth_A = 60", "crop = 1"),
    "ssb": ("epsilon = 1", "threshold = 0.3", "depth_A = 60", "sidebands = 1", "crop = 0.7"),
}  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server_with(SCAN, tmp_path_factory.mktemp("recordings")) as one:
        yield one


@pytest.fixture(autouse=True)
def _nothing_set(running: Server) -> None:
    running.call("map_settings", values=dict.fromkeys(running.status()["map_settings"]))


def show(page: Page, name: str) -> None:
    chooser = page.locator("[data-panel='0'] .map-choice select").first
    chooser.select_option(LABELS[name])


def write(page: Page, text: str) -> None:
    page.locator("[data-panel='0']").get_by_role("button", name="numbers of map 1").click()
    field = page.locator("[data-panel='0'] input.field")
    field.fill(text)
    field.press("Enter")


def picture(page: Page) -> tuple[tuple[int, ...], np.ndarray]:
    shape, numbers = page.evaluate(NUMBERS)
    return tuple(shape), np.array(numbers)


def differs(page: Page, before: tuple[tuple[int, ...], np.ndarray]) -> bool:
    shape, numbers = picture(page)
    return shape != before[0] or not np.allclose(numbers, before[1], rtol=1e-3, equal_nan=True)


def test_no_setting_is_left_out() -> None:
    typed = {f"{method}.{text.partition(' ')[0]}" for method, texts in TYPED.items() for text in texts}
    assert typed == {name for method in own_methods() for name in method.may_be_set}


@pytest.mark.parametrize("method", TYPED)
def test_every_setting_changes_the_picture_and_goes_back(running: Server, watched: Watched, method: str) -> None:
    page = watched.open(running.status()["dashboard"])
    name = SHOWN.get(method, method)
    show(page, name)
    expect(page.locator("[data-panel='0'] [data-text=map_0_numbers]")).to_have_text("")
    page.wait_for_timeout(1500)
    plain = picture(page)
    for text in TYPED[method]:
        key = text.partition(" ")[0]
        on_screen = pixels(page, "#canvas-map-0")
        write(page, text)
        eventually(lambda key=key: f"{method}.{key}" in running.status()["map_settings"])
        eventually(lambda: differs(page, plain))
        expect(page.locator("[data-panel='0'] [data-text=map_0_numbers]")).to_contain_text(key)
        eventually(lambda before=on_screen: np.abs(pixels(page, "#canvas-map-0") - before).max() > 8)
        write(page, f"{key} = auto")
        eventually(lambda: not differs(page, plain))
    assert running.status()["map_settings"] == {}, "all is back at its default"
    assert watched.complaints == []


@pytest.mark.parametrize(
    ("method", "text", "said"),
    [
        ("wdd", "epsilom = 1", "did you mean 'epsilon'"),
        ("ssb", "crop = 9", "ssb.crop"),
        ("tcbf", "upsample = nine", "tcbf.upsample"),
        ("tcbf", "align_refrence = 1", "did you mean 'align_reference'"),
        ("idpc", "highpass_invA = 3 kV", "idpc.highpass_invA"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(running: Server, watched: Watched, method: str, text: str, said: str) -> None:
    page = watched.open(running.status()["dashboard"])
    show(page, SHOWN.get(method, method))
    write(page, text)
    sentence = page.locator(".sentence")
    expect(sentence).to_contain_text(said)
    assert "\n" not in sentence.inner_text()
    assert running.status()["map_settings"] == {}


@pytest.mark.parametrize("width", [1024, 1280, 1920])
def test_the_field_is_wide_enough_to_type_in(running: Server, watched: Watched, width: int) -> None:
    page = watched.open(running.status()["dashboard"])
    page.set_viewport_size({"width": width, "height": 800})
    show(page, "tcbf")
    page.locator("[data-panel='0']").get_by_role("button", name="numbers of map 1").click()
    field = page.locator("[data-panel='0'] input.field")
    box = field.bounding_box()
    panel = page.locator("[data-panel='0']").bounding_box()
    assert box is not None and panel is not None
    assert box["width"] > 150 and box["x"] + box["width"] <= panel["x"] + panel["width"] + 1
