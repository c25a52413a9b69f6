"""Frames per second from sparse detectors: as events, and as patterns made of them.

    python benchmarks/event_rate.py [--pixels 256] [--electrons 50] [--frames 16384] [--record]

`reduced`: frames in memory become bins, regions and moments, on one thread, once as events and once as patterns.
`received`: a Timepix3 stream from a separate process over loopback becomes these numbers (and a journal with --record),
as sparse frames (`events`) and as raw packets of single hits with line triggers (`packets`), and so do the same frames
sent as patterns with the native protocol. `_us`: CPU time per frame of the receiving program.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.schema import Detector, EventBatch, EventFrames, FrameBatch, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.simulators.sender import Sender, SendPatience
from ptylive.simulators.timepix3_packets import LineTiming, chunk, edge_word, line_packets
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.protocols.tpx3.chunks import Csr, pack_chunk
from ptylive.streamer.protocols.tpx3.headers import (
    AcquisitionEnd,
    AcquisitionStart,
    ScanEnd,
    ScanStart,
    pack_header,
)
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.timepix3.live import LATE
from ptylive.streamer.timepix3.sensor import Sensor
from ptylive.streamer.wire import EndMessage, FramesMessage

DIFFERENT = 256
LINE = 256
MOST_BINS = 1024


def patterns(options: argparse.Namespace) -> Array:
    """Poisson counts in a bright-field disc of a quarter of the width."""
    y, x = np.indices((options.pixels, options.pixels)) - options.pixels / 2
    disc = (np.hypot(y, x) < options.pixels / 4).astype(float)
    return (
        np.random.default_rng(0).poisson(options.electrons * disc / disc.sum(), (DIFFERENT, *disc.shape)).astype("<u2")
    )


def sparse(frames: Array) -> Csr:
    """The pixels with counts."""
    number, pixels = np.nonzero(frames.reshape(len(frames), -1))
    ends = np.cumsum(np.bincount(number, minlength=len(frames)))
    return Csr(ends, pixels.astype("<u4"), frames.reshape(len(frames), -1)[number, pixels])


def header_of(options: argparse.Namespace) -> ScanHeader:
    """A scan of lines of 256 points."""
    rows = options.frames // LINE
    detector = Detector(shape=(options.pixels, options.pixels))
    return ScanHeader(str(uuid.uuid4()), "rate", rows * LINE, Scan(shape=(rows, LINE)), detector=detector)


def store_for(header: ScanHeader) -> Store:
    """A store for the disc of :func:`patterns`."""
    side = header.detector_shape[0]
    grid = DetectorGrid.of((side, side), (side / 2, side / 2), "none", 1.0)
    return Store(header, PixelReduction.of(grid, side / 4, np.zeros((side, side), dtype=bool), MOST_BINS))


def reduced(options: argparse.Namespace) -> dict[str, float]:
    """Rates on one thread."""
    frames = patterns(options)
    events = sparse(frames)
    header = header_of(options)
    ends = EventFrames(events.ends, events.indices, events.values, header.detector_shape)
    makers: dict[str, Callable[[Any], FrameBatch]] = {
        "events": lambda index: EventBatch(header.uid, index, ends),
        "patterns": lambda index: FrameBatch(header.uid, index, frames),
    }
    rates = {}
    for name, make in makers.items():
        store, times = store_for(header), []
        for first in range(0, header.frames, DIFFERENT):
            started = time.perf_counter()
            store.add(make(np.arange(first, first + DIFFERENT)))
            times.append(time.perf_counter() - started)
        rates[f"reduced_{name}"] = DIFFERENT / float(np.median(times))
    return rates


def send(options: argparse.Namespace) -> None:
    """The sending process: waits for a line on stdin, then sends one scan."""
    frames, header = patterns(options), header_of(options)
    raw = np.concatenate([frames, frames])
    if options.send == "tpx3":
        rows = header.frames // LINE
        start = AcquisitionStart((rows, LINE), header.detector_shape, 4, 4, 1)
        chunk = pack_chunk(sparse(frames), start)
        stream = [pack_header(start) + pack_header(ScanStart(1)), *[chunk] * rows]
        stream.append(pack_header(ScanEnd(1)) + pack_header(AcquisitionEnd(1)))
        with socket.create_server(("127.0.0.1", options.port)) as listener:
            print("ready", flush=True)
            connection, _ = listener.accept()
            sys.stdin.readline()
            for part in stream:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            sys.stdin.readline()
        return
    if options.send == "tpx3-raw":
        sender_of_packets(options, frames, header)
        return
    batch = max(1, min(64, 2**20 // frames[0].nbytes))
    print("ready", flush=True)
    sys.stdin.readline()
    with Sender(f"tcp://127.0.0.1:{options.port}", SendPatience()) as sender:
        sender.arm(header)
        for first in range(0, header.frames, batch):
            part = raw[first % DIFFERENT : first % DIFFERENT + batch].data.cast("B")
            sender.frames(FramesMessage(header.uid, first, batch, "none", (part,)))
        sender.end(EndMessage(header.uid, header.frames, "complete"))


def sender_of_packets(options: argparse.Namespace, frames: Array, header: ScanHeader) -> None:
    """Send raw packets from memory: hits at random times within 10 us, a pulse at trigger input 1 for each line."""
    rng, timing = np.random.default_rng(0), LineTiming.of(10.0, 50.0)
    sensor = Sensor(four=False)
    rows = header.frames // LINE
    lines = [line_packets(frames, row, timing, sensor, rng) for row in range(rows)]
    after = timing.line(rows, LINE) + 2 * LATE
    lines.append(chunk(0, np.array([edge_word("2 fall", after, 0)], dtype="<u8")))
    stream = memoryview(b"".join(lines))
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        print("ready", flush=True)
        connection, _ = listener.accept()
        sys.stdin.readline()
        connection.sendall(stream)
        sys.stdin.readline()


def received(options: argparse.Namespace, protocol: str, folder: Path | None) -> tuple[float, float]:
    """Rate of one scan from a socket into a store, frames/s, and CPU time per frame, us."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    header = header_of(options)
    command = [sys.executable, __file__, "--send", protocol, "--port", str(port), "--frames", str(options.frames)]
    command += ["--pixels", str(options.pixels), "--electrons", str(options.electrons)]
    store = store_for(header)

    def read(reader: Any) -> None:
        for item in reader:
            if isinstance(item, FrameBatch):
                store.add(item)

    def prepare(scan_header: ScanHeader) -> ScanHeader:
        return replace(scan_header, frames=header.frames, scan=header.scan) if protocol == "tpx3-raw" else scan_header

    protocol_settings = ProtocolSettings(protocol, prepare)  # type: ignore[arg-type]
    settings = ReceiverSettings(f"tcp://127.0.0.1:{port}", folder, protocol=protocol_settings)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None and sender.stdin is not None
        if protocol != "native":
            sender.stdout.readline()
        receiver = Receiver(settings, on_event=lambda event: None)
        assert receiver.accelerate()
        reading = threading.Thread(target=read, args=(receiver.ring.reader(),))
        reading.start()
        receiver.start()
        if protocol == "native":
            sender.stdout.readline()
        time.sleep(1)
        busy, started = time.process_time(), time.perf_counter()
        print("go", file=sender.stdin, flush=True)
        while store.total_frames < header.frames:
            time.sleep(0.002)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        print("end", file=sender.stdin, flush=True)
        receiver.stop()
        reading.join()
    assert receiver.status().lost == 0, receiver.status()
    return header.frames / seconds, 1e6 * busy / header.frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--electrons", type=float, default=50)
    parser.add_argument("--frames", type=int, default=16384)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--send", choices=["tpx3", "tpx3-raw", "native"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        send(options)
        return
    rates = reduced(options)
    names = {"tpx3": "received_events", "tpx3-raw": "received_packets", "native": "received_patterns"}
    for protocol, name in names.items():
        runs = []
        for _ in range(options.repeat):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(received(options, protocol, Path(folder) if options.record else None))
        rates[name], rates[f"{name}_us"] = np.median(runs, axis=0).tolist()
    print(
        json.dumps(
            {name: round(rate, 1 if name.endswith("_us") else None) for name, rate in rates.items()}
            | {"load": os.getloadavg()[0]}
        )
    )


if __name__ == "__main__":
    main()
