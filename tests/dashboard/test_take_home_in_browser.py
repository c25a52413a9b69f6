"""The library as a notebook, and files to and from the browser: pictures, print, dropped files."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from browser_tools import SIDE, Watched, eventually, pixels, quadrants, rows_covered
from fake_server import FakeServer, state_payload
from PIL import Image
from playwright.sync_api import Page, expect
from running_dashboard import RunningDashboard

from ptylive.server.wire.messages import array_to_plain

pytestmark = pytest.mark.browser
DAY_S = 86_400.0
CLIPBOARD = """async () => {
  const [item] = await navigator.clipboard.read();
  const bytes = new Uint8Array(await (await item.getType("image/png")).arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}"""
DROP = """name => {
  const data = new DataTransfer();
  data.items.add(new File(["x"], name));
  document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def scan(name: str, time: float, **more: object) -> dict[str, object]:
    plain = {"recording": f"{name}.h5", "series": name, "time": time, "frames": 64, "lost": 0, "shape": [8, 8]}
    return {**plain, **more}


@pytest.fixture
def page(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> Page:
    first, second = 1.79e9, 1.79e9 - 2 * DAY_S
    scans = [scan("c", first, sample="SrTiO3"), scan("b", first - 60), scan("a", second, note="thin")]
    server.replies["history"] = {"scans": scans, "count": 3, "total": 3}
    server.replies["files"] = {"folder": "/data", "count": 1, "files": [{"name": "day/x.mib", "bytes": 1e6, "time": 0}]}
    server.publish("maps", rows_covered(SIDE))
    server.maps_of(adf=quadrants(), obf=quadrants())
    server.publish("state", state_payload(state="complete"))
    page = watched.open(dashboard.url)
    eventually(lambda: pixels(page, "#canvas-map-3").max() > 240)
    return page


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800), (1920, 1080)])
def test_scans_stand_by_days_and_have_a_sample(
    server: FakeServer, page: Page, watched: Watched, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.get_by_role("button", name="Library", exact=True).click()
    days = page.locator("#cards .day")
    expect(days).to_have_count(2)
    expect(days.first).to_contain_text("2 listed")
    expect(days.last).to_contain_text("1 listed")
    boxes = [days.nth(i).bounding_box() for i in range(2)]
    cards = page.locator(".card").first.bounding_box()
    assert cards is not None and boxes[0] is not None and boxes[1] is not None
    assert boxes[0]["y"] < cards["y"] < boxes[1]["y"]
    assert boxes[0]["width"] > 0.8 * min(width, 1000), "a line of its own"
    expect(page.get_by_label("sample of c")).to_have_value("SrTiO3")
    field = page.get_by_label("sample of b")
    field.fill("SrTiO3 lamella 7")
    field.press("Tab")
    eventually(lambda: any("sample" in one for one in server.received("note")))
    (sent,) = (one for one in server.received("note") if "sample" in one)
    assert (sent["recording"], sent["sample"]) == ("b.h5", "SrTiO3 lamella 7")
    assert watched.complaints == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 800), (1920, 1080)])
