"""`ptylive call`: a slow server is not reported as missing."""

import threading
from collections.abc import Iterator

import msgpack
import pytest
import zmq
from running import ptylive_here

from ptylive.server.cli.commands import call


@pytest.fixture
def slow_server() -> Iterator[str]:
    """Answers `status`, and nothing else."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            if socket.poll(20):
                peer, question = socket.recv_multipart()
                asked = msgpack.unpackb(question)
                if asked["command"] == "status":
                    socket.send_multipart([peer, msgpack.packb({"id": asked["id"], "ok": True})])

    thread = threading.Thread(target=run)
    thread.start()
    yield f"tcp://127.0.0.1:{port}"
    stop.set()
    thread.join()
    context.destroy(linger=0)


def test_a_command_that_takes_long_is_told_as_that(slow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "PATIENCE_S", 0.1)
    done = ptylive_here("call", "arm", "--control", slow_server)
    assert done.returncode == 1
    assert "'arm' was not answered within 0.1 s by the server at " in done.stderr
    assert "no server" not in done.stderr
