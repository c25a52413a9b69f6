"""Against independent programs: LiberTEM-live's simulator (v1), captured stream2 messages, an independent sender.

The test makes a virtual environment for each of them, since they are incompatible with each other.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import cbor2
import numpy as np
import pytest
from dectris_tools import dump, free_port, inlet, patterns, scans_of, taken, v1_end, v1_header, v1_image
from other_programs import pip, process
from stream_tools import Running, digest, running

from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.protocols.dectris_v2 import decode_array, decode_cbor, stored_array
from ptylive.streamer.protocols.simplon import Simplon

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]
FRAMES = patterns(64, (96, 80))
COUNT = 4096


def shared_tools() -> Path:
    """Other people's tools next to the repository; skips the test if they are not there."""
    root = Path(os.environ.get("PTYLIVE_SHARED_TOOLS", Path(__file__).resolve().parents[3] / "shared" / "tools"))
    if not (root / "streaming").is_dir():
        pytest.skip(f"{root / 'streaming'} is not there (set PTYLIVE_SHARED_TOOLS)")
    return root / "streaming"


@pytest.fixture(scope="session")
def series_dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A v1 series of 4096 images, 64 of them different, as LiberTEM's simulator replays it."""
    path = tmp_path_factory.mktemp("dump") / "series.bin"
    config = {"compression": "bslz4", "count_time": 1e-4}
    header = v1_header(34, COUNT, FRAMES.shape[1:], **config)
    blobs = [v1_image(34, 0, frame) for frame in FRAMES]
    images = (v1_image_again(blobs[k % len(FRAMES)], k) for k in range(COUNT))
    dump(path, [header, *images, v1_end(34)])
    return path


def v1_image_again(parts: list[bytes], number: int) -> list[bytes]:
    """An image with another number."""
    return [json.dumps({**json.loads(parts[0]), "frame": number}).encode(), *parts[1:]]


def wait_for_rest(address: str, simulator: "subprocess.Popen[str]") -> None:
    """Wait for the simulator's start, which takes 5 to 20 s."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        assert simulator.poll() is None, simulator.stdout.read() if simulator.stdout else ""
        try:
            urllib.request.urlopen(f"{address}/detector/api/version/", timeout=2).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError("LiberTEM's simulator did not start")


def check_whole(run: Running, uid: str, count: int = COUNT) -> None:
    """Check that every frame arrived as it was sent (SHA-256)."""
    wanted = [digest(frame) for frame in FRAMES]
    got = run.frames[uid]
    assert sorted(got) == list(range(count))
    assert all(got[k] == wanted[k % len(FRAMES)] for k in range(count))


def test_libertem_simulator_passive_and_active(libertem_python: Path, series_dump: Path, tmp_path: Path) -> None:
    """Three series with the same number: every frame of each arrives."""
    rest, data = free_port(), free_port()
    launcher = shared_tools() / "run_dectris_sim.py"
    command = [libertem_python, launcher, series_dump, "--port", rest, "--zmqport", data, "--verbose", "False"]
    settings = ProtocolSettings("dectris-v1")
    with process(*command) as simulator, running(tmp_path, data=f"tcp://127.0.0.1:{data}", protocol=settings) as run:
        wait_for_rest(f"http://127.0.0.1:{rest}", simulator)
        detector = Simplon(f"http://127.0.0.1:{rest}")
        detector.stream("legacy")
        for _ in range(3):
            assert detector.arm() == 34
            ended = len(run.ends())
            run.wait(lambda ended=ended: len(run.ends()) > ended, timeout_s=120)
        assert [end.reason for end in run.ends()] == ["complete"] * 3
        assert len(run.frames) == 3
        for uid in run.frames:
            check_whole(run, uid)
        status = run.receiver.status()
        assert (status.rejected, status.duplicates, status.lost) == ({}, 0, 0)
        run.wait_for_state("complete", timeout_s=60)


def test_captured_stream2_messages_decode_as_dectris_does(tmp_path: Path) -> None:
    decompress = pytest.importorskip("dectris.compression", reason="needs a C++ compiler to install").decompress
    pip("download", "--no-deps", "-d", tmp_path, "tickit-devices==0.4.1")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        captured = {Path(name).stem: archive.read(name) for name in archive.namelist() if name.endswith(".cbor")}
    fields = decode_cbor(captured["image"])
    stored = stored_array(fields["data"]["threshold_1"], "image")
    assert (stored.shape, stored.dtype, stored.codec) == ((4362, 4148), "<u2", "bslz4")
    packed = cbor2.loads(captured["image"])["data"]["threshold_1"].value[1].value.value
    wanted = np.frombuffer(decompress(packed[2], packed[0], elem_size=packed[1]), "<u2").reshape(4362, 4148)
    assert np.array_equal(decode_array(stored), wanted)
    out = taken(inlet("dectris-v2"), [[captured[name]] for name in ("start", "image", "end")])
    (scan,) = scans_of(out).values()
    assert scan == {0: wanted.tobytes()}
    assert np.array_equal(out[0].header.arrays["bad_pixel_mask"], wanted == 65535)  # type: ignore[union-attr]
    assert out[0].header.series == "15614"  # type: ignore[union-attr]
    assert out[0].header.optics.energy_eV is None  # type: ignore[union-attr]  (it was an X-ray experiment)


@pytest.mark.parametrize(
    ("options", "ended"),
    [((), True), (("--drop", ".01", "--dup", ".01", "--swap", ".01"), True), (("--abort-at", "500"), False)],
)
def test_an_independent_stream2_sender(
    series_dump: Path, tmp_path: Path, options: tuple[str, ...], ended: bool
) -> None:
    port = free_port()
    client = shared_tools() / "dectris_client.py"
    command = [sys.executable, client, "send2", series_dump, "--data", port, "--nframes", COUNT, *options]
    settings = ProtocolSettings("dectris-v2")
    with running(tmp_path, data=f"tcp://127.0.0.1:{port}", idle_timeout_s=2.0, protocol=settings) as run:
        with process(*command) as sender:
            (end,) = run.wait_for_ends(1)
            assert sender.wait(30) == 0
        status = run.receiver.status()
        got = run.frames[end.uid]
        wanted = [digest(frame) for frame in FRAMES]
        assert all(value == wanted[k % len(FRAMES)] for k, value in got.items())
        assert status.rejected == {}
        if not options:
            check_whole(run, end.uid)
        elif ended:  # this seed of the sender omits 34 and repeats 52; an end with frames missing is incomplete
            assert (end.reason, COUNT - len(got), status.duplicates) == ("incomplete", 34, 52)
            assert status.late > 0
        else:
            assert (end.reason, len(got)) == ("aborted", 500)
