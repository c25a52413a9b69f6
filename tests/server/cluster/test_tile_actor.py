"""Tiles on workers: messages over Dask's own connections, in order; ends for which nobody has to wait."""

import asyncio
import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from ptylive.engine.refine.tiles.links import LinkLost
from ptylive.server.cluster import runner, tile_actor
from ptylive.server.cluster.tile_actor import TileActor, WorkerLink
from ptylive.server.wire.messages import unpack

distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")


@pytest.fixture
def workers():
    """The needed parts of two workers: servers that listen, on one loop."""
    from distributed.core import Server

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def there(wanted):
        return asyncio.run_coroutine_threadsafe(wanted, loop).result(30)

    async def begun():
        server = Server({})
        await server.listen("tcp://127.0.0.1:0")
        return server

    servers = [there(begun()) for _ in range(2)]
    yield [
        SimpleNamespace(
            address=server.address,
            handlers=server.handlers,
            connection_args={},
            loop=SimpleNamespace(asyncio_loop=loop),
        )
        for server in servers
    ]
    for server in servers:
        there(server.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()
    tile_actor._boxes.clear()


def linked(workers, tiles=2):
    """A link for each tile, alternating between the workers."""
    links = [WorkerLink(workers[tile % 2], "run", tile, tiles) for tile in range(tiles)]
    addresses = [workers[tile % 2].address for tile in range(tiles)]
    for link in links:
        link.begin(addresses)
    return links


def test_messages_arrive_in_order_whatever_their_size(workers):
    links = linked(workers, tiles=3)
    rng = np.random.default_rng(0)
    sent = [rng.bytes(size) for size in (1, 3_000_000, 10, 0, 70_000)]
    for message in sent:
        links[0].send(1, message)
        links[0].send(2, message)  # on the same worker
        links[1].send(0, message)
    assert [links[1].receive(0) for _ in sent] == sent
    assert [links[2].receive(0) for _ in sent] == sent
    assert [links[0].receive(1) for _ in sent] == sent
    for link in links:
        link.close()


def test_a_closed_link_wakes_whoever_waits_and_forgets_the_run(workers):
    links = linked(workers)
    threading.Timer(0.05, links[0].close).start()
    for _ in range(2):
        with pytest.raises(LinkLost):
            links[0].receive(1)
    with pytest.raises(LinkLost):
        links[0].send(1, b"")
    assert list(tile_actor._boxes) == [("run", 1)]
    tile_actor._arrived("run", 0, 1, b"late")
    links[1].close()


def test_a_tile_whose_worker_is_not_there_is_lost(workers):
    link = WorkerLink(workers[0], "run", 0, 2)
    link.begin([workers[0].address, "tcp://127.0.0.1:9"])
    link.send(1, b"hello")
    with pytest.raises(LinkLost, match="tile 2 does not respond"):
        link.receive(1)


@pytest.fixture
def actor(workers, monkeypatch):
    monkeypatch.setattr(distributed, "get_worker", lambda: workers[0])
    return lambda tile=0, run="run": TileActor(run, tile, 2)


def test_a_worker_with_another_refinement_is_busy(actor, monkeypatch):
    first, second, other = actor(), actor(1), actor(run="another")
    assert [unpack(one.offer())["busy"] for one in (first, second, other)] == [True] * 3
    other.end()
    assert not unpack(first.offer())["busy"]
    monkeypatch.setattr(runner, "_active", {object()})
    assert unpack(first.offer())["busy"]
    first.end()
    second.end()


def test_states_go_out_in_pieces(actor, monkeypatch):
    monkeypatch.setattr(tile_actor, "PIECE_BYTES", 10)
    one = actor()
    one._run = SimpleNamespace(kept=lambda serial: bytes(range(25)) * serial, end=lambda: None, stop=lambda: None)
    found = b""
    while piece := one.kept(2, len(found)):
        assert len(piece) <= 10
        found += piece
    assert found == bytes(range(25)) * 2
    one.end()


def test_an_actor_that_nobody_holds_ends_its_tile(actor, monkeypatch):
    ended = threading.Event()

    class Endless:
        def __init__(self, part, link, **settings):
            self.settings = settings

        def run(self, tell, begin):
            tell({"kind": "kept", "serial": 1, "begin": begin})
            ended.wait(60)

        def end(self):
            ended.set()

    monkeypatch.setattr(tile_actor, "TileRun", Endless)
    monkeypatch.setattr(tile_actor, "TilePart", SimpleNamespace(of_bytes=bytes))
    one = actor()
    one.put("part", b"half ")
    one.put("part", b"and half")
    one.put("state", b"before")
    one.start(["tcp://127.0.0.1:1"] * 2, 3, "cpu", 10.0)
    heard = []
    while not heard:
        heard = unpack(one.hear())["messages"]
    assert heard == [{"kind": "kept", "serial": 1, "begin": b"before"}]
    assert unpack(one.hear())["messages"] == []
    del one
    gc.collect()
    assert ended.wait(10)
