"""Positions/s of a coefficient stream into live maps: sender process, tcp loopback, checks, ring, live engine.

    python benchmarks/coefficient_rate.py [--scan 256] [--scans 16] [--batch 64] [--methods bf,com,idpc] [--record]

Each position has 45 + 1 float32 coefficients (Zernike), no extras; scans follow one another. Maps are made at
``--refresh`` per second (5) while positions arrive, filters in the background; the rate counts until the last position
is in its engine. With --record every scan is journalled, and its file made and read back at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import zmq
from threadpoolctl import threadpool_limits

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.bases.choice import make_basis, parse_basis
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.live.engine import LiveEngine
from ptylive.schema import Detector, FrameBatch, Optics, Scan, ScanHeader
from ptylive.streamer.events import ArmEvent
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.wire import ArmMessage, EndMessage, encode

PIXELS, RADIUS = 64, 13.0


def announced(side: int) -> ScanHeader:
    """A new square scan compressed to 45 + 1 Zernike masks."""
    field = DetectorField((31.5, 31.5), RADIUS, np.ones((PIXELS, PIXELS), bool))
    compressor = replace(Compressor(make_basis(parse_basis("zernike:45+1"), field), field), extras=())
    optics = Optics.model_validate({"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0, "defocus_A": 20.0})
    detector = Detector(shape=(PIXELS, PIXELS), pixel_mrad=25.0 / RADIUS, transform_given=True)
    scan = Scan(shape=(side, side), step_A=(0.5, 0.5), rotation_deg=0.0)
    return compressor.described(ScanHeader(str(uuid.uuid4()), "rate", side * side, scan, optics, detector))


def send(address: str, side: int, batch: int, scans: int) -> None:
    """The sending process: waits for a line on stdin, then sends scans as fast as they are accepted."""
    headers = [announced(side) for _ in range(scans)]
    field = np.abs(np.random.default_rng(0).normal(30, 3, (batch, 46))).astype("<f4").tobytes()
    starts = range(0, side * side, batch)
    sizes = [min(batch, side * side - first) for first in starts]
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.setsockopt(zmq.SNDBUF, 4 * 2**20)
        push.connect(address)
        print("ready", flush=True)
        sys.stdin.readline()
        for scan_header in headers:
            header = {"type": "frames", "uid": scan_header.uid, "codec": "none"}
            push.send_multipart(encode(ArmMessage(scan_header)))
            for seq, (first, count) in enumerate(zip(starts, sizes, strict=True)):
                push.send(msgpack.packb({**header, "seq": seq, "first": first, "count": count}), zmq.SNDMORE)
                push.send(field[: 184 * count])
            push.send_multipart(encode(EndMessage(scan_header.uid, scan_header.frames, "complete")))


class Maps(threading.Thread):
    """Feeds one engine after the other and refreshes its maps, as the live thread of a server does."""

    def __init__(self, receiver: Receiver, methods: list[str], refresh_hz: float, positions: int) -> None:
        super().__init__()
        self.reader = receiver.ring.reader()
        self.methods, self.interval, self.positions = methods, 1 / refresh_hz, positions
        self.refreshes, self.refreshing, self.done_at = 0, 0.0, 0.0
        self.background = ThreadPoolExecutor(1)

    def run(self) -> None:
        """Run until every position is in an engine."""
        engine, due, added = None, time.perf_counter() + self.interval, 0
        for item in self.reader:
            if isinstance(item, ArmEvent):
                engine = LiveEngine(item.header, methods=self.methods, background=self.background)
            if not isinstance(item, FrameBatch) or engine is None:
                continue
            engine.add(item)
            added += len(item.index)
            now = time.perf_counter()
            if added == self.positions:
                self.done_at = now
                break
            if now >= due:
                engine.refresh()
                self.refreshes += 1
                self.refreshing += time.perf_counter() - now
                due = now + self.interval
        self.background.shutdown(cancel_futures=True)


def measure(arguments: argparse.Namespace, folder: Path | None) -> dict[str, float]:
    """Rates of some scans."""
    receiver = Receiver(ReceiverSettings("tcp://127.0.0.1:0", folder), on_event=lambda event: None)
    positions = arguments.scan**2 * arguments.scans
    maps = Maps(receiver, arguments.methods.split(","), arguments.refresh, positions)
    maps.start()
    receiver.start()
    options = {
        "--send": receiver.address,
        "--scan": arguments.scan,
        "--batch": arguments.batch,
        "--scans": arguments.scans,
    }
    command = [sys.executable, __file__, *(str(word) for pair in options.items() for word in pair)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None and sender.stdin is not None
        sender.stdout.readline()
        started = time.perf_counter()
        cpu = time.process_time()
        sender.stdin.write("go\n")
        sender.stdin.flush()
        maps.join()
        seconds, cpu = maps.done_at - started, time.process_time() - cpu
    receiver.stop()
    return {
        "positions": positions,
        "positions_per_s": positions / seconds,
        "seconds": seconds,
        "receiver_cpu_share": cpu / seconds,
        "positions_per_cpu_s": positions / cpu,
        "refreshes_per_s": maps.refreshes / seconds,
        "refresh_ms": 1e3 * maps.refreshing / max(maps.refreshes, 1),
        "lost": receiver.status().lost,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=int, default=256)
    parser.add_argument("--scans", type=int, default=16)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--methods", default="bf,com,idpc")
    parser.add_argument("--refresh", type=float, default=5.0)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--send", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        send(arguments.send, arguments.scan, arguments.batch, arguments.scans)
        return
    use_persistent_cache()
    with threadpool_limits(limits=1), tempfile.TemporaryDirectory(prefix="ptylive-rate-") as folder:
        measure(argparse.Namespace(**{**vars(arguments), "scan": 64, "scans": 1}), None)  # compiles
        result = measure(arguments, Path(folder) if arguments.record else None)
    print(json.dumps({**result, "load": os.getloadavg()[0], "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
