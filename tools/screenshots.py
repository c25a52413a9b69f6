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

from ptylive.server.client import ControlClient
from ptylive.server.commands.demo import free_addresses, wait_for_results
from ptylive.server.commands.refine_now import wait_for_refinement
from ptylive.server.config import ServerConfig
from ptylive.server.supervisor import Supervisor
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
    """Open the dashboard in two sizes, run a scan and a refinement, and keep a picture of each stage."""
    browser_path = next(path for name in BROWSERS if (path := shutil.which(name)))
    with sync_playwright() as playwright, ControlClient(supervisor.config.control, timeout_s=10.0) as client:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        pages = {}
        for name, (width, height) in SIZES.items():
            pages[name] = browser.new_page(viewport={"width": width, "height": height})
            pages[name].goto(supervisor.dashboard_url)
        time.sleep(4)
        settings = ReplaySettings(to=supervisor.data_address, rate=500.0)
        scan = threading.Thread(target=replay, args=(source, settings))
        scan.start()
        while client.call("status")["frames"] < 0.62 * max(client.call("status")["expected"], 1):
            time.sleep(0.1)
        time.sleep(0.5)
        keep(pages, folder, "session-scanning")
        scan.join()
        wait_for_results(client)
        time.sleep(2)
        keep(pages, folder, "session")
        client.call("refine")
        wait_for_refinement(client, quiet=True)
        for page in pages.values():
            page.get_by_text("Refine", exact=True).first.click()
        time.sleep(3)
        keep(pages, folder, "refine")
        browser.close()


def keep(pages: dict[str, Page], folder: Path, name: str) -> None:
    """One picture per size."""
    for size, page in pages.items():
        page.screenshot(path=str(folder / f"{name}-{size}.png"))


if __name__ == "__main__":
    main()
