"""Pictures of the dashboard for the documents, taken from the demo in a real browser.

    python tools/screenshots.py [FOLDER] [--data NAME]     default: docs/pictures, mos2_svac_80kV_focus

Needs playwright and Debian's chromium (or another Chromium on the PATH).
"""

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from ptylive.server.cli.commands.demo import free_addresses, wait_for_results
from ptylive.server.cli.commands.refine_now import wait_for_refinement
from ptylive.server.process.config import ServerConfig
from ptylive.server.serve.supervisor import Supervisor
from ptylive.server.wire.client import ControlClient
from ptylive.simulators.data import BUNDLED, bundled
from ptylive.simulators.replay import ReplaySettings, replay

SIZES = {"1280": (1280, 800), "1920": (1920, 1080)}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent.parent / "docs" / "pictures")
    parser.add_argument("--data", default="mos2_svac_80kV_focus", help=f"one of {', '.join(BUNDLED)} or a file")
    options = parser.parse_args()
    source = bundled(options.data) if options.data in BUNDLED else Path(options.data)
    options.folder.mkdir(parents=True, exist_ok=True)
    data, control = free_addresses()
    with tempfile.TemporaryDirectory() as recordings:
        config = ServerConfig(data=data, control=control, dashboard="127.0.0.1:0", record=recordings)
        supervisor = Supervisor(config)
        supervisor.start()
        try:
            take(supervisor, source, options.folder)
        finally:
            supervisor.stop()


def take(supervisor: Supervisor, source: Path, folder: Path) -> None:
    """Open the dashboard in two sizes, run scans and two refinements, and keep a picture of each stage."""
    browser_path = next(path for name in BROWSERS if (path := shutil.which(name)))
    with sync_playwright() as playwright, ControlClient(supervisor.config.control, timeout_s=10.0) as client:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        pages = {}
        for name, (width, height) in SIZES.items():
            pages[name] = browser.new_page(viewport={"width": width, "height": height})
            pages[name].goto(supervisor.dashboard_url)
            pages[name].wait_for_selector("body[data-ready=yes]")
        replay(bundled("au_ac_300kV_parallax"), ReplaySettings(to=supervisor.data_address))
        wait_for_results(client)
        settings = ReplaySettings(to=supervisor.data_address, rate=500.0)
        scan = threading.Thread(target=replay, args=(source, settings))
        scan.start()
        time.sleep(2)
        while client.call("status")["frames"] < 0.62 * max(client.call("status")["expected"], 1):
            time.sleep(0.1)
        time.sleep(0.5)
        keep(pages, folder, "session-scanning")
        scan.join()
        wait_for_results(client)
        client.call("note", text="first grain, before the tilt")
        look_back(pages, folder)
        show_tools(pages, client, folder)
        show_trotters(pages, folder)
        show_refinement(pages, client, folder)
        show_refined_map(pages, folder)
        show_trials(pages, client, folder)
        view(pages, "Library")
        time.sleep(6)
        both_themes(pages, folder, "library")
        browser.close()


def look_back(pages: dict[str, Page], folder: Path) -> None:
    """Show the previous scan, while the newest stays where it is."""
    for page in pages.values():
        page.wait_for_selector("#past:enabled")
        page.locator("#past").fill("0")
    time.sleep(4)
    keep(pages, folder, "session-earlier")
    for page in pages.values():
        page.locator("#past").fill("1")
        page.keyboard.press("Escape")


def show_tools(pages: dict[str, Page], client: ControlClient, folder: Path) -> None:
    """Show the session view with Fourier transform, colour wheel, detectors and profile."""
    status = client.call("status")["calibration"]
    center, radius = status["beam_center_px"]["value"], status["disc_radius_px"]["value"]
    ring = {"name": "ring1", "center_px": center, "inner_px": 1.15 * radius, "outer_px": 2.2 * radius}
    client.call("detectors", detectors=[ring])
    for page in pages.values():
        page.keyboard.press("7")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("1")
        page.keyboard.press("t")
    settle(pages)
    keep(pages, folder, "session")
    press(pages, "p")
    for page in pages.values():
        draw_line(page, "#canvas-map-2")
    press(pages, "d")
    keep(pages, folder, "session-light")
    press(pages, "p")
    press(pages, "d")
    press(pages, "f")
    keep(pages, folder, "full-screen")
    press(pages, "f")


