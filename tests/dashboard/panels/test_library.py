"""The library lists past scans, and files of a folder that may be opened."""

import base64
import io
import json
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.library import LibraryPanel
from ptylive.dashboard.requests import Request
from ptylive.pictures.colours import ColourMap, palette
from ptylive.schema import CommandError
from ptylive.server.wire.messages import array_to_plain


class Server:
    """Answers at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.files: list[dict[str, Any]] | None = []

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        self.asked.append((command, arguments))
        future: Future[dict[str, Any]] = Future()
        if command == "files" and self.files is None:
            future.set_exception(CommandError("no folder is set from which files may be opened"))
        else:
            files = self.files or []
            future.set_result({"scans": [], "count": len(files), "folder": "/data", "files": files})
        return future


def library() -> tuple[LibraryPanel, Server, Orders, list[str]]:
    server, opened = Server(), list[str]()
    orders = Orders(server)
    return (
        LibraryPanel(orders, lambda: opened.append("session"), lambda: opened.append("refine")),
        server,
        orders,
        opened,
    )


def shown(panel: LibraryPanel, orders: Orders) -> Any:
    panel.follow(FeedView(connected=True), ServerState(), on_show=True)
    orders.collect()
    return json.loads(panel.cards())["files"]


def test_files_are_listed_with_size_and_time() -> None:
    panel, server, orders, _ = library()
    server.files = [{"name": "a.mib", "bytes": 12_300_000, "time": 0.0}]
    listed = shown(panel, orders)
    assert listed["folder"] == "/data"
    assert listed["said"] == "1 scan file, the newest first"
    assert listed["files"][0]["name"] == "a.mib"
    assert listed["files"][0]["text"].startswith("12.3\u2009MB · ")


def test_a_server_without_such_a_folder_offers_nothing() -> None:
    panel, server, orders, _ = library()
    server.files = None
    assert shown(panel, orders) is None


def test_what_is_typed_is_looked_for_at_once() -> None:
    panel, server, orders, _ = library()
    shown(panel, orders)
    panel.match_files(Request(what="files", value="gold"))
    shown(panel, orders)
    assert server.asked[-1] == ("files", {"match": "gold"})


def test_a_note_belongs_to_the_viewed_scan_and_an_answer_to_the_scan_it_was_asked_for() -> None:
    panel, server, _, _ = library()
    for recording in ("/scans/first.h5", "/scans/second.h5"):
        panel.follow(FeedView(connected=True), ServerState(recording=recording), on_show=False)
    assert server.asked == [("note", {"recording": "first.h5"}), ("note", {"recording": "second.h5"})]
    panel.note(Request(what="note", name="first.h5", value="typed on the first"))
    assert server.asked[-1] == ("note", {"text": "typed on the first", "recording": "first.h5"})
    assert panel.lists() == {"note": {"text": "", "of": "second.h5"}}
    panel.note(Request(what="note", name="second.h5", value="thin"))
    assert panel.lists() == {"note": {"text": "thin", "of": "second.h5"}}


def test_opening_a_file_goes_on_to_its_maps() -> None:
    panel, server, orders, opened = library()
    panel.take(Request(what="take", value="in/a.mib"))
    orders.collect()
    assert server.asked == [("take", {"file": "in/a.mib"})]
    assert opened == ["session"]


def test_of_files_that_were_brought_the_one_that_stands_for_the_scan_is_opened() -> None:
    panel, server, orders, opened = library()
    server.files = [{"name": "uploads/a.mib", "bytes": 1, "time": 0.0}, {"name": "b.h5", "bytes": 1, "time": 0.0}]
    panel.take(Request(what="take", key="sent", value="a.hdr\na.mib"))
    orders.collect()
    orders.collect()
    assert server.asked == [("files", {}), ("take", {"file": "uploads/a.mib"})]
    assert opened == ["session"]
    panel.take(Request(what="take", key="sent", value="c.hdr"))
    orders.collect()
    assert orders.sentence == "c.hdr: a file that belongs to it is missing; upload both at once"


def test_what_was_deleted_last_is_taken_back() -> None:
    panel, server, orders, _ = library()
    panel.restore(Request(what="restore"))
    assert server.asked == [], "there is nothing to take back"
    panel.delete(Request(what="delete", name="a.h5"))
    assert panel.marks()["restore"] == "off"
    orders.collect()
    assert panel.marks()["restore"] == "on"
    panel.restore(Request(what="restore"))
    orders.collect()
    assert server.asked[-1] == ("restore", {"recording": "a.h5"})
    assert panel.marks()["restore"] == "off"


@pytest.mark.parametrize(
    ("problem", "reason"),
    [("a.h5: being read", "being read"), ("/data/a.h5: no HDF5 file", "no HDF5 file"), ("disk gone", "disk gone")],
)
def test_a_scan_without_a_card_of_its_own_says_why_below_its_name(problem: str, reason: str) -> None:
    """Regression: name and reason were the title, whose end is cut off, and it stood below no day."""
    card = library()[0]._card({"recording": "a.h5", "time": 0.0, "problem": problem})
    assert (card["title"], card["lines"]) == ("a.h5", [reason])
    assert card["day"].endswith("1970-01-01")


def test_points_that_were_not_scanned_have_their_own_colour_on_a_card() -> None:
    shades = np.array([[1, 255], [0, 0]], np.uint8)
    plain = {**array_to_plain(shades), "map": "bf", "sampling_A": None}
    address = library()[0]._map_thumbnail({"thumbnail": plain})
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))
    assert [tuple(map(int, drawn[row, col])) for row, col in ((0, 0), (0, -1))] == [(0, 0, 0), (255, 255, 255)]
    assert tuple(drawn[-1, 0]) == tuple(int(palette(ColourMap.GRAY)[0][i : i + 2], 16) for i in (1, 3, 5))
