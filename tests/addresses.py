"""Binding to an address that another socket has used before."""

import time

import zmq


def bind_when_free(server: zmq.Socket[bytes], address: str) -> None:
    """Bind to the address, retrying until the previous socket has closed, which happens in another thread."""
    give_up = time.monotonic() + 60
    while True:
        try:
            server.bind(address)
        except zmq.ZMQError:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        else:
            return
