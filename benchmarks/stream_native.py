"""Frames per second of the native stream into the ring, batch by batch: plain loop, compiled loop, and a prototype.

    python benchmarks/stream_native.py [--kinds 96-bslz4,coefficients] [--batches 1,32] [--curve] [--prototype DIR]

A process with a compiled sender (so that the sender is not the limit) pushes one scan after the other over tcp
loopback; a receiver without recording accepts it, and one reader empties the ring. ``--prototype`` gives a folder with
native.py and rx.py of the receiver prototype, measured in turn with ours in the same run. Results are medians,
frames/s.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import uuid
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgpack
import numba as nb
import numpy as np
import zmq
from stream_rate import bslz4, patterns

from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.schema import Basis, Detector, Scan, ScanHeader
from ptylive.schema.model import Array, IndexArray
from ptylive.streamer.fast import libzmq
from ptylive.streamer.fast.memory import COMPILED
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.sockets.security import ClientKeys, ServerKeys
from ptylive.streamer.wire import ArmMessage, encode

KINDS = ("96-raw", "256-raw", "96-bslz4", "256-bslz4", "coefficients")
FRAMES = {"96-raw": 30_000, "256-raw": 4_000, "96-bslz4": 60_000, "256-bslz4": 20_000, "coefficients": 300_000}
COEFFICIENTS = 46
msg_init_size = nb.types.ExternalFunction("zmq_msg_init_size", nb.int32(nb.uintp, nb.uintp))
msg_send = nb.types.ExternalFunction("zmq_msg_send", nb.int32(nb.uintp, nb.uintp, nb.int32))


@nb.jit(**COMPILED)
def send_part(socket: Any, message: Any, data: Any, more: Any) -> Any:
    msg_init_size(message, nb.uintp(data.size))
    libzmq.copy_bytes(nb.uintp(libzmq.msg_data(message)), nb.uintp(data.ctypes.data), nb.uintp(data.size))
    while msg_send(message, socket, nb.int32(2 if more else 0)) < 0:
        error = libzmq.last_error()
        if error not in (libzmq.AGAIN, libzmq.INTERRUPTED):
            return error
    return 0


@nb.jit(**COMPILED)
def send_all(
    socket: Any, headers: Any, header_at: Any, payload: Any, record_at: Any, batch: Any, split: Any, store: Any
) -> Any:
    """Send message m: header m, then ``batch`` records in one part or each in its own; records are cycled.

    store (MESSAGE_WORDS,) uint64: libzmq's message; the caller keeps it.
    """
    message = nb.uintp(store.ctypes.data)
    record, records = 0, record_at.size - 1
    for m in range(header_at.size - 1):
        send_part(socket, message, headers[header_at[m] : header_at[m + 1]], True)
        if split:
            for k in range(batch):
                part = payload[record_at[record] : record_at[record + 1]]
                send_part(socket, message, part, k + 1 < batch)
                record = (record + 1) % records
        else:
            if record + batch > records:
                record = 0
            send_part(socket, message, payload[record_at[record] : record_at[record + batch]], False)
            record += batch
    return 0


@cache
def payload_of(kind: str) -> tuple[Array, IndexArray]:
    """Contiguous records (uint8), the start of each and the end of the last."""
    if kind == "coefficients":
        records = [row.tobytes() for row in np.random.default_rng(0).random((1024, COEFFICIENTS), np.float32)]
    else:
        pixels, codec = kind.split("-")
        scan = np.concatenate([patterns(int(pixels))] * 2)
        records = [bslz4(pattern) if codec == "bslz4" else pattern.tobytes() for pattern in scan]
    ends = np.cumsum([0, *map(len, records)])
    return np.frombuffer(b"".join(records), np.uint8), ends


def header_of(kind: str, frames: int) -> ScanHeader:
    if kind == "coefficients":
        masks = np.zeros((COEFFICIENTS, 4, 4), np.float32)
        basis = Basis(kind="binning", n_bright=COEFFICIENTS - 1, n_dark=1)
        detector = Detector(shape=(4, 4))
        arrays: dict[str, Array] = {"masks": masks}
    else:
        basis, detector, arrays = Basis(), Detector(shape=(int(kind.partition("-")[0]),) * 2), {}
    scan = Scan(shape=(1, frames))
    return ScanHeader(str(uuid.uuid4()), kind, frames, scan, detector=detector, basis=basis, arrays=arrays)


def high_water(kind: str, batch: int) -> int:
    """Number of messages a sender may hold: 64 MiB, as in the prototype."""
    nbytes = 3000 if "bslz4" in kind else int(payload_of(kind)[1][1])
    return max(2, min(1000, 2**26 // (batch * nbytes)))


def send(pipe: Any) -> None:
    """The sending process: (address, kind, batch, header, keys) -> ready; go; next."""
    use_persistent_cache()
    libzmq.load()
    while (job := pipe.recv()) is not None:
        address, kind, batch, header, keys = job
        payload, record_at = payload_of(kind)
        codec = "bslz4" if kind.endswith("bslz4") else "none"
        fields = {"type": "frames", "uid": header.uid, "count": batch, "codec": codec}
        headers = [msgpack.packb({**fields, "seq": m, "first": m * batch}) for m in range(header.frames // batch)]
        context = zmq.Context()
        socket = context.socket(zmq.PUSH)
        socket.sndhwm = high_water(kind, batch)
        if keys is not None:
            ClientKeys.open(Path(keys)).apply(socket)
        socket.connect(address)
        socket.send_multipart(encode(ArmMessage(header)))
        header_at = np.cumsum([0, *map(len, headers)])
        data = np.frombuffer(b"".join(headers), np.uint8)
        pipe.send("ready")
        pipe.recv()
        store = np.zeros(libzmq.MESSAGE_WORDS, np.uint64)
        send_all(socket.underlying, data, header_at, payload, record_at, batch, codec == "bslz4", store)
        socket.close(linger=-1)
        context.term()


def measure(pipe: Any, kind: str, batch: int, *, compiled: bool, keys: Path | None, frames: int) -> tuple[float, float]:
    """Frames/s, and us of CPU time per frame of the receiving process."""
    header = header_of(kind, frames // batch * batch)
    settings = ReceiverSettings("tcp://127.0.0.1:0", keys=None if keys is None else ServerKeys.open(keys))
    receiver = Receiver(settings, on_event=lambda event: None)
    reader = receiver.ring.reader()
    reading = threading.Thread(target=lambda: [None for _ in reader])
    reading.start()
    if compiled:
        assert receiver.accelerate()
    receiver.start()
    pipe.send((receiver.address, kind, batch, header, None if keys is None else str(keys)))
    pipe.recv()
    while receiver.status().state != "armed":
        time.sleep(0.001)
    cpu, started = time.process_time(), time.perf_counter()
    pipe.send("go")
    while receiver.status().state not in ("complete", "aborted"):
        time.sleep(0.01)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    status = receiver.status()
    receiver.stop()
    reading.join()
    assert (status.frames, status.rejected) == (header.frames, {}), status
    return header.frames / seconds, 1e6 * cpu / header.frames


SHIM = """
from stream_native import bslz4, patterns
import numpy as np
def synth_frames(n, size, electrons): return np.concatenate([patterns(size)] * 2)[:n]
def encode(frame, codec): return bslz4(frame), ""
"""


def prototype(folder: Path, kind: str, batch: int, seconds: float) -> dict[str, float]:
    """Rates of the prototype's compiled loop from its own benchmark, in the clear and with CURVE (frames/s)."""
    prototype_kind = "coef46" if kind == "coefficients" else kind
    with TemporaryDirectory() as shims:
        Path(shims, "make_dectris_dump.py").write_text(SHIM)
        path = os.pathsep.join([shims, str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, str(folder / "native.py"), prototype_kind, str(batch), str(seconds)]
        environment = {**os.environ, "PYTHONPATH": path}
        completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        raise SystemExit(completed.stderr)
    row = json.loads(completed.stdout.strip().splitlines()[-1])
    return {"prototype": float(row["nb"].split()[0]), "prototype CURVE": float(row["nb_curve"].split()[0])}


def ours(pipe: Any, kind: str, batch: int, *, seconds: float, repeat: int, keys: Path) -> dict[str, float]:
    """Medians of both loops, measured in turn; with CURVE for the compiled loop only."""
    base = FRAMES[kind] * (min(batch, 8) if kind == "coefficients" else 1)
    frames = max(int(base * seconds), batch)
    ways = {"plain": (False, None), "compiled": (True, None), "compiled CURVE": (True, keys)}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, (compiled, folder) in ways.items():
            runs[name].append(measure(pipe, kind, batch, compiled=compiled, keys=folder, frames=frames))
    rates = {name: float(np.median([rate for rate, _ in row])) for name, row in runs.items()}
    return {**rates, "compiled us": float(np.median([cpu for _, cpu in runs["compiled"]]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--batches", default="1,8,32,128")
    parser.add_argument("--seconds", type=float, default=2.0, help="about how long one run takes")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--prototype", type=Path, metavar="DIR")
    options = parser.parse_args()
    use_persistent_cache()
    with TemporaryDirectory() as folder:
        ServerKeys.open(Path(folder))
        context = multiprocessing.get_context("spawn")
        pipe, sender_pipe = context.Pipe()
        sender = context.Process(target=send, args=(sender_pipe,), daemon=True)
        sender.start()
        for kind in options.kinds.split(","):
            for batch in map(int, options.batches.split(",")):
                row = ours(pipe, kind, batch, seconds=options.seconds, repeat=options.repeat, keys=Path(folder))
                if options.prototype is not None:
                    row |= prototype(options.prototype, kind, batch, options.seconds)
                    row["ratio"] = row["compiled"] / row["prototype"]
                    row["ratio CURVE"] = row["compiled CURVE"] / row["prototype CURVE"]
                shown = {name: float(f"{value:.4g}") for name, value in row.items()}
                print(json.dumps({"kind": kind, "batch": batch, **shown, "load": os.getloadavg()[0]}), flush=True)
        pipe.send(None)
        sender.join()


if __name__ == "__main__":
    main()
