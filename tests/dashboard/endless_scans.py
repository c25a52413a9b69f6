"""Sender of raw frames, scan after scan of 256 x 256 at a steady rate, in a process of its own until told to end.

    python endless_scans.py ADDRESS FRAMES_PER_S

On SIGTERM the scan is sent to its end, then one line of JSON is written: frames, scans, seconds, behind_s (the largest
delay of a message). This is not `ptylive replay`, which reads a file, whose 65 536 frames would have to be written
first.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from dataclasses import replace

import numpy as np

from ptylive.schema import ScanHeader
from ptylive.simulators.data import bundled
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.sender import Sender
from ptylive.streamer.source import open_source
from ptylive.streamer.wire import EndMessage, FramesMessage

SIDE = 256


def small_scan() -> tuple[ScanHeader, np.ndarray]:
    """A bundled scan and its frames, one array per row: (rows, cols, Qy, Qx)."""
    with open_source(bundled("mos2_svac_80kV_focus")) as file:
        frames = file.frames(np.arange(file.frame_count))
        rows, cols = file.header.scan.require_shape()
        return file.header, frames.reshape(rows, cols, *file.header.detector_shape)


def main(address: str, frames_per_s: float) -> None:
    """Send until told to end."""
    ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ending.append(number))
    source, rows = small_scan()
    scan = source.scan.model_copy(update={"shape": (SIDE, SIDE)})
    sent, scans, behind, began = 0, 0, 0.0, time.monotonic()
    with Sender(address, SendPatience(30.0, 30.0, 120.0)) as sender:
        while not ending:
            header = replace(source, uid=str(uuid.uuid4()), series=f"soak {scans + 1}", frames=SIDE * SIDE, scan=scan)
            sender.arm(header)
            for first in range(0, header.frames, rows.shape[1]):
                late = time.monotonic() - began - sent / frames_per_s
                behind = max(behind, late)
                sender.pause(-late)
                data = rows[first // SIDE % len(rows)]
                part = data.data.cast("B")
                sender.frames(FramesMessage(header.uid, first, len(data), "none", (part,), first // len(data)))
                sent += len(data)
            sender.end(EndMessage(header.uid, header.frames, "complete"))
            scans += 1
    seconds = time.monotonic() - began
    print(json.dumps({"frames": sent, "scans": scans, "seconds": seconds, "behind_s": behind}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
