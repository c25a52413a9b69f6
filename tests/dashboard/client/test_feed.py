"""The feed: the latest value wins, late joining, silence and return."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from fake_server import FakeServer, map_payload, state_payload

from ptylive.dashboard.client.feed import GONE_AFTER_S, Feed, FeedView
from ptylive.dashboard.client.state import ServerState, after_restart
from ptylive.server.wire.messages import array_to_plain


@pytest.fixture
def feed(server: FakeServer) -> Iterator[Feed]:
    listening = Feed(server.control)
    listening.start()
    yield listening
    listening.stop()


def until(feed: Feed, condition: Callable[[FeedView], bool], timeout_s: float = 60.0) -> FeedView:
    """The first view that fulfils a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition(feed.view()):
        assert time.monotonic() < deadline, feed.view()
        time.sleep(0.01)
    return feed.view()


def full(value: float) -> np.ndarray:
    return np.full((8, 8), value, dtype=np.float32)


def test_a_late_joiner_gets_everything(server: FakeServer, feed: Feed) -> None:
    server.maps["bf"] = map_payload("bf", full(2.0))
    server.refinement = {"uid": "scan-1", "run": "r", "state": "done", "losses": [2.0, 1.0]}
    feed.stop()
    late = Feed(server.control)
    late.watch("page", {"bf"})
    late.start()
    try:
        view = until(late, lambda v: "bf" in v.pictures and v.refinement is not None)
        assert view.connected
        assert view.state.series == "0142"
        assert view.refinement is not None
        assert view.refinement.losses == [2.0, 1.0]
    finally:
        late.stop()