def show_trotters(pages: dict[str, Page], folder: Path) -> None:
    """Show overlaps at the strongest spatial frequency."""
    press(pages, "o")
    time.sleep(4)
    both_themes(pages, folder, "trotters")
    press(pages, "o")


def show_trials(pages: dict[str, Page], client: ControlClient, folder: Path) -> None:
    """Show finished trials of a defocus."""
    client.call("tune", over=["defocus"], trials=24, preset={"probe_modes": 1})
    view(pages, "Tune")
    while client.call("tune_status")["state"] == "running":
        time.sleep(1)
    time.sleep(3)
    keep(pages, folder, "tune-view")


def show_refinement(pages: dict[str, Page], client: ControlClient, folder: Path) -> None:
    """Show two refinements side by side, and one that waits."""
    client.call("refine", preset={"epoch_max": 5, "sweeps": 5})
    wait_for_refinement(client, quiet=True)
    client.call("refine", preset={"epoch_max": 12, "sweeps": 6, "update_probe_pos": 1})
    wait_for_refinement(client, quiet=True)
    view(pages, "Refine")
    time.sleep(3)
    both_themes(pages, folder, "refine")
    for page in pages.values():
        page.get_by_role("button", name="positions").click()
    time.sleep(3)
    keep(pages, folder, "refine-positions")
    for page in pages.values():
        page.get_by_role("button", name="positions").click()
        page.get_by_role("button", name="line", exact=True).click()
        draw_line(page, "#canvas-object")
    time.sleep(3)
    keep(pages, folder, "refine-line")
    for page in pages.values():
        page.get_by_role("button", name="FRC", exact=True).click()
        page.get_by_role("button", name="compare").first.click()
    time.sleep(3)
    keep(pages, folder, "refine-compare")


def show_refined_map(pages: dict[str, Page], folder: Path) -> None:
    """Show the refined object among the maps, the pattern of a point, and a histogram."""
    view(pages, "Session")
    for page in pages.values():
        page.locator("[data-panel='1'] select").first.select_option("refined phase")
        box = page.locator("#canvas-map-0").bounding_box()
        page.mouse.click(box["x"] + 0.48 * box["width"], box["y"] + 0.42 * box["height"])
    time.sleep(3)
    for page in pages.values():
        page.get_by_role("button", name="contrast of panel 3").click()
    time.sleep(2)
    keep(pages, folder, "session-refined")
    for page in pages.values():
        page.keyboard.press("Escape")


def draw_line(page: Page, selector: str) -> None:
    """Click twice on a picture, slowly: two quick clicks are a double click."""
    box = page.locator(selector).bounding_box()
    for x, y in ((0.35, 0.4), (0.65, 0.6)):
        page.locator(selector).click(position={"x": x * box["width"], "y": y * box["height"]})
        time.sleep(1)


def settle(pages: dict[str, Page]) -> None:
    """Wait until every panel shows what was chosen."""
    for page in pages.values():
        page.wait_for_function(
            "() => [0, 1, 2, 3].every(i => !document.querySelector(`[data-text=map_${i}_note]`).textContent)"
        )
    time.sleep(4)


def press(pages: dict[str, Page], key: str) -> None:
    """Press a key, and wait until the page has followed."""
    for page in pages.values():
        page.keyboard.press(key)
    time.sleep(2)


def view(pages: dict[str, Page], name: str) -> None:
    """Show one of the views."""
    for page in pages.values():
        page.get_by_role("button", name=name, exact=True).first.click()


def both_themes(pages: dict[str, Page], folder: Path, name: str) -> None:
    """Keep pictures in the dark and in the light theme."""
    keep(pages, folder, name)
    press(pages, "d")
    keep(pages, folder, f"{name}-light")
    press(pages, "d")


def keep(pages: dict[str, Page], folder: Path, name: str) -> None:
    """Keep one picture per size."""
    for size, page in pages.items():
        page.screenshot(path=str(folder / f"{name}-{size}.png"))


if __name__ == "__main__":
    main()
