"""Only maps shown by a viewer are renewed at the screen's pace; a newly chosen one appears at once."""

import contextlib
import threading
import time
from collections import Counter

import pytest
import zmq
from running import server

from ptylive.schema import CommandError
from ptylive.server.session.live import REST_INTERVAL_S
from ptylive.server.session.subscriptions import LEASE_S, MOST_MAPS, MOST_VIEWERS, Subscriptions
from ptylive.server.wire.client import EventStream
from ptylive.server.wire.publisher import Publisher
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_wanted_is_the_union_of_what_viewers_show():
    subscriptions = Subscriptions()
    assert subscriptions.wanted() is None
    subscriptions.shows("one", ["obf", "idpc"])
    subscriptions.shows("other", ["bf", "obf"])
    assert subscriptions.wanted() == {"obf", "idpc", "bf"}
    subscriptions.shows("one", [])
    assert subscriptions.wanted() == {"bf", "obf"}
    subscriptions.shows("other", None)
    assert subscriptions.wanted() == frozenset(), "one viewer is left, who shows no map"
    subscriptions.shows("one", None)
    assert subscriptions.wanted() is None


def test_a_silent_viewer_is_forgotten():
    clock = Clock()
    subscriptions = Subscriptions(clock)
    subscriptions.shows("one", ["obf"])
    clock.now = 0.6 * LEASE_S
    subscriptions.shows("other", ["bf"])
    clock.now = 1.1 * LEASE_S
    assert subscriptions.wanted() == {"bf"}
    clock.now = 2 * LEASE_S
    assert subscriptions.wanted() is None


def test_it_remembers_so_many_and_no_more():
    subscriptions = Subscriptions()
    with pytest.raises(CommandError):
        subscriptions.shows("greedy", [f"vd_{k}" for k in range(MOST_MAPS + 1)])
    for k in range(MOST_VIEWERS):
        subscriptions.shows(f"viewer {k}", ["bf"])
    with pytest.raises(CommandError):
        subscriptions.shows("one too many", ["bf"])
    subscriptions.shows("viewer 0", ["obf"])


def test_who_receives_maps_without_a_word_wants_them_all():
    receive = [1]
    subscriptions = Subscriptions(listeners=lambda: receive[0])
    subscriptions.shows("one", ["obf"])
    assert subscriptions.wanted() == {"obf"}
    receive[0] = 2
    assert subscriptions.wanted() is None
    subscriptions.shows("other", ["bf"])
    assert subscriptions.wanted() == {"obf", "bf"}


def test_the_publisher_knows_who_receives_what():
    publisher = Publisher("tcp://127.0.0.1:*")
    address = publisher._socket.last_endpoint.decode()

    def become(count: int, topic: str = "maps") -> None:
        give_up = time.monotonic() + 60
        while publisher.listeners(topic) != count:
            assert time.monotonic() < give_up, publisher.listeners(topic)
            time.sleep(0.01)

    context = zmq.Context()
    with contextlib.closing(publisher):
        sockets = [context.socket(kind) for kind in (zmq.SUB, zmq.SUB, zmq.SUB, zmq.XSUB)]
        for socket, topic in zip(sockets, (b"maps", b"maps", b""), strict=False):
            socket.connect(address)
            socket.setsockopt(zmq.SUBSCRIBE, topic)
        sockets[3].connect(address)
        for said in (b"\1state", b"\1nonsense", b"nonsense", b""):
            sockets[3].send(said)
        become(3)
        sockets[0].setsockopt(zmq.UNSUBSCRIBE, b"maps")
        become(2)
        publisher.publish("maps", {"name": "bf"})
        assert sockets[1].recv_multipart()[0] == b"maps"
        for socket in sockets:
            socket.close(linger=0)
        for topic in ("maps", "state"):  # each socket disappears in its own time
            become(0, topic)
    context.term()


def test_who_subscribes_several_times_counts_once_and_goes_whole():
    publisher = Publisher("tcp://127.0.0.1:*")
    address = publisher._socket.last_endpoint.decode()
    context = zmq.Context()
    with contextlib.closing(publisher):
        often, once = context.socket(zmq.SUB), context.socket(zmq.SUB)
        for socket, topics in ((often, (b"maps", b"maps", b"", b"ma", b"maps")), (once, (b"maps",))):
            socket.connect(address)
            for topic in topics:
                socket.setsockopt(zmq.SUBSCRIBE, topic)
        socket_heard = False
        give_up = time.monotonic() + 60
        while not socket_heard:  # messages of a connection come in order: its last one was received
            assert time.monotonic() < give_up
            publisher.publish("maps", {"name": "bf"})
            socket_heard = bool(often.poll(10)) and bool(once.poll(10))
        assert publisher.listeners("maps") == 2
        often.close(linger=0)
        while publisher.listeners("maps") != 1:
            assert time.monotonic() < give_up, publisher.listeners("maps")
            time.sleep(0.01)
        once.close(linger=0)
    context.term()


@pytest.mark.slow
def test_a_server_renews_what_is_shown_and_brings_what_is_chosen(tmp_path):
    with server(tmp_path) as running, EventStream(running.control, ("maps",), 5000) as events:
        assert running.call("watch", viewer="test", maps=["bf"])["maps"] == ["bf"]
        looked = threading.Event()

        def pace(sent: int, total: int) -> None:
            """Keep the scan going until everything has been looked at, on a slow machine too."""
            looked.wait(0.1)

        settings = ReplaySettings(to=running.data, batch=8)
        sender = threading.Thread(target=replay, args=(bundled("mos2_svac_80kV_focus"), settings, pace))
        began = time.monotonic()
        sender.start()

        def seen_until(enough, shown=None, timeout_s=60.0) -> Counter:
            """Names of maps that arrive; ``shown`` is sent repeatedly, as a viewer does."""
            seen, give_up, renew = Counter(), time.monotonic() + timeout_s, time.monotonic()
            while not enough(seen) and time.monotonic() < give_up:
                if shown and time.monotonic() >= renew:
                    running.call("watch", viewer="test", maps=shown)
                    renew = time.monotonic() + LEASE_S / 5
                event = events.next(0.1)
                if event is not None:
                    seen[event[1]["name"]] += 1
            return seen

        seen = seen_until(lambda names: names["bf"] >= 4, ["bf"])
        assert seen["bf"] >= 4
        if time.monotonic() - began < REST_INTERVAL_S:  # later they are renewed without viewers
            assert not {"obf", "tcbf", "idpc", "wdd_phase"} & set(seen)
        chosen = time.monotonic()
        assert seen_until(lambda names: names["obf"] > 0, ["bf", "obf"])["obf"]
        print(f"a map newly chosen was there after {time.monotonic() - chosen:.2f} s")
        running.call("watch", viewer="test", maps=["bf"])
        with EventStream(running.control, ("maps",), 5000):  # a viewer that does not say what it shows
            assert seen_until(lambda names: names["wdd_phase"] and names["tcbf"])["tcbf"]
        running.call("watch", viewer="test")
        assert seen_until(lambda names: names["wdd_phase"] and names["idpc"])["wdd_phase"], "without viewers all maps"
        looked.set()
        sender.join()
        status = running.wait_for_results()
        assert status["frames"] == 4096
