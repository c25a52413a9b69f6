"""Merlin frames next to LiberTEM-live in one run: frames/s and CPU time per frame, from trigger to the last frame.

    python benchmarks/merlin_rate.py [--kinds u16,raw12,raw6,quad] [--rounds 3] [--venv DIR]

LiberTEM-live's own simulator sends a generated `.mib` set from memory to one receiver after the other: they take turns
within a round. LiberTEM-live computes the centre of mass with 2 workers and stores nothing. This program receives,
checks and

- ``frames``: hands the frames on, to be decoded by their consumers, and reduces nothing, stores nothing;
- ``com``: reduces on two threads to moments (the centre of mass), ring sums and bins of the bright field;
- ``maps``: finds disc and centre on its own, reduces to the same, and shows bright field and centre of mass five times
  a second, as a server does: part of this costs the same for a short scan and a long one; stores nothing;
- ``recorded``: the same, with a journal on the disk.

CPU time is that of the receiving program with all its threads and workers; ``sender`` is the simulator's during the
first of these. Without ``--venv`` LiberTEM-live is installed in a temporary environment (takes minutes, requires a
package index).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from beside_libertem import Made, Reducing, cores, described, free_port, get_ready, libertem_python, process

from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.accumulation.reduction import PixelReduction
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.live.engine import LiveEngine
from ptylive.schema import ScanHeader
from ptylive.schema.model import Array
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.protocols.merlin.control import MerlinControl
from ptylive.streamer.protocols.simplon import DetectorError
from ptylive.streamer.receiver import Receiver, ReceiverSettings

DIFFERENT = 64
ELECTRONS = 1000
WAYS = ("frames", "com", "maps", "recorded")
MOST_BINS = 1024
LIBERTEM = """
import json, sys, time
from libertem.executor.pipelined import PipelinedExecutor
from libertem.udf.com import CoMUDF
from libertem_live.api import Hooks, LiveContext

control, data, size, rows, columns = map(int, sys.argv[1:])

class Triggered(Hooks):
    def on_ready_for_data(self, env):
        print("connected", flush=True)
        sys.stdin.readline()
        with conn.control() as channel:
            self.started = time.perf_counter()
            channel.cmd("SOFTTRIGGER")

if __name__ == "__main__":
    spec = PipelinedExecutor.make_spec(cpus=[0, 1], cudas=[])
    ctx = LiveContext(executor=PipelinedExecutor(spec=spec, pin_workers=False))
    conn = ctx.make_connection("merlin").open(api_port=control, data_port=data)
    conn.close()  # each acquisition makes it anew
    print("ready", flush=True)
    for line in sys.stdin:
        hooks = Triggered()
        aq = ctx.make_acquisition(conn=conn, nav_shape=(rows, columns), hooks=hooks, frames_per_partition=512)
        udf = CoMUDF.with_params(cy=size / 2, cx=size / 2, r=size / 2)
        found = ctx.run_udf(dataset=aq, udf=udf)["field"].data
        seconds = time.perf_counter() - hooks.started
        print(json.dumps({"seconds": seconds, "shape": found.shape}), flush=True)
    ctx.close()
"""


@dataclass(frozen=True)
class Kind:
    """Frames of one kind. depth: of the counter; raw: R64; chips: 1 or 4; scan: (rows, columns)."""

    depth: int
    raw: bool
    chips: int
    scan: tuple[int, int]

    @property
    def side(self) -> int:
        """Pixels along a side of a pattern."""
        return 256 if self.chips == 1 else 512

    @property
    def frames(self) -> int:
        """Number of scan points."""
        return self.scan[0] * self.scan[1]


KINDS = {
    "u16": Kind(12, False, 1, (128, 128)),
    "raw12": Kind(12, True, 1, (128, 128)),
    "raw6": Kind(6, True, 1, (128, 192)),
    "quad": Kind(12, True, 4, (64, 64)),
}


def stored_patterns(kind: Kind) -> Array:
    """Poisson counts in a disc of a quarter of the width, in the counter's type."""
    y, x = np.indices((kind.side, kind.side)) - kind.side / 2
    disc = (np.hypot(y, x) < kind.side / 4).astype(float)
    mean = ELECTRONS * disc / disc.sum()
    counts = np.random.default_rng(0).poisson(mean, (DIFFERENT, *disc.shape))
    return np.minimum(counts, 2**kind.depth - 1).astype("u1" if kind.depth == 6 else "<u2")


