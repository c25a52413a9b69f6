"""A message to ourselves: whether the compiled loop works here, before anything depends on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import zmq

from ptylive.schema import Arm, Detector, PtyliveError, Scan
from ptylive.streamer.progress import ScanProgress
from ptylive.streamer.wire import FramesMessage, encode

if TYPE_CHECKING:
    from ptylive.streamer.fast.receive import CompiledLoop

_PATTERN = np.arange(16, dtype="<u2").reshape(4, 4)
_TIMEOUT_MS = 5000


def probe(loop: CompiledLoop) -> None:
    """Receive four patterns of 4 x 4 pixels through a socket of its own. Raises PtyliveError when they differ."""
    arm = Arm("probe", "probe", 4, Scan(shape=(1, 4)), detector=Detector(shape=(4, 4)))
    progress = ScanProgress(arm)
    context = zmq.Context()
    try:
        receiver, sender = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        receiver.setsockopt(zmq.RCVTIMEO, _TIMEOUT_MS)
        receiver.bind("inproc://probe")
        sender.connect("inproc://probe")
        loop.expect("none")
        loop.follow(progress, keep_coded=False)
        for first in (2, 0):
            payload = np.stack([_PATTERN + first, _PATTERN + first + 1]).tobytes()
            sender.send_multipart(encode(FramesMessage("probe", first, 2, "none", (payload,))))
        got: dict[int, bytes] = {}
        while len(got) < arm.frames:
            loop.receive(receiver)
            if (block := loop.take()) is None:
                break
            got.update(zip(block.index.tolist(), (frame.tobytes() for frame in block.frames), strict=True))
    finally:
        context.destroy(linger=0)
    if got != {n: (_PATTERN + n).tobytes() for n in range(arm.frames)}:
        raise PtyliveError("the compiled receive loop does not work here", "the plain one is used")
