"""An address that somebody else has had."""

import time

import zmq


def bind_when_free(server: zmq.Socket[bytes], address: str) -> None:
    """Bind to it; it is free when the other's socket has closed, which happens in another thread."""
    give_up = time.monotonic() + 60
    while True:
        try:
            server.bind(address)
        except zmq.ZMQError:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        else:
            return
