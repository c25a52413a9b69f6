"""A simulated Merlin and the receiver, over real sockets: the file's content is what arrives, in every mode."""

import socket
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from dectris_tools import free_port
from stream_tools import PATIENCE_S, Running, digest, running

from ptylive.schema import InputFileError, MetadataError, ScanHeader, ServerGoneError
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array
from ptylive.simulators.faults import Faults
from ptylive.simulators.merlin import MerlinDetector, MerlinMode, mpx, parse_mode
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.replay import ReplayReport, ReplaySettings, replay
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.protocols.merlin.headers import parse_acquisition_header, parse_frame_header

MODES: list[tuple[MerlinMode, int, str]] = [("raw1", 2, "u1"), ("raw6", 64, "u1"), ("raw12", 4096, "<u2")]
MODES += [("raw24", 2**24, "<u4")]


def prepare(header: ScanHeader) -> ScanHeader:
    return overlay(header, {"scan.step_A": 0.5})


SETTINGS = ProtocolSettings("merlin", prepare)


def native(path: Path, frames: Array, **metadata: Any) -> tuple[Path, Array]:
    """A scan of 4 x 5 patterns, and the patterns."""
    with h5py.File(path, "w") as file:
        file["data"] = frames.reshape(4, 5, *frames.shape[1:])
        file.create_group("metadata").attrs.update(metadata)
    return path, frames


def counts(shape: tuple[int, int], dtype: str = "<u2", most: int = 4096) -> Array:
    return np.random.default_rng(1).integers(0, most, (20, *shape)).astype(dtype)


def address() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def sent(run: Running, path: Path, **settings: Any) -> ReplayReport:
    return replay(path, ReplaySettings(to=run.address, protocol="merlin", timeout_s=PATIENCE_S, **settings))


def arrived(run: Running, frames: Array) -> bool:
    (end,) = run.wait_for_ends()
    return run.frames[end.uid] == {k: digest(frame) for k, frame in enumerate(frames)}


@pytest.mark.parametrize("dtype", ["|u1", "<u2", "<u4"])
@pytest.mark.parametrize("shape", [(16, 12), pytest.param((514, 514), marks=pytest.mark.slow)])
def test_processed_frames_arrive_as_recorded(tmp_path: Path, dtype: str, shape: tuple[int, int]) -> None:
    path, frames = native(tmp_path / "scan.h5", counts(shape, dtype, 64), saturation_value=63.0, dwell_time_us=250.0)
    with running(data=address(), protocol=SETTINGS) as run:
        report = sent(run, path)
        assert arrived(run, frames)
        (arm,) = run.arms()
        scan = arm.header.scan
        assert (report.frames, scan.shape, scan.step_A, scan.dwell_time_us) == (20, (4, 5), (0.5, 0.5), 250.0)
        assert arm.header.detector.saturation_value == 63
        assert arm.header.detector.dtype == dtype
        assert ("bad_pixel_mask" in arm.header.arrays) == (shape == (514, 514))
        assert run.receiver.status().rejected == {}


@pytest.mark.parametrize(("mode", "most", "dtype"), MODES)
@pytest.mark.parametrize("shape", [(256, 256), pytest.param((512, 512), marks=pytest.mark.slow)])
def test_raw_frames_arrive(tmp_path: Path, mode: MerlinMode, most: int, dtype: str, shape: tuple[int, int]) -> None:
    path, frames = native(tmp_path / "scan.h5", counts(shape, dtype, most))
    with running(data=address(), protocol=SETTINGS) as run:
        sent(run, path, mode=mode)
        assert arrived(run, frames)
        assert run.receiver.status().rejected == {}


def test_three_scans_over_one_connection(tmp_path: Path) -> None:
    path, frames = native(tmp_path / "scan.h5", counts((16, 12)))
    with running(tmp_path / "out", data=address(), protocol=SETTINGS) as run:
        sent(run, path, loops=3)
        assert [end.reason for end in run.wait_for_ends(3)] == ["complete"] * 3
        wanted = {k: digest(frame) for k, frame in enumerate(frames)}
        assert list(run.frames.values()) == [wanted] * 3


def test_faults_of_a_merlin_are_counted(tmp_path: Path) -> None:
    path, frames = native(tmp_path / "scan.h5", counts((16, 12)))
    faults = Faults(seed=3, shuffle=3, duplicate=0.3, loss=0.2, corrupt=0.2, wrong_shape=0.2)
    with running(data=address(), protocol=SETTINGS, idle_timeout_s=1.0) as run:
        sent(run, path, batch=1, faults=faults)
        (end,) = run.wait_for_ends()
        status = run.receiver.status()
        got = run.frames[end.uid]
        assert got and all(got[k] == digest(frames[k]) for k in got)
        assert set(status.rejected) == {"truncated", "oversized"}
        assert status.lost == 20 - len(got)
        assert status.duplicates > 0


