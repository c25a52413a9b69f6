"""A receiver that answers `received`, in a process of its own, to be killed; prints its answers.

usage: acknowledging_server.py FOLDER DATA CONTROL plain|compiled
"""

import json
import sys
from pathlib import Path

import msgpack
import zmq

from ptylive.streamer.patience import Patience
from ptylive.streamer.receiver import Receiver, ReceiverSettings


def main() -> None:
    folder, data, control, loop = sys.argv[1:]
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(control)
    receiver = Receiver(ReceiverSettings(data, Path(folder), Patience(10.0, 60.0)), on_event=lambda event: None)
    if loop == "compiled":
        from ptylive.engine.backend.cache import use_persistent_cache

        use_persistent_cache()
        receiver.accelerate()
    receiver.start()
    print(json.dumps({"ready": True}), flush=True)
    while True:
        peer, question = socket.recv_multipart()
        asked = msgpack.unpackb(question)
        ranges = receiver.safe_ranges(asked["uid"])
        print(json.dumps({"uid": asked["uid"], "safe": ranges}), flush=True)  # first: more is printed than received
        socket.send_multipart([peer, msgpack.packb({"id": asked["id"], "ok": True, "ranges": ranges})])


if __name__ == "__main__":
    main()
