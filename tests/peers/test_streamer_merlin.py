"""Against LiberTEM-live: its simulated Merlin sends, and LiberTEM's reader of MIB files determines what was sent."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dectris_tools import free_port
from merlin_tools import CHIP, acquisition_header, counts, frame, frame_header, raw_frame
from other_programs import process
from stream_tools import PATIENCE_S, digest, digests_of_file, running

from ptylive.schema.model import Array
from ptylive.simulators.proxy import FaultyProxy
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.protocols.merlin.control import MerlinControl
from ptylive.streamer.protocols.simplon import DetectorError

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
SCAN = (8, 12)
COUNT = SCAN[0] * SCAN[1]
DIFFERENT = 6
READ = f"""
import sys, numpy as np, libertem.api as lt
from libertem.udf import UDF
class Frames(UDF):
    def get_preferred_input_dtype(self):
        return np.uint32  # of raw frames of 24 bits the reader gives 16 where it is not asked
    def get_result_buffers(self):
        shape = tuple(self.meta.dataset_shape.sig)
        return {{"frames": self.buffer(kind="nav", extra_shape=shape, dtype=np.uint32)}}
    def process_frame(self, frame):
        self.results.frames[:] = frame
ctx = lt.Context.make_with("inline")
data = ctx.load("mib", path=sys.argv[1], nav_shape={SCAN})
np.save(sys.argv[2], ctx.run_udf(data, Frames())["frames"].data.reshape({COUNT}, *data.shape.sig))
"""


def stored_patterns(depth: int, layout: str) -> Array:
    """Patterns repeated by an acquisition."""
    side = CHIP if layout == "1x1" else 2 * CHIP
    return counts((side, side), depth, depth + side, DIFFERENT)


def acquired(folder: Path, pixels: str, depth: int, layout: str) -> Path:
    """Files of an acquisition as Merlin stores them, with a few different patterns repeated."""
    side = CHIP if layout == "1x1" else 2 * CHIP
    chips = 1 if layout == "1x1" else 4
    bodies = []
    for stored in stored_patterns(depth, layout):
        fields = {"chips": chips, "layout": layout, "depth": depth}
        message = raw_frame(1, stored, depth, layout) if pixels == "R64" else frame(1, pixels, stored, **fields)
        bodies.append(message[{1: 384, 4: 768}[chips] :])
    shape = (side, side) if pixels != "R64" else (CHIP, chips * CHIP * (2 if depth == 24 else 1))
    (folder / "scan.hdr").write_bytes(acquisition_header(COUNT, depth, per_trigger=SCAN[1]))
    with (folder / "scan.mib").open("wb") as file:
        for k in range(COUNT):
            head = frame_header(k + 1, pixels, shape, chips=chips, layout=layout, depth=depth, fill=b"\0")
            file.write(head + bodies[k % DIFFERENT])
    return folder / "scan.hdr"


MODES = [("R64", depth, layout) for layout in ("1x1", "2x2") for depth in (1, 6, 12)]
MODES += [("R64", 24, "1x1"), ("U08", 6, "1x1"), ("U16", 12, "2x2")]


@pytest.fixture(params=MODES, ids=lambda mode: "-".join(map(str, mode)))
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return acquired(tmp_path, *request.param)


@pytest.fixture
def wanted(request: pytest.FixtureRequest, libertem_python: Path, files: Path, tmp_path: Path) -> Array:
    """Patterns as LiberTEM reads them, with the first row on top.

    Its version 0.16 cannot open raw files of 1 bit, and finds only the first frame of 24-bit files: those are as
    packed.
    """
    pixels, depth, layout = request.node.callspec.params["files"]
    packed = np.asarray(stored_patterns(depth, layout)[np.arange(COUNT) % DIFFERENT])
    if (pixels, depth) == ("R64", 1):
        return packed
    target = tmp_path / "wanted.npy"
    command = [libertem_python, "-c", READ, files, target]
    subprocess.run(list(map(str, command)), check=True, timeout=300, capture_output=True)
    read = np.load(target).astype(packed.dtype)
    if (pixels, depth) == ("R64", 24):
        assert np.array_equal(read[0], packed[0])
        return packed
    return np.asarray(read)


@pytest.fixture
def simulator(libertem_python: Path, files: Path) -> Iterator[tuple[int, int]]:
    """LiberTEM-live's simulated Merlin, which waits for a trigger; its data and control ports."""
    data, control, trigger = free_port(), free_port(), free_port()
    command = [libertem_python.with_name("libertem-live-mib-sim"), files, "--nav-shape", *SCAN, "--host", "127.0.0.1"]
    command += ["--data-port", data, "--control-port", control, "--trigger-port", trigger, "--garbage"]
    with process(*command) as running_:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            assert running_.poll() is None, running_.stdout.read() if running_.stdout else ""
            try:
                MerlinControl(f"tcp://127.0.0.1:{control}").get("COUNTERDEPTH")
                break
            except DetectorError:
                assert time.monotonic() < give_up
                time.sleep(0.3)
        yield data, control


def test_three_scans_of_libertems_simulator(simulator: tuple[int, int], wanted: Array, files: Path) -> None:
    """Garbage before the first acquisition, a new connection before the third; armed and triggered by control port."""
    data, control = simulator
    folder = files.parent / "recorded"
    folder.mkdir()
    detector = MerlinControl(f"tcp://127.0.0.1:{control}")
    depth = re.search(rb"Counter Depth \(number\):\t(\d+)", files.read_bytes())
    assert depth is not None and detector.known()["COUNTERDEPTH"] == depth.group(1).decode()
    digests = {k: digest(np.ascontiguousarray(pattern[::-1])) for k, pattern in enumerate(wanted)}
    with FaultyProxy(f"tcp://127.0.0.1:{data}") as proxy:
        with running(folder, data=proxy.address, protocol=ProtocolSettings("merlin")) as run:
            run.wait(lambda: run.receiver.status().rejected == {"not_mpx": 1})  # connected, and receiving its garbage
            for k in range(3):
                if k == 2:
                    proxy.reset()
                    run.wait(lambda: proxy.connections == 2)
                    run.wait(lambda: run.receiver.status().rejected == {"not_mpx": 2})
                assert detector.arm(COUNT, {"TRIGGERSTART": 5}) == "5"
                detector.trigger()
                run.wait_for_ends(k + 1)
            assert [end.reason for end in run.ends()] == ["complete"] * 3
            for found in run.frames.values():
                assert found == digests
            run.wait(lambda: sum(one.state == "complete" for one in run.recordings()) == 3)
            status = run.receiver.status()
            assert (status.rejected, status.duplicates, status.lost) == ({"not_mpx": 2}, 0, 0)
            assert run.arms()[0].header.scan.shape == SCAN
    recordings = sorted(folder.glob("*.h5"))
    assert len(recordings) == 3
    for path in recordings:
        assert digests_of_file(path) == digests
