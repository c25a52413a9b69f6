"""Looking back at earlier scans, and overlaying a new scan on the previous one."""

import json
from concurrent.futures import Future
from typing import Any

import numpy as np
from fake_server import map_payload, state_payload

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.past import PastScans
from ptylive.dashboard.pictures import OVERWRITING, RawPicture, Surroundings, prepare, sources_of
from ptylive.dashboard.requests import Request


class CommandSender:
    """Answers at once as a server would."""

    def __init__(self, replies: dict[str, dict[str, Any]]) -> None:
        self.replies = replies
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def submit(self, command: str, **arguments: Any) -> Future[dict[str, Any]]:
        self.sent.append((command, arguments))
        future: Future[dict[str, Any]] = Future()
        future.set_result(self.replies[command])
        return future


def live() -> FeedView:
    state = ServerState.model_validate(state_payload(uid="now"))
    return FeedView(state=state, connected=True, available=frozenset({"obf", "tcbf"}))


def test_a_viewer_goes_back_and_returns() -> None:
    listed = [{"uid": uid, "series": uid, "time": 1.0} for uid in ("now", "last", "first")]
    maps = [map_payload("obf", np.eye(8, dtype=np.float32)), map_payload("coverage", np.ones((8, 8), dtype=bool))]
    recent = {"state": state_payload(uid="first", series="0140"), "maps": maps}
    sender = CommandSender({"scans": {"scans": listed}, "snapshot": recent})
    orders = Orders(sender)
    past = PastScans(orders)
    past.follow(live())
    orders.collect()
    assert past.lists() == {"past": {"most": 2, "back": 0}}, "the present scan is not a past one"
    assert past.view(live(), ["obf"]).available == {"obf", "tcbf"}

    past.choose(Request(what="past", numbers=[2]))
    orders.collect()
    assert sender.sent[-1] == ("snapshot", {"uid": "first"})
    seen = past.view(live(), ["obf", "tcbf"])
    assert seen.pictures["obf"].data.shape == (8, 8)
    assert "tcbf" not in seen.pictures, "nothing of the present scan is taken for the past one"
    assert past.texts()["past"].startswith("0140 ")
    assert past.marks() == {"past": "on"}
    assert past.lists()["past"]["back"] == 2
    again = past.view(live(), ["obf"]).pictures["obf"]
    assert again.version == seen.pictures["obf"].version, "drawn once"

    past.choose(Request(what="past", numbers=[0]))
    assert not past.looking_back
    assert past.texts() == {"past": "newest"}


def test_a_scan_that_is_no_longer_kept_is_left() -> None:
    listed = [{"uid": "last", "series": "last", "time": 1.0}]
    sender = CommandSender({"scans": {"scans": listed}, "snapshot": {"state": state_payload(uid="last"), "maps": []}})
    orders = Orders(sender)
    past = PastScans(orders)
    past.follow(live())
    orders.collect()
    past.choose(Request(what="past", numbers=[1]))
    orders.collect()
    sender.replies["scans"] = {"scans": []}
    other = ServerState.model_validate(state_payload(uid="next"))
    past.follow(FeedView(state=other, connected=True))
    orders.collect()
    assert json.dumps(past.lists()) == '{"past": {"most": 0, "back": 0}}'


def test_a_new_scan_is_drawn_over_the_one_before() -> None:
    old, new = np.full((4, 4), 5.0, np.float32), np.full((4, 4), 1.0, np.float32)
    half = np.zeros((4, 4), dtype=bool)
    half[:2] = True
    around = Surroundings(coverage=half, before={"bf": RawPicture("bf", old)})
    wanted = f"bf{OVERWRITING}"
    assert sources_of(wanted) == ("bf",)
    picture = prepare(RawPicture("bf", new), 1, around, wanted=wanted)
    assert picture.name == wanted
    assert picture.complete
    assert picture.data[:2].max() == 1.0
    assert picture.data[2:].min() == 5.0
    fresh = prepare(RawPicture("bf", new), 1, around, wanted="bf")
    assert not fresh.complete
    other_size = prepare(
        RawPicture("bf", new[:, :3]), 1, Surroundings(half[:, :3], before=around.before), wanted=wanted
    )
    assert not other_size.complete, "a scan of another size starts afresh"