def test_the_newest_map_wins_and_versions_grow(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    until(feed, lambda v: v.connected)
    for value in range(200):
        server.publish("maps", map_payload("bf", full(float(value))))
    view = until(feed, lambda v: "bf" in v.pictures and v.pictures["bf"].data[0, 0] == 199.0)
    version = view.pictures["bf"].version
    assert version < 100, "maps that nobody could see were prepared"
    server.publish("maps", map_payload("bf", full(1.0)))
    view = until(feed, lambda v: v.pictures["bf"].data[0, 0] == 1.0)
    assert view.pictures["bf"].version > version


def test_only_watched_maps_are_prepared(server: FakeServer, feed: Feed) -> None:
    until(feed, lambda v: v.connected)
    server.maps_of(bf=full(1.0), adf=full(2.0))
    view = until(feed, lambda v: v.is_coming("bf") and v.is_coming("adf"))
    assert not view.pictures
    feed.watch("page", {"adf"})
    view = until(feed, lambda v: "adf" in v.pictures)
    assert set(view.pictures) == {"adf"}
    feed.watch("page", ())
    server.maps_of(adf=full(3.0))
    until(feed, lambda v: not v.pictures)


def test_the_server_is_told_what_pages_show(server: FakeServer, feed: Feed) -> None:
    def told(maps: list[str] | None) -> None:
        deadline = time.monotonic() + 60
        while not (said := server.received("watch")) or said[-1]["maps"] != maps:
            assert time.monotonic() < deadline, said
            time.sleep(0.01)

    until(feed, lambda v: v.connected)
    assert not server.received("watch"), "without pages there is nothing to say"
    feed.watch("page", {"dpc", "bf"})
    told(["bf", "com_col", "com_row"])
    feed.watch("other", {"obf", "bf"})
    told(["bf", "com_col", "com_row", "obf"])
    feed.watch("page", ())
    feed.watch("other", ())
    told(None)


def test_a_new_scan_forgets_the_old_one(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    server.maps_of(bf=full(1.0))
    until(feed, lambda v: "bf" in v.pictures)
    server.maps.clear()
    server.publish("state", state_payload(uid="scan-2", series="0143", frames=0))
    view = until(feed, lambda v: v.state.uid == "scan-2")
    assert not view.pictures
    assert not view.is_coming("bf")


def test_results_of_the_scan_before_do_not_hide_the_present_one(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    server.maps_of(bf=full(1.0))
    until(feed, lambda v: "bf" in v.pictures)
    server.publish("state", state_payload(uid="scan-2", frames=64))
    server.publish("maps", map_payload("bf", full(2.0), uid="scan-2"))
    until(feed, lambda v: "bf" in v.pictures and v.pictures["bf"].data[0, 0] == 2.0)
    server.publish("maps", map_payload("bf", full(1.5), uid="scan-1"))
    server.publish("maps", map_payload("adf", full(1.5), uid="scan-1"))
    server.publish("maps", map_payload("tcbf", full(2.0), uid="scan-2"))
    view = until(feed, lambda v: "tcbf" in v.available)
    assert (view.state.uid, view.pictures["bf"].data[0, 0]) == ("scan-2", 2.0)
    assert "adf" not in view.available


def test_an_earlier_scan_that_is_opened_shows_again(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    for uid, value in (("scan-1", 1.0), ("scan-2", 2.0), ("scan-1", 3.0)):
        server.publish("state", state_payload(uid=uid))
        until(feed, lambda v, uid=uid: v.state.uid == uid)
        server.publish("maps", map_payload("bf", full(value), uid=uid))
        until(feed, lambda v, value=value: "bf" in v.pictures and v.pictures["bf"].data[0, 0] == value)


def test_coverage_marks_what_is_unvisited(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    server.maps_of(bf=full(1.0))
    until(feed, lambda v: "bf" in v.pictures)
    coverage = np.zeros((64, 64), dtype=bool)
    coverage[:32] = True
    server.publish("maps", map_payload("coverage", coverage))
    view = until(feed, lambda v: not v.pictures["bf"].complete)
    assert (view.pictures["bf"].indexed[4:] == 0).all()
    assert (view.pictures["bf"].indexed[:4] > 0).all()


def test_silence_is_noticed_and_the_picture_stays(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    server.maps_of(bf=full(1.0))
    until(feed, lambda v: "bf" in v.pictures)
    server.close()
    view = until(feed, lambda v: not v.connected)
    assert "bf" in view.pictures
    assert view.last_contact == pytest.approx(time.time(), abs=10)
    again = FakeServer(server.control)
    try:
        again.maps["bf"] = map_payload("bf", full(5.0))
        view = until(feed, lambda v: v.connected and v.pictures["bf"].data[0, 0] == 5.0)
    finally:
        again.close()


def test_a_restarted_receiver_takes_no_picture_from_the_page(server: FakeServer, feed: Feed) -> None:
    """Regression: until the journal was read, the page said that it was waiting for the first scan."""
    feed.watch("page", {"bf"})
    server.maps_of(bf=full(1.0))
    until(feed, lambda v: "bf" in v.pictures)
    nothing = {"uid": "", "series": "", "state": "waiting", "restarts": 1}
    server.publish("state", state_payload(**nothing, recovering=True, message="restarted"))
    view = until(feed, lambda v: v.state.state == "restarting")
    assert (view.state.uid, view.state.series, view.state.message) == ("scan-1", "0142", "restarted")
    assert "bf" in view.pictures
    server.publish("state", state_payload(restarts=1))
    until(feed, lambda v: v.state.state == "scanning")
    server.publish("state", state_payload(**nothing))
    view = until(feed, lambda v: v.state.state == "waiting")
    assert view.state.series == "0142", "what was not recorded cannot be recovered, but its picture can stay"
    assert "bf" in view.pictures


def test_a_scan_that_had_ended_stays_complete_when_the_receiver_is_restarted() -> None:
    before = ServerState(state="complete", uid="scan-1", series="0142")
    restarted = ServerState(uid="", restarts=1, recovering=True)
    assert after_restart(before, restarted).state == "complete"
    assert after_restart(before, ServerState(uid="")).uid == "", "a server that was started anew has no scan"
    assert after_restart(ServerState(), restarted).state == "waiting"


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_is_set_neither_hides_a_silence_nor_makes_one(
    server: FakeServer, feed: Feed, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Regression: set forward, the server was called lost; set back, its silence went unnoticed for hours."""
    until(feed, lambda v: v.connected)
    feed.stop()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600 * hours)
    asked: list[str] = []
    client = SimpleNamespace(call=lambda command: asked.append(command) or {})
    feed._snapshot_due = None
    feed._keep_contact(client, linked=True)
    assert feed.view().connected and not asked
    feed._heard_at -= GONE_AFTER_S
    feed._keep_contact(client, linked=True)
    assert not feed._listening and asked == ["snapshot"]


def test_events_lost_at_the_end_of_a_scan_are_fetched(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    server.maps_of(bf=full(1.0))
    until(feed, lambda v: "bf" in v.pictures)
    server.maps["bf"] = map_payload("bf", full(9.0))
    server.publish("state", state_payload(state="complete", frames=4096))
    until(feed, lambda v: v.pictures["bf"].data[0, 0] == 9.0)


def test_events_lost_before_the_first_one_heard_are_fetched() -> None:
    """Commands may be answered before events are connected again: the first event requests everything once more."""
    feed = Feed("tcp://127.0.0.1:9")
    feed._show(connected=True, last_contact=time.time())
    feed._snapshot_due = None
    feed._take_all([("state", state_payload())])
    assert feed._snapshot_due == 0.0
    feed._snapshot_due = None
    feed._take_all([("state", state_payload())])
    assert feed._snapshot_due is None


def test_refinement_pictures_of_another_run_are_dropped(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"object", "probe"})
    until(feed, lambda v: v.connected)
    phase = {**array_to_plain(full(0.1)), "sampling_A": 0.2}
    probe = {**array_to_plain(np.ones((2, 8, 8), np.complex64)), "sampling_A": [0.2, 0.2]}
    server.publish("refinement", {"run": "r1", "state": "running", "object": phase, "probe": probe})
    view = until(feed, lambda v: len(v.pictures) == 2)
    assert view.pictures["object"].units == "rad"
    assert view.pictures["object"].pixel == (0.2, 0.2)
    server.refinement = None
    server.publish("refinement", {"run": "r2", "state": "queued"})
    until(feed, lambda v: not v.pictures)


def test_nonsense_is_survived(server: FakeServer, feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    feed.watch("page", {"bf"})
    until(feed, lambda v: v.connected)
    server.publish("log", {"level": "warning", "message": ["not", "text"]})
    server.publish("refinement", {"losses": "none"})
    server._outbox.append(("maps", {"name": "bf", "shape": [8, 8], "dtype": "<f4", "data": b"short"}))
    server._outbox.append(("maps", {"shape": [1]}))
    server.maps_of(adf=full(1.0))
    server.maps_of(bf=full(1.0))
    until(feed, lambda v: "bf" in v.pictures)
    assert "could not be read" in caplog.text


def shows(server: FakeServer, uid: str, value: float, state: str = "complete") -> None:
    """The server shows another scan: its maps are part of the snapshot and are not published again."""
    server.maps = {"bf": map_payload("bf", full(value), uid=uid)}
    server.publish("state", state_payload(uid=uid, series=uid, state=state))


def test_a_scan_that_is_opened_again_brings_its_maps(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    shows(server, "scan-1", 1.0)
    until(feed, lambda v: "bf" in v.pictures)
    for uid, value in (("scan-2", 2.0), ("scan-1", 1.0), ("scan-2", 2.0)):
        shows(server, uid, value)
        view = until(feed, lambda v, value=value: "bf" in v.pictures and v.pictures["bf"].data[0, 0] == value)
        assert view.state.uid == uid


def test_maps_that_were_told_before_their_scan_was_known_are_asked_for(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"bf"})
    shows(server, "scan-1", 1.0)
    until(feed, lambda v: "bf" in v.pictures)
    shows(server, "scan-2", 2.0)
    until(feed, lambda v: v.state.uid == "scan-2" and "bf" in v.pictures)
    again = map_payload("bf", full(1.0), uid="scan-1")
    server.publish("maps", again)  # in the order used by the command open: first the maps, then the state
    shows(server, "scan-1", 1.0)
    view = until(feed, lambda v: v.state.uid == "scan-1" and "bf" in v.pictures)
    assert view.pictures["bf"].data[0, 0] == 1.0


def test_a_deviation_of_an_earlier_state_of_a_run_is_dropped(server: FakeServer, feed: Feed) -> None:
    feed.watch("page", {"object", "object_deviation"})
    until(feed, lambda v: v.connected)
    phase = {**array_to_plain(full(0.1)), "sampling_A": 0.2, "deviation": 0.02}
    told = {"run": "r1", "state": "done", "object": phase, "object_deviation": phase}
    server.publish("refinement", told)
    view = until(feed, lambda v: len(v.pictures) == 2)
    assert (view.pictures["object"].deviation, view.pictures["object"].at_least) == (0.02, False)
    bound = {**phase, "deviation_is_lower_bound": True}
    server.publish("refinement", {"run": "r1", "state": "running", "object": bound})
    until(feed, lambda v: "object_deviation" not in v.pictures and v.pictures["object"].at_least)
