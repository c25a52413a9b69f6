"""Against LiberTEM-live: its simulated Timepix3 sends what its own tools have made, compared bit for bit."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dectris_tools import free_port
from event_tools import sparse_frames
from other_programs import process
from stream_tools import digest, digests_of_file, running

from ptylive.schema.model import Array
from ptylive.streamer.protocols import ProtocolSettings

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
SCAN = (24, 32)
DETECTOR = (512, 512)
"""The only one that LiberTEM's tool makes."""
MAKE = f"""
import sys, numpy as np
from libertem_asi_tpx3 import make_sim_data
from scipy.sparse import csr_matrix
frames = np.load(sys.argv[1])
sparse = csr_matrix(frames.reshape(len(frames), -1))
sparse.sort_indices()
open(sys.argv[2], "wb").write(bytes(make_sim_data({SCAN}, sparse.indptr, sparse.indices, sparse.data)))
"""


@pytest.fixture
def frames() -> Array:
    return sparse_frames(SCAN[0] * SCAN[1], DETECTOR, 50, "<u4")


@pytest.fixture
def simulator(libertem_python: Path, frames: Array, tmp_path: Path) -> Iterator[str]:
    """LiberTEM-live's simulated Timepix3, which sends the same scan repeatedly; its address."""
    np.save(tmp_path / "frames.npy", frames)
    command = [libertem_python, "-c", MAKE, tmp_path / "frames.npy", tmp_path / "scan.tpx"]
    subprocess.run(list(map(str, command)), check=True, timeout=300, capture_output=True)
    port = free_port()
    simulated = libertem_python.with_name("libertem-live-asi-tpx-sim")
    with process(simulated, tmp_path / "scan.tpx", "--port", port, "--sleep", 2.0):
        yield f"tcp://127.0.0.1:{port}"


def test_scans_of_libertems_simulator(simulator: str, frames: Array, tmp_path: Path) -> None:
    folder = tmp_path / "recorded"
    folder.mkdir()
    wanted = {k: digest(frame) for k, frame in enumerate(frames)}
    with running(folder, data=simulator, protocol=ProtocolSettings("tpx3")) as run:
        run.wait_for_ends(2)
        assert [end.reason for end in run.ends()[:2]] == ["complete"] * 2
        for end in run.ends()[:2]:
            assert run.frames[end.uid] == wanted
        run.wait(lambda: sum(one.state == "complete" for one in run.recordings()) >= 2)
        assert run.arms()[0].header.scan.shape == SCAN
        assert run.receiver.status().rejected == {}
    for path in sorted(folder.glob("*.h5"))[:2]:
        assert digests_of_file(path) == wanted