def body(kind: Kind, pattern: Array) -> bytes:
    """Pixels as Merlin stores them: processed ones big-endian, raw ones in 64-bit words, chips side by side."""
    if not kind.raw:
        return pattern.astype(pattern.dtype.newbyteorder(">")).tobytes()
    if kind.chips == 4:
        upper, lower = pattern[:256], pattern[256:][::-1]
        chips = [lower[:, 256:][:, ::-1], lower[:, :256][:, ::-1], upper[:, 256:], upper[:, :256]]
        pattern = np.stack(chips, axis=1)
    return np.ascontiguousarray(pattern).ravel().view("<u8").astype(">u8").tobytes()


def write_set(folder: Path, kind: Kind) -> Path:
    """A `.mib` file with its `.hdr`, as Merlin stores an acquisition."""
    offset, chip = {1: 384, 4: 768}[kind.chips], "3RX," + "068,511,000," * 9
    shape = (256, 256 * kind.chips) if kind.raw else (kind.side, kind.side)
    pixels = "R64" if kind.raw else "U16"
    layout, began = "2x2" if kind.chips == 4 else "1x1", datetime(2026, 11, 23, 12)
    lines = {
        "Counter Depth (number)": kind.depth,
        "Gap Fill Mode": "None",
        "Flat Field File": "None",
        "Frames in Acquisition (Number)": kind.frames,
        "Frames per Trigger (Number)": kind.scan[1],
    }
    text = "HDR,\t\r\n" + "".join(f"{name}:\t{value}\r\n" for name, value in lines.items()) + "End\t"
    (folder / "scan.hdr").write_bytes(text.encode("latin-1").ljust(2048))
    bodies = [body(kind, pattern) for pattern in stored_patterns(kind)]
    with (folder / "scan.mib").open("wb") as file:
        for k in range(kind.frames):
            stamp = began + timedelta(microseconds=50 * k)
            head = f"MQ1,{k + 1:06d},{offset:05d},{kind.chips:02d},{shape[1]:04d},{shape[0]:04d},{pixels},{layout:>6},"
            head += f"{2**kind.chips - 1:02X},{stamp.isoformat(' ', 'microseconds')},0.000050,0,0,0,3.400000E+1,"
            head += "5.110000E+2," + "0.000000E+0," * 6 + chip * kind.chips
            head += f"MQ1A,{stamp.isoformat(timespec='microseconds')}000Z,50000ns,{kind.depth},"
            file.write(head.encode("latin-1").ljust(offset, b"\0") + bodies[k % DIFFERENT])
    return folder / "scan.hdr"


@dataclass(frozen=True)
class Simulator:
    """LiberTEM-live's simulated Merlin, which waits for a trigger."""

    control: int
    data: int
    pid: int

    def detector(self) -> MerlinControl:
        """Client of its control port."""
        return MerlinControl(f"tcp://127.0.0.1:{self.control}")


