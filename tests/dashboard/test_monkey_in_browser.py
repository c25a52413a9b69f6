"""Random clicks, texts and keys while scans come in: the page stays alive, without an error here or on the server."""

import random
import re
import threading
from pathlib import Path

import pytest
from browser_tools import Watched, answers, eventually
from playwright.sync_api import Error, Page, expect
from running import Server
from running import server as real_server

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay

pytestmark = pytest.mark.browser
ACTIONS = 80
PATIENCE_MS = 2000
TEXTS = (
    *("12,5", "12.5 mrad", "-", "1e400", " 300 kV", "３００", "nan", "", "4" * 40, "😀", "<b onclick=alert(1)>x</b>"),
    *(
        "-5",
        "0",
        "0.1:0.2",
        "C30 = 1.2 mm",
        "num_slices = 2",
        "auto",
        "5 nm overfocus",
        "a" * 3000,
        "lost",
        "{",
        "[1,2",
    ),
)
KEYS = (
    *("Enter", "Escape", "Tab", "Shift+Tab", "Control+z", "Backspace", "ArrowRight", "Shift+ArrowRight"),
    *("Alt+ArrowRight", "/", "?", "+", "-", "0", *"ftalcmeporsvd159"),
)
VIEWS = ("Session", "Refine", "Tune", "Library")
CONTROLS = "button:visible, input:visible, select:visible, summary:visible, .canvas:visible"
FIELDS = "input[type=text]:visible, input:not([type]):visible"
OF_THE_MACHINE = re.compile("notify|print|upload|load")
"""Buttons that open what belongs to the browser: a printer, a choice of files, a question."""


def act(page: Page, rng: random.Random) -> str:
    """Do something, and describe it; a control that has gone meanwhile is no error."""
    kind = rng.choice(["click"] * 5 + ["type"] * 3 + ["key"] * 2 + ["view", "double"])
    if kind == "key":
        key = rng.choice(KEYS)
        page.keyboard.press(key)
        return f"key {key}"
    if kind == "view":
        page.get_by_role("button", name=rng.choice(VIEWS), exact=True).first.click(timeout=PATIENCE_MS)
        return kind
    found = page.locator(FIELDS if kind == "type" else CONTROLS)
    control = found.nth(rng.randrange(max(1, found.count())))
    name = control.evaluate("e => [e.type, e.dataset.act, e.dataset.name, e.id].join()", timeout=PATIENCE_MS)
    if OF_THE_MACHINE.search(name) or name.startswith("file"):
        return f"left {name}"
    if kind == "type":
        text = rng.choice(TEXTS)
        control.fill(text, timeout=PATIENCE_MS)
        page.keyboard.press(rng.choice(["Enter", "Escape", "Tab", "Control+z"]))
        return f"type {text[:20]!r} into {name}"
    if name.startswith("select"):
        control.select_option(index=rng.randrange(control.locator("option").count()), timeout=PATIENCE_MS)
    else:
        control.click(timeout=PATIENCE_MS, click_count=1 + (kind == "double"))
    return f"{kind} {name}"


def send(one: Server, stop: threading.Event) -> None:
    """Send a few rows of a scan again and again."""
    while not stop.is_set():
        replay(bundled("mos2_svac_80kV_focus"), ReplaySettings(to=one.data, rate=1500.0))
        stop.wait(3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_nothing_that_is_done_to_the_page_is_an_error(tmp_path: Path, watched: Watched, seed: int) -> None:
    print("seed", seed)
    rng, done, stop = random.Random(seed), [], threading.Event()
    with real_server(tmp_path, "--dashboard", "127.0.0.1:0") as one:
        url = one.status()["dashboard"]
        eventually(lambda: answers(url))
        page = watched.open(url)
        sending = threading.Thread(target=send, args=(one, stop))
        sending.start()
        try:
            for _ in range(ACTIONS):
                try:
                    done.append(act(page, rng))
                except Error as error:
                    done.append(f"not possible: {str(error).splitlines()[0]}")
                assert watched.complaints == [], done[-5:]
                assert "internal error" not in page.locator(".sentence").inner_text(), done[-5:]
        finally:
            stop.set()
            sending.join()
        page.evaluate("window.ptylive.ask('set', {name: 'energy_eV', value: 'alive'})")
        expect(page.locator(".sentence")).to_contain_text("'alive' is not a number")
        one.process.terminate()
        assert one.process.wait(120) == 0
        said = one.process.stderr.read()
        assert not re.search("Traceback|ERROR|internal error|refused from", said), (said, done)
