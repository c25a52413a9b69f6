"""Arguments of a command as typed by a user: sent unchanged, or refused before anything is sent."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from addresses import bind_when_free

from ptylive.schema import CommandError, ServerGoneError
from ptylive.server.wire.client import ControlClient, EventStream
from ptylive.server.wire.messages import events_address, pack, unpack
from ptylive.streamer.sockets.security import ClientKeys, Gate, ServerKeys


@pytest.fixture(scope="module")
def client() -> Iterator[ControlClient]:
    with ControlClient("tcp://127.0.0.1:1", timeout_s=0.01) as one:
        yield one


@pytest.mark.parametrize("name", ["id", "command"])
def test_the_envelopes_own_names_are_refused(client: ControlClient, name: str) -> None:
    with pytest.raises(CommandError, match=f"no command has the argument '{name}'"):
        client.ask("status", {name: "shutdown"})


@pytest.mark.parametrize("name", ["timeout_s", "self", "arguments", "a b"])
def test_other_names_are_sent(client: ControlClient, name: str) -> None:
    with pytest.raises(ServerGoneError):
        client.ask("status", {name: 1})


@pytest.mark.timeout(60)  # rather than the ten minutes of other tests: broken, it waits for an hour
def test_a_wait_ends_when_it_has_become_pointless() -> None:
    """Otherwise a page whose server is gone would end seconds late; the waits given here would outlast the test."""
    stopping = threading.Event()
    with ControlClient("tcp://127.0.0.1:1", timeout_s=3600.0, stopping=stopping) as one:
        threading.Timer(0.05, stopping.set).start()
        with pytest.raises(ServerGoneError, match="no server answers"):
            one.call("snapshot")


def test_a_server_that_is_busy_is_not_taken_for_none() -> None:
    """Regression: "no server answers", and the command was carried out twice by those who repeated it."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        address = f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}"
        stop = threading.Event()

        def answer_status_only() -> None:
            while not stop.is_set():
                if server.poll(50):
                    name, request = server.recv_multipart()
                    asked = unpack(request)
                    if asked["command"] == "status":
                        server.send_multipart([name, pack({"id": asked["id"], "ok": True})])

        answering = threading.Thread(target=answer_status_only)
        answering.start()
        try:
            with ControlClient(address, timeout_s=0.5) as client:
                with pytest.raises(ServerGoneError, match=rf"{address} is busy: it has not answered refine for 0\.2 s"):
                    client.call("refine", timeout_s=0.2)
                assert client.call("status") == {}
        finally:
            stop.set()
            answering.join()


@pytest.fixture
def stranger_first() -> Iterator[tuple[zmq.Context[zmq.Socket[bytes]], zmq.Socket[bytes], str]]:
    """A context, a socket of another program at the address of a server's events, and the server's control address."""
    with zmq.Context() as context, context.socket(zmq.REP) as stranger:
        port = stranger.bind_to_random_port("tcp://127.0.0.1")
        yield context, stranger, f"tcp://127.0.0.1:{port - 1}"


def test_events_come_again_after_another_program_had_the_servers_address(stranger_first) -> None:
    """A page stays open while the server restarts, and its port may have been given away meanwhile."""
    context, stranger, control = stranger_first
    with EventStream(control, topics=("state",)) as events:
        assert events.next(timeout_s=0.5) is None
        stranger.close()
        with context.socket(zmq.PUB) as server:
            bind_when_free(server, events_address(control))
            give_up = time.monotonic() + 60
            while (event := events.next(timeout_s=0.05)) is None and time.monotonic() < give_up:
                server.send_multipart([b"state", pack({"state": "idle"})])
        assert event is not None and event[1] == {"state": "idle"}


def test_what_is_told_arrives_after_another_program_had_the_servers_address() -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as stranger:
        address = f"tcp://127.0.0.1:{stranger.bind_to_random_port('tcp://127.0.0.1')}"
        with ControlClient(address) as client:
            for _ in range(5):
                client.tell("seen")
                time.sleep(0.05)
            stranger.close()
            with context.socket(zmq.ROUTER) as server:
                bind_when_free(server, address)
                give_up = time.monotonic() + 60
                while not server.poll(50) and time.monotonic() < give_up:
                    client.tell("seen")
                assert server.poll(0)


def line_of(address: str, keys: Path | None, expected: str) -> str:
    """The line that a client says; it is asked again while the machine is too busy to let it connect in time."""
    give_up = time.monotonic() + 60
    with ControlClient(address, timeout_s=0.2, keys=keys) as client:
        while True:
            with pytest.raises(ServerGoneError) as gone:
                client.call("status")
            if expected in gone.value.line() or time.monotonic() > give_up:
                return gone.value.line()


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("none", "a server that requires keys (--keys)"),
        ("stranger", "stranger/client.key: copy that file to the folder clients"),
        ("elsewhere", "elsewhere/server.key"),
        ("keys", "busy"),
    ],
)
def test_the_line_says_what_is_wrong_with_the_keys(tmp_path: Path, own: str, expected: str) -> None:
    """A server that admits its own client only, and never answers."""
    keys = ServerKeys.open(tmp_path / "keys")
    (tmp_path / "stranger").mkdir()
    shutil.copy(tmp_path / "keys" / "server.key", tmp_path / "stranger")
    ClientKeys.open(tmp_path / "stranger")
    ServerKeys.open(tmp_path / "elsewhere")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    gate = Gate(context, keys)
    try:
        server = context.socket(zmq.ROUTER)
        gate.protect(server)
        address = f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}"
        folder = None if own == "none" else tmp_path / own
        assert expected in line_of(address, folder, expected)
    finally:
        gate.close()
        context.destroy(linger=0)


def test_a_client_with_keys_is_told_of_a_server_without(tmp_path: Path) -> None:
    ServerKeys.open(tmp_path)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        address = f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}"
        assert "a server without keys" in line_of(address, tmp_path, "a server without keys")
    assert "start one with ptylive serve" in line_of(address, tmp_path, "start one with ptylive serve")