def test_a_sender_that_breaks_off(tmp_path: Path) -> None:
    path, _ = native(tmp_path / "scan.h5", counts((16, 12)))
    with running(data=address(), protocol=SETTINGS, idle_timeout_s=1.0) as run:
        sent(run, path, batch=1, faults=Faults(abort_at=7))
        (end,) = run.wait_for_ends()
        assert (end.reason, sorted(run.frames[end.uid])) == ("aborted", list(range(7)))


def test_messages_are_merlins(tmp_path: Path) -> None:
    path, frames = native(tmp_path / "scan.h5", counts((512, 512)), saturation_value=4095.0)
    with socket.socket() as client:
        client.settimeout(PATIENCE_S)
        port = free_port()
        settings = ReplaySettings(to=f"tcp://127.0.0.1:{port}", protocol="merlin", timeout_s=PATIENCE_S)
        thread = threading.Thread(target=replay, args=(path, settings))
        thread.start()
        while client.connect_ex(("127.0.0.1", port)):
            pass
        with client.makefile("rb") as stream:

            def message() -> memoryview:
                prefix = stream.read(15)
                assert prefix[:4] == b"MPX," and prefix[14:] == b","
                return memoryview(stream.read(int(prefix[4:14]) - 1))

            said = parse_acquisition_header(message())
            assert (said.frames, said.scan_shape, said.counter_depth) == (20, (4, 5), 12)
            for k in range(20):
                frame = message()
                header = parse_frame_header(frame)
                assert (header.number, header.chips, header.layout, header.pixels) == (k, 4, "2x2", "U16")
                pixels = np.frombuffer(frame[header.data_offset :], ">u2").reshape(512, 512)
                assert np.array_equal(pixels[::-1], frames[k])
            assert stream.read() == b""
        thread.join()


def test_what_no_merlin_sends(tmp_path: Path) -> None:
    def settings(**more: Any) -> ReplaySettings:
        return ReplaySettings(to=address(), protocol="merlin", timeout_s=0.1, **more)

    floats, _ = native(tmp_path / "floats.h5", counts((16, 12)).astype("<f4"))
    with pytest.raises(InputFileError, match="cannot send <f4"):
        replay(floats, settings())
    small, _ = native(tmp_path / "small.h5", counts((16, 12)))
    with pytest.raises(InputFileError, match="16 x 12 pixels are not a raw frame"):
        replay(small, settings(mode="raw12"))
    with pytest.raises(MetadataError, match="neither keys nor resending"):
        replay(small, settings(control="tcp://127.0.0.1:9"))
    with pytest.raises(ServerGoneError, match="no server takes data"):
        replay(small, settings())
    with pytest.raises(ServerGoneError, match="cannot be bound"):
        replay(small, ReplaySettings(to="nowhere://x", protocol="merlin"))
    with pytest.raises(MetadataError, match="--mode 'raw7' is not known"):
        parse_mode("raw7")


def test_counts_that_do_not_fit(tmp_path: Path) -> None:
    path, _ = native(tmp_path / "scan.h5", counts((256, 256)))
    with (
        running(data=address(), protocol=SETTINGS) as run,
        pytest.raises(InputFileError, match="more than 6 bits"),
    ):
        sent(run, path, mode="raw6")


def test_a_client_that_takes_nothing() -> None:
    with MerlinDetector("tcp://127.0.0.1:0", SendPatience(PATIENCE_S, PATIENCE_S, 0.3)) as detector:
        host, port = detector.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))), pytest.raises(ServerGoneError, match="has taken nothing"):
            while True:
                detector.inject(bytes(2**20))


def test_a_client_that_comes_again() -> None:
    with MerlinDetector("tcp://127.0.0.1:0", SendPatience(PATIENCE_S, PATIENCE_S, PATIENCE_S)) as detector:
        host, port = detector.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))) as client:
            detector.inject(mpx(b"HDR,"))
            assert client.recv(100) == b"MPX,0000000005,HDR,"
            detector.disconnect()
            assert client.recv(100) == b""
        with socket.create_connection((host, int(port))) as client:
            detector.inject(b"again")
            assert client.recv(100) == b"again"
