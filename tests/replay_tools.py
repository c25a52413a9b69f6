"""Shared by tests of replaying: a small file, and a control socket that knows one command."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import msgpack
import numpy as np
import zmq


def native(path: Path, **attributes: object) -> Path:
    """A small scan in the native layout, 20 x 20 patterns of 16 x 16 pixels."""
    with h5py.File(path, "w") as file:
        file["data"] = np.random.default_rng(1).poisson(3, (20, 20, 16, 16)).astype("<u2")
        file.create_group("metadata").attrs.update({"scan_step_A": 0.5, **attributes})
    return path


@contextmanager
def control_of(
    safe_ranges: Callable[[str], list[tuple[int, int]]], address: str = "tcp://127.0.0.1:*", trouble: str = ""
) -> Iterator[str]:
    """A control socket that supports `received`, and `status` of the scan last asked about, which has a ``trouble``."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.linger = 0
    socket.bind(address)
    stop = threading.Event()

    def serve() -> None:
        uid = ""
        while not stop.is_set():
            if socket.poll(50):
                peer, question = socket.recv_multipart()
                asked = msgpack.unpackb(question)
                reply = {"id": asked["id"], "ok": True, "uid": uid, "recording_error": trouble}
                if asked["command"] == "received":
                    uid = asked["uid"]
                    reply = {**reply, "ranges": safe_ranges(uid)}
                socket.send_multipart([peer, msgpack.packb(reply)])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield str(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    finally:
        stop.set()
        thread.join()
        context.destroy(linger=0)
