"""Frames per second over the whole way: sender process, tcp loopback, checks, journal, ring, one reader.

    python benchmarks/stream_rate.py [--pixels 64] [--frames 16384] [--codec bslz4] [--basis BASIS] [--no-record]

There are 64 different patterns of about 1000 electrons, uint16, cycled. `durable` is the rate until every frame is
synced to disk, `recorded` until the HDF5 file is finished and read back. With `--basis` frames become coefficients
before they are journalled.
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
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from ptylive.application.stream_compression import StreamCompression
from ptylive.engine.bases.choice import parse_basis
from ptylive.schema import Detector, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.simulators.sender import Sender, SendPatience
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.wire import EndMessage, FramesMessage

DIFFERENT_PATTERNS = 64


def patterns(pixels: int) -> Array:
    """Poisson counts in a bright-field disc of a quarter of the width, about 1000 in each pattern."""
    y, x = np.indices((pixels, pixels)) - pixels / 2
    disc = (np.hypot(y, x) < pixels / 4).astype(float)
    counts = np.random.default_rng(0).poisson(1000 * disc / disc.sum(), (DIFFERENT_PATTERNS, pixels, pixels))
    return counts.astype("<u2")


def bslz4(pattern: Array) -> bytes:
    """One pattern as the bitshuffle/LZ4 filter of HDF5 stores it."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        stored = file.create_dataset("x", data=pattern, chunks=pattern.shape, **hdf5plugin.Bitshuffle(cname="lz4"))
        return bytes(stored.id.read_direct_chunk((0, 0))[1])


def send(address: str, pixels: int, frames: int, codec: str) -> None:
    """The sending process: waits for a line on stdin, then sends one scan from memory."""
    scan = patterns(pixels)
    batch = 32 if codec == "bslz4" else max(1, min(64, 2**20 // scan[0].nbytes))
    parts = [bslz4(pattern) for pattern in scan] if codec == "bslz4" else []
    raw = np.concatenate([scan, scan])
    header = ScanHeader(
        str(uuid.uuid4()), "rate", frames, Scan(shape=(1, frames)), detector=Detector(shape=(pixels, pixels))
    )
    print("ready", flush=True)
    sys.stdin.readline()
    with Sender(address, SendPatience()) as sender:
        sender.arm(header)
        for first in range(0, frames, batch):
            count, k = min(batch, frames - first), first % DIFFERENT_PATTERNS
            if codec == "bslz4":
                payload = tuple(parts[(k + n) % DIFFERENT_PATTERNS] for n in range(count))
                sender.frames(FramesMessage(header.uid, first, count, "bslz4", payload))
            else:
                payload = (raw[k : k + count].data.cast("B"),)
                sender.frames(FramesMessage(header.uid, first, count, "none", payload))
        sender.end(EndMessage(header.uid, frames, "complete"))


def compression_to(basis: str) -> StreamCompression | None:
    """The compression that a server started with this basis applies to frames."""
    choice = parse_basis(basis)
    return None if choice.is_raw else StreamCompression(choice, lambda header: header, lambda level, text: None)


def measure(options: argparse.Namespace, folder: Path | None) -> dict[str, float]:
    """Rates of one scan, frames/s."""
    frames = options.frames
    settings = ReceiverSettings("tcp://127.0.0.1:0", folder, compression=compression_to(options.basis))
    receiver = Receiver(settings, on_event=lambda event: None)
    if not options.plain:
        assert receiver.accelerate()
    reader = receiver.ring.reader()
    reading = threading.Thread(target=lambda: [None for _ in reader])
    reading.start()
    receiver.start()
    arguments = ["--send", receiver.address, "--pixels", options.pixels, "--frames", frames, "--codec", options.codec]
    command = [sys.executable, __file__, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None and sender.stdin is not None
        sender.stdout.readline()
        cpu, started = time.process_time(), time.perf_counter()
        sender.stdin.write("go\n")
        sender.stdin.flush()
        while receiver.status().frames < frames:
            time.sleep(0.002)
        received = time.perf_counter() - started
        cpu = time.process_time() - cpu
        uid = receiver.status().uid
        while receiver.safe_ranges(uid) != [(0, frames)]:
            time.sleep(0.002)
        durable = time.perf_counter() - started
        while receiver.status().state not in ("complete", "failed"):
            time.sleep(0.01)
        recorded = time.perf_counter() - started
    receiver.stop()
    reading.join()
    assert receiver.status().lost == 0
    rates = {"received": frames / received, "receiver_cpu_us": 1e6 * cpu / frames}
    return rates if folder is None else {**rates, "durable": frames / durable, "recorded": frames / recorded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--frames", type=int, default=16384)
    parser.add_argument("--codec", choices=["none", "bslz4"], default="none")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--basis", default="pixels")
    parser.add_argument(
        "--plain", action="store_true", help="without the compiled receive loop, as in the first seconds"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--send", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options.send, options.pixels, options.frames, options.codec)
        return
    runs = []
    for _ in range(options.repeat):
        with tempfile.TemporaryDirectory() as folder:
            target = None if options.no_record else Path(folder)
            runs.append(measure(options, target))
    result = {name: round(float(np.median([run[name] for run in runs])), 1) for name in runs[0]}
    result = {
        "pixels": options.pixels,
        "frames": options.frames,
        "codec": options.codec,
        "basis": options.basis,
        **result,
    }
    if options.json:
        print(json.dumps({**result, "load": os.getloadavg()[0]}))
    else:
        print(
            "  ".join(f"{name} {value:g}" if isinstance(value, float) else str(value) for name, value in result.items())
        )


if __name__ == "__main__":
    main()