@contextmanager
def simulator(python: Path, scan: Path, kind: Kind) -> Iterator[Simulator]:
    """A running simulator, with the scan in its memory."""
    control, data, trigger = free_port(), free_port(), free_port()
    command = [python.with_name("libertem-live-mib-sim"), scan, "--nav-shape", *kind.scan, "--host", "127.0.0.1"]
    command += ["--cached", "memfd", "--wait-trigger"]
    command += ["--data-port", data, "--control-port", control, "--trigger-port", trigger]
    with process(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        simulator_handle = Simulator(control, data, running.pid)
        for _ in range(600):
            with suppress(DetectorError, OSError):
                simulator_handle.detector().get("COUNTERDEPTH")
                socket.create_connection(("127.0.0.1", data), 2).close()
                break
            assert running.poll() is None, "the simulator ended"
            time.sleep(0.2)
        yield simulator_handle


def processor_s(pid: int) -> float:
    """CPU time of a process and its children, seconds."""
    total = 0.0
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(processor_s(int(child)) for child in (task / "children").read_text().split())
    return total


def store_for(header: ScanHeader, pool: ThreadPool) -> Store:
    """Moments, ring sums and bins for the disc of :func:`stored_patterns`."""
    side = header.detector_shape[0]
    grid = DetectorGrid.of((side, side), (side / 2, side / 2), "none", 1.0)
    return Store(header, PixelReduction.of(grid, side / 4, np.zeros((side, side), dtype=bool), MOST_BINS), pool)


class Ours:
    """Receiver and live engine of this program, fed by a simulator for one acquisition."""

    def __init__(self, source: Simulator, kind: Kind, folder: Path | None, way: str) -> None:
        def make(header: ScanHeader, builders: Executor, pool: ThreadPool) -> Made:
            if way == "frames":
                return None
            if way == "com":
                return store_for(header, pool)
            return LiveEngine(header, methods=("bf", "com"), background=builders, pool=pool)

        protocol = ProtocolSettings("merlin", prepare=described(kind.scan, kind.side))
        settings = ReceiverSettings(f"tcp://127.0.0.1:{source.data}", folder, protocol=protocol)
        self._receiver = Receiver(settings, on_event=lambda event: None)
        self._detector = source.detector()
        assert self._receiver.accelerate()
        self._reducing = Reducing(self._receiver.ring.reader(), make, cores())

    def seconds(self) -> tuple[float, float]:
        """The acquisition from the trigger to its last frame: wall and CPU time."""
        self._receiver.start()
        try:
            arm(self._detector)
            return self._reducing.measured(self._detector.trigger, self._receiver)
        finally:
            self._receiver.stop()
            self._reducing.join()


class Theirs:
    """LiberTEM-live in a separate process."""

    def __init__(self, running: subprocess.Popen[str], source: Simulator) -> None:
        self._running, self._detector = running, source.detector()
        assert self._answer() == "ready"

    def _answer(self) -> str:
        assert self._running.stdout is not None
        return self._running.stdout.readline().strip()

    def _say(self, text: str) -> None:
        assert self._running.stdin is not None
        self._running.stdin.write(text + "\n")
        self._running.stdin.flush()

    def seconds(self) -> tuple[float, float]:
        """One acquisition from the trigger to the result: wall and CPU time."""
        self._say("connect")
        assert self._answer() == "connected"
        arm(self._detector)
        busy = processor_s(self._running.pid)
        self._say("trigger")
        found = json.loads(self._answer())
        return found["seconds"], processor_s(self._running.pid) - busy


def arm(detector: MerlinControl) -> None:
    """Arm once the simulator has noticed that the previous connection is gone: it checks ten times a second."""
    time.sleep(1)
    detector.arm(None, {})
    time.sleep(0.5)


def compare(python: Path, kind: Kind, ways: list[str], rounds: int) -> dict[str, float]:
    """Medians over rounds of receivers that take turns, and ratios within a round."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ("libertem", *ways)}
    sender: list[float] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        scan = write_set(folder, kind)
        source = stack.enter_context(simulator(python, scan, kind))
        script = folder / "live_com.py"
        script.write_text(LIBERTEM)
        command = (python, script, source.control, source.data, kind.side, *kind.scan)
        quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        theirs = Theirs(stack.enter_context(process(*command, **quiet)), source)
        for number in range(rounds + 1):
            for name, row in runs.items():
                before = processor_s(source.pid)
                if name == "libertem":
                    found = theirs.seconds()
                else:
                    target = folder / f"recordings{number}" if name == "recorded" else None
                    found = Ours(source, kind, target, name).seconds()
                if number:  # the first round warms up
                    row.append(found)
                    if name == ways[0]:
                        sender.append((processor_s(source.pid) - before) / kind.frames)
    rates = {name: [kind.frames / seconds for seconds, _ in row] for name, row in runs.items()}
    shown = {f"{name}_frames_s": float(np.median(row)) for name, row in rates.items()}
    busy = {name: float(np.median([busy for _, busy in row])) / kind.frames for name, row in runs.items()}
    shown |= {f"{name}_us": 1e6 * value for name, value in busy.items()}
    shown |= {"sender_us": 1e6 * float(np.median(sender))} if sender else {}
    for name in ways:
        pairs = zip(rates[name], rates["libertem"], strict=True)
        shown[f"{name} / libertem"] = float(np.median([rate / peer_rate for rate, peer_rate in pairs]))
        shown[f"libertem_us / {name}_us"] = busy["libertem"] / busy[name]
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default="u16,raw12,raw6,quad", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--venv", type=Path, metavar="DIR", help="environment with libertem-live[sim] and pymemfd")
    options = parser.parse_args()
    get_ready()
    with libertem_python(options.venv, "pymemfd") as python:
        for name in options.kinds.split(","):
            kind = KINDS[name]
            row = compare(python, kind, options.ways.split(","), options.rounds)
            shown = {name: float(f"{value:.4g}") for name, value in row.items()}
            print(json.dumps({"kind": name, "frames": kind.frames, **shown, "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
