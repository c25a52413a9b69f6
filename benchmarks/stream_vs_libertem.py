"""Side by side with LiberTEM-live on one dump of DECTRIS v1 messages: frames/s from arm to the last frame reduced.

    python benchmarks/stream_vs_libertem.py [--sizes 96,192,256] [--scan 256] [--rounds 3] [--venv DIR]

The sender is LiberTEM-live's own simulator, one for each receiver (two receivers of one simulator would share its
frames), only one of them at work at a time; the receivers take turns. LiberTEM-live reduces with 2 workers: centre of
mass (com) or 45 dense masks. This program receives, checks, journals with CRC, decodes and reduces to moments, ring
sums and the coefficients of its live maps (more than 45 bins of the bright field), with as many pool threads as there
are cores. ``ptylive`` calibrates itself in the background meanwhile and refreshes bright field and centre of mass five
times a second; ``ptylive tcbf`` also builds the filters of tilt-corrected bright field and makes that map. Every run is
timed from arm to the last frame reduced, including set-up, so short scans mean little. Without ``--venv`` LiberTEM-live
is installed in a temporary environment (takes minutes, requires a package index).
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from beside_libertem import Made, Reducing, cores, described, free_port, get_ready, libertem_python, process
from stream_rate import bslz4, patterns

from ptylive.engine.imaging.accumulation.thread_pool import ThreadPool
from ptylive.engine.live.engine import LiveEngine
from ptylive.schema import ScanHeader
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.protocols.simplon import Simplon
from ptylive.streamer.receiver import Receiver, ReceiverSettings

SERIES = 34
SCANS = {96: 256, 192: 160, 256: 128}
CONFIGURATIONS = {"ptylive": ("bf", "com"), "ptylive tcbf": ("bf", "com", "tcbf")}
SIMULATOR = """
from libertem_live.detectors.dectris import sim
sim.RustedReplay.read_headers = lambda self: sim.read_headers(self._path)  # it would bind its port three times
sim.main()
"""
LIBERTEM = """
import json, sys, time
import numpy as np
from libertem.executor.pipelined import PipelinedExecutor
from libertem.udf.com import CoMUDF
from libertem.udf.masks import ApplyMasksUDF
from libertem_live.api import LiveContext

rest, data, size, scan, nbytes = map(int, sys.argv[1:])
masks = [lambda i=i: np.random.default_rng(i).random((size, size), dtype="f4") for i in range(45)]
makers = {
    "com": lambda: CoMUDF.with_params(cy=size / 2, cx=size / 2, r=size / 2),
    "masks": lambda: ApplyMasksUDF(mask_factories=masks),
}
if __name__ == "__main__":
    spec = PipelinedExecutor.make_spec(cpus=[0, 1], cudas=[])
    ctx = LiveContext(executor=PipelinedExecutor(spec=spec, pin_workers=False))
    conn = ctx.make_connection("dectris").open(
        api_host="localhost", api_port=rest, data_host="localhost", data_port=data, buffer_size=1024,
        bytes_per_frame=nbytes, frame_stack_size=32)
    print("ready", flush=True)
    for line in sys.stdin:
        aq = ctx.make_acquisition(conn=conn, nav_shape=(scan, scan), frames_per_partition=512,
                                  controller=conn.get_active_controller(trigger_mode="exte"))
        started = time.perf_counter()
        ctx.run_udf(dataset=aq, udf=makers[line.strip()]())
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)
    conn.close(); ctx.close()