def test_cards_of_many_scans_hold_all_that_is_in_them(
    server: FakeServer, page: Page, watched: Watched, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    thumbnail = {**array_to_plain(np.arange(64, dtype=np.uint8).reshape(8, 8)), "map": "obf"}
    scans = [scan(f"s{i}", 1.79e9 - 60 * i, thumbnail=thumbnail, runs={"run1": {}}) for i in range(24)]
    server.replies["history"] = {"scans": scans, "count": 24, "total": 24}
    page.get_by_role("button", name="Library", exact=True).click()
    expect(page.locator(".card")).to_have_count(24)
    squeezed = "[...document.querySelectorAll('.card')].filter(e => e.scrollHeight > e.clientHeight + 1).length"
    assert page.evaluate(squeezed) == 0
    first = page.locator(".card").first
    rows = {round(box["y"]) for one in first.locator(".actions button").all() if (box := one.bounding_box())}
    assert len(rows) == 1, "open, refine, beside, replay and delete stand in one row"
    assert watched.complaints == []


@pytest.mark.slow
def test_a_picture_is_copied_as_it_is_shown(page: Page, watched: Watched) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[data-panel='3']").get_by_role("button", name="copy the picture").click()
    expect(page.locator("[data-panel='3'] [data-act=picture]")).to_have_text("✓")
    copied = np.asarray(Image.open(io.BytesIO(base64.b64decode(page.evaluate(CLIPBOARD)))).convert("RGB"), int)
    height, width = copied.shape[:2]
    quarter = min(height, width) // 4
    found = [[copied[height // 2 + r * quarter, width // 2 + c * quarter, 0] for c in (-1, 1)] for r in (-1, 1)]
    assert np.abs(np.array(found) - 255 * np.array([[0, 1], [0.5, 0.25]])).max() < 6
    assert watched.complaints == []


@pytest.mark.slow
def test_a_report_goes_to_the_printer(server: FakeServer, page: Page, watched: Watched, tmp_path: Path) -> None:
    page.add_init_script("window.print = () => { window.top.printed = document.body.textContent; }")
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    report = tmp_path / "0142_report.html"
    report.write_text("<!doctype html><title>report</title><body>scan 0142: maps and values</body>")
    server.replies["report"] = {"files": [str(report)], "path": str(report)}
    page.locator("[data-of=session]").get_by_role("button", name="report").click()
    page.locator("#downloads").get_by_role("button", name="print").click()
    eventually(lambda: page.evaluate("window.printed ?? ''") == "scan 0142: maps and values")
    assert watched.complaints == []


@pytest.mark.slow
def test_a_film_is_shown_on_the_page(server: FakeServer, page: Page, watched: Watched, tmp_path: Path) -> None:
    film = tmp_path / "0142_run1.gif"
    first, second = (Image.new("L", (300, 200), shade) for shade in (40, 200))
    first.save(film, save_all=True, append_images=[second], duration=100)
    server.replies["film"] = {"files": [str(film)], "path": str(film), "run": "run1", "pictures": 2, "epoch": 1}
    page.get_by_role("button", name="Refine", exact=True).click()
    expect(page.locator("#film")).to_be_hidden()
    page.locator("#film-every").fill("2")
    page.locator("#film-every").press("Tab")
    page.locator(".loss").get_by_role("button", name="film", exact=True).click()
    picture = page.locator("#film img")
    expect(picture).to_be_visible()
    eventually(lambda: picture.evaluate("one => [one.naturalWidth, one.naturalHeight]") == [300, 200])
    expect(page.locator("#downloads a")).to_have_attribute("download", "0142_run1.gif")
    page.keyboard.press("Escape")
    expect(page.locator("#film")).to_be_hidden()
    page.locator(".loss").get_by_role("button", name="film", exact=True).click()
    page.get_by_role("button", name="close the film").click()
    expect(page.locator("#film")).to_be_hidden()
    assert watched.complaints == []


def upload_to(server: FakeServer, folder: Path, *, there: bool = False) -> None:
    """The server's view of a file that is about to come, and then of the folder in which it lies."""
    server.replies["upload"] = {"path": str(folder / "grain.mib"), "there": there}
    named = [{"name": "uploads/grain.mib", "bytes": 5, "time": 0}]
    server.replies["files"] = {"folder": str(folder), "count": 1, "files": named, "most_bytes": 2e10}


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_is_dropped_is_brought_and_opened(
    server: FakeServer, page: Page, watched: Watched, tmp_path: Path, there: bool
) -> None:
    """This works in any view; a file that is already in the folder is opened from there."""
    upload_to(server, tmp_path, there=there)
    page.evaluate(DROP, "grain.mib")
    eventually(lambda: bool(server.received("take")))
    asked = server.received("upload")[0]
    assert (asked["file"], asked["size_bytes"]) == ("grain.mib", 1)
    assert server.received("take")[-1]["file"] == "uploads/grain.mib"
    assert [one.read_bytes() for one in tmp_path.iterdir()] == ([] if there else [b"x"])
    expect(page.locator("#upload")).to_be_hidden()
    assert watched.complaints == []


@pytest.mark.slow
def test_a_file_is_chosen_by_a_button_too(server: FakeServer, page: Page, tmp_path: Path) -> None:
    upload_to(server, tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    (own / "grain.mib").write_bytes(b"12345")
    page.get_by_role("button", name="Library", exact=True).click()
    page.locator("summary", has_text="open a file").click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="from this machine").click()
    chosen.value.set_files(own / "grain.mib")
    eventually(lambda: bool(server.received("take")))
    assert (tmp_path / "grain.mib").read_bytes() == b"12345"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1024, 1280, 2560])
def test_why_a_file_is_not_taken_stands_on_the_page(server: FakeServer, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    server.replies["upload"] = {
        "ok": False,
        "error": "no folder is set from which files may be opened",
        "hint": "start with --files DIR",
    }
    page.evaluate(DROP, "grain.mib")
    box = page.locator("#upload")
    expect(box).to_contain_text("no folder is set from which files may be opened")
    found = box.bounding_box()
    assert found is not None and found["x"] >= 0 and found["x"] + found["width"] <= width
    box.get_by_role("button", name="close").click()
    expect(box).to_be_hidden()
    assert server.received("take") == []


@pytest.mark.slow
def test_a_page_without_rights_sends_nothing(server: FakeServer, dashboard: RunningDashboard, watched: Watched) -> None:
    page = watched.open(f"{dashboard.url}/view")
    page.evaluate(DROP, "grain.mib")
    expect(page.locator("#upload")).to_contain_text("only operators can upload files")
    assert server.received("upload") == []