"""


def write_dump(path: Path, size: int, frames: int) -> int:
    """Write a series as LiberTEM's simulator replays it (length, message, …); return the longest pattern's bytes."""
    blobs = [bslz4(pattern) for pattern in patterns(size)]
    config = {
        "bit_depth_image": 16, "compression": "bslz4", "count_time": 1e-5, "frame_time": 1e-5, "nimages": 1,
        "ntrigger": frames, "trigger_mode": "exte", "x_pixels_in_detector": size, "y_pixels_in_detector": size,
    }  # fmt: skip

    def text(**fields: object) -> bytes:
        return json.dumps(fields, separators=(",", ":")).encode()

    with path.open("wb") as file:

        def write_message(message: bytes) -> None:
            file.write(struct.pack("<q", len(message)) + message)

        write_message(text(htype="dheader-1.0", header_detail="basic", series=SERIES))
        write_message(text(**config))
        for k in range(frames):
            blob = blobs[k % len(blobs)]
            write_message(text(htype="dimage-1.0", series=SERIES, frame=k, hash="0" * 32))
            layout = {"shape": [size, size], "type": "uint16", "encoding": "bs16-lz4<", "size": len(blob)}
            write_message(text(htype="dimage_d-1.0", **layout))
            write_message(blob)
            write_message(text(htype="dconfig-1.0", start_time=k, stop_time=k + 1, real_time=1))
        write_message(text(htype="dseries_end-1.0", series=SERIES))
    return max(map(len, blobs))


@contextmanager
def simulator(python: Path, dump: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Run LiberTEM's simulator; yields the ports of its REST interface and of its stream."""
    launcher = folder / "detector.py"
    launcher.write_text(SIMULATOR)
    rest, data = free_port(), free_port()
    command = (python, launcher, dump, "--port", rest, "--zmqport", data, "--verbose", "False")
    with process(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{rest}/detector/api/version/", timeout=2).close()
                break
            except OSError:
                assert running.poll() is None, "the simulator ended"
                time.sleep(0.2)
        yield rest, data


class Ours:
    """Receiver, journal and live engine of this program, fed by a simulator."""

    def __init__(self, ports: tuple[int, int], scan: int, size: int, folder: Path) -> None:
        def make(header: ScanHeader, builders: Executor, pool: ThreadPool) -> Made:
            return LiveEngine(header, methods=self._methods, background=builders, pool=pool)

        protocol = ProtocolSettings("dectris-v1", prepare=described((scan, scan), size))
        settings = ReceiverSettings(f"tcp://127.0.0.1:{ports[1]}", folder, protocol=protocol)
        self._receiver = Receiver(settings, on_event=lambda event: None)
        self._methods = CONFIGURATIONS["ptylive"]
        assert self._receiver.accelerate()
        self._reducing = Reducing(self._receiver.ring.reader(), make, cores())
        self._receiver.start()
        self._detector = Simplon(f"http://127.0.0.1:{ports[0]}")
        self._detector.stream("legacy")

    def seconds(self, configuration: str) -> float:
        """One series, from arm to the last frame reduced."""
        self._methods = CONFIGURATIONS[configuration]
        return self._reducing.measured(self._detector.arm, self._receiver)[0]

    @property
    def bins(self) -> int:
        """Number of coefficients of the live maps."""
        return self._reducing.bins

    def close(self) -> None:
        """End the threads."""
        self._receiver.stop()
        self._reducing.join()


def compare(python: Path, size: int, scan: int, rounds: int) -> dict[str, float]:
    """Medians (frames/s) of receivers that take turns, and ratios within a round."""
    runs: dict[str, list[float]] = {name: [] for name in ("libertem com", "libertem masks", *CONFIGURATIONS)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        longest = write_dump(folder / "dump.bin", size, scan * scan)
        libertem_simulator, our_simulator = (
            stack.enter_context(simulator(python, folder / "dump.bin", folder)) for _ in range(2)
        )
        script = folder / "live_com.py"
        script.write_text(LIBERTEM)
        command = (python, script, *libertem_simulator, size, scan, int(1.2 * longest))
        libertem = stack.enter_context(process(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert libertem.stdin is not None and libertem.stdout is not None
        assert libertem.stdout.readline().strip() == "ready"
        ours = Ours(our_simulator, scan, size, folder / "recordings")
        stack.callback(ours.close)
        for number in range(rounds + 1):
            for name, row in runs.items():
                if name in CONFIGURATIONS:
                    seconds = ours.seconds(name)
                else:
                    libertem.stdin.write(name.split()[1] + "\n")
                    libertem.stdin.flush()
                    seconds = json.loads(libertem.stdout.readline())["seconds"]
                if number:  # the first round warms up
                    row.append(scan * scan / seconds)
    rates = {name: float(np.median(row)) for name, row in runs.items()}
    for configuration in CONFIGURATIONS:
        for name in ("com", "masks"):
            pairs = zip(runs[configuration], runs[f"libertem {name}"], strict=True)
            rates[f"{configuration} / {name}"] = float(
                np.median([rate / libertem_rate for rate, libertem_rate in pairs])
            )
    return {**rates, "bins": ours.bins}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="96,192,256")
    parser.add_argument("--scan", type=int, help="points along a side (default: by size)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--venv", type=Path, metavar="DIR", help="environment with libertem-live[sim]")
    options = parser.parse_args()
    get_ready()
    with libertem_python(options.venv) as python:
        for size in map(int, options.sizes.split(",")):
            scan = options.scan or SCANS.get(size, 128)
            row = compare(python, size, scan, options.rounds)
            shown = {name: float(f"{value:.4g}") for name, value in row.items()}
            print(json.dumps({"pixels": size, "frames": scan**2, **shown, "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
