"""A simulated DECTRIS detector and the receiver, over real sockets: the file's content is what arrives."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq
from dectris_tools import free_port, patterns, v1_end, v1_header, v1_image, v2_end, v2_image, v2_start
from shared_data import shared_data
from stream_tools import Running, digest, digests_of_file, running

from ptylive.schema import InputFileError, MetadataError, ServerGoneError
from ptylive.schema.metadata import overlay
from ptylive.simulators.faults import Faults
from ptylive.simulators.replay import ReplayReport, ReplaySettings, replay
from ptylive.streamer.events import LogEvent
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.source import open_source

BOTH = ["dectris-v1", "dectris-v2"]
PROTOCOLS = [pytest.param("dectris-v1", marks=pytest.mark.slow), "dectris-v2"]
"""Apart from the messages, tested in tests/streamer/protocols, both are handled alike."""


def free_address() -> str:
    """A TCP address at which nobody listens."""
    return f"tcp://127.0.0.1:{free_port()}"


def native(path: Path, dtype: str = "<u2", *, packed: bool = False) -> Path:
    """A small scan in the native layout, 20 x 20 patterns of 16 x 12 pixels, with a dead pixel."""
    options: dict[str, Any] = dict(hdf5plugin.Bitshuffle(cname="lz4")) if packed else {}
    chunks = (1, 1, 16, 12) if packed else None
    with h5py.File(path, "w") as file:
        data = np.random.default_rng(1).poisson(3, (20, 20, 16, 12)).astype(dtype)
        file.create_dataset("data", data=data, chunks=chunks, **options)
        metadata = file.create_group("metadata")
        metadata.attrs.update({"scan_step_A": 0.5, "energy_eV": 80e3, "defocus_A": 120.0, "rotation_deg": 12.0})
        mask = np.zeros((16, 12), bool)
        mask[2, 3] = True
        metadata["bad_pixel_mask"] = mask
    return path


@contextmanager
def listening(protocol: str, folder: Path | None = None, **settings: Any) -> Iterator[Running]:
    """A receiver connected to the address of a detector that may not exist yet."""
    idle = settings.pop("idle_timeout_s", 5.0)
    with running(
        folder,
        data=free_address(),
        idle_timeout_s=idle,
        protocol=ProtocolSettings(protocol, **settings),  # type: ignore[arg-type]
    ) as run:
        yield run


def sent(run: Running, path: Path, protocol: str, **settings: Any) -> ReplayReport:
    return replay(path, ReplaySettings(to=run.address, protocol=protocol, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    ("dtype", "packed"),
    [
        ("<u2", True),
        pytest.param("<u4", False, marks=pytest.mark.slow),
        pytest.param("<u2", False, marks=pytest.mark.slow),
        pytest.param("|u1", False, marks=pytest.mark.slow),
    ],
)
def test_a_file_arrives_frame_by_frame_and_is_recorded_identically(
    tmp_path: Path, protocol: str, dtype: str, packed: bool
) -> None:
    path = native(tmp_path / "a.h5", dtype, packed=packed)
    wanted = digests_of_file(path)
    with listening(protocol, tmp_path / "out") as run:
        report = sent(run, path, protocol)
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert report.frames == 400 == status.frames
        assert (status.lost, status.duplicates, status.rejected) == (0, 0, {})
        assert run.frames[status.uid] == wanted
        assert digests_of_file(Path(status.recording)) == wanted
        with open_source(path) as source, open_source(Path(status.recording)) as copy:
            assert copy.header.scan.step_A == source.header.scan.step_A
            assert copy.header.scan.shape == (20, 20)
            assert copy.header.optics == source.header.optics
            assert np.array_equal(copy.header.arrays["bad_pixel_mask"], source.header.arrays["bad_pixel_mask"])


@pytest.mark.data
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_data_arrive_identically(tmp_path: Path, protocol: str) -> None:
    path = shared_data("tiny_mos2_80kV_focus")
    with listening(protocol, tmp_path) as run:
        sent(run, path, protocol)
        run.wait_for_state("complete", timeout_s=60)
        assert digests_of_file(Path(run.receiver.status().recording)) == digests_of_file(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scans_back_to_back_and_a_detector_that_comes_late(tmp_path: Path, protocol: str) -> None:
    path = native(tmp_path / "a.h5")
    wanted = digests_of_file(path)
    with listening(protocol) as run:
        time.sleep(0.3)
        sent(run, path, protocol, loops=3)
        ends = run.wait_for_ends(3)
        assert [end.reason for end in ends] == ["complete"] * 3
        sent(run, path, protocol)  # after switching the detector off and on, series numbers start at 1 again
        run.wait_for_ends(4)
        assert len(run.frames) == 4
        assert all(frames == wanted for frames in run.frames.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lost_repeated_and_shuffled_images(tmp_path: Path, protocol: str) -> None:
    path = native(tmp_path / "a.h5")
    wanted = digests_of_file(path)
    faults = Faults(seed=3, shuffle=40, duplicate=0.2, loss=0.01)
    with listening(protocol, tmp_path / "out", idle_timeout_s=1.0) as run:
        sent(run, path, protocol, batch=1, faults=faults)
        run.wait_for_state("incomplete")
        status = run.receiver.status()
        got = run.frames[status.uid]
        assert 0 < status.lost < 20
        assert status.late > 100
        assert 40 < status.duplicates < 120
        assert len(got) == 400 - status.lost
        assert got.items() <= wanted.items()
        assert digests_of_file(Path(status.recording)) == got


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damaged_images_are_counted_as_lost(tmp_path: Path, protocol: str) -> None:
    path = native(tmp_path / "a.h5")
    wanted = digests_of_file(path)
    with listening(protocol, tmp_path / "out", idle_timeout_s=1.0) as run:
        sent(run, path, protocol, batch=1, faults=Faults(seed=2, corrupt=0.05, wrong_shape=0.05))
        run.wait_for_state("incomplete")
        status = run.receiver.status()
        assert set(status.rejected) == {"corrupt", "wrong_size"}
        assert sum(status.rejected.values()) == status.lost > 10
        assert run.frames[status.uid].items() <= wanted.items()
        assert digests_of_file(Path(status.recording)) == run.frames[status.uid]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pause_is_waited_for_and_an_abort_ends_the_scan(tmp_path: Path, protocol: str) -> None:
    path = native(tmp_path / "a.h5")
    with listening(protocol, idle_timeout_s=1.0) as run:
        sent(run, path, protocol, batch=10, faults=Faults(stall_at=20, stall_s=0.3))
        assert run.wait_for_ends(1)[0].reason == "complete"
        sent(run, path, protocol, batch=10, faults=Faults(abort_at=20))
        end = run.wait_for_ends(2)[1]
        assert (end.reason, end.summary.placed) == ("aborted", 200)


def wait_for_the_whole_scan(run: Running) -> None:
    """Wait for a scan ended by at least one pause; a machine that stalls adds further pauses."""
    run.wait(lambda: len(run.ends()) >= 2 and run.ends()[-1].reason == "complete")
    run.wait(lambda: run.receiver.status().state == "complete")
    resumed = [event.resumed for event in run.arms()]
    assert resumed == [False] + [True] * (len(resumed) - 1)
    assert len(resumed) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [pytest.param("dectris-v1", marks=pytest.mark.slow), "dectris-v2"])
def test_a_pause_longer_than_the_time_out_costs_nothing_that_is_recorded(tmp_path: Path, protocol: str) -> None:
    path = native(tmp_path / "a.h5")
    with listening(protocol, tmp_path / "out", idle_timeout_s=1.0) as run:
        sent(run, path, protocol, batch=10, faults=Faults(stall_at=20, stall_s=4.0))
        wait_for_the_whole_scan(run)
        status = run.receiver.status()
        assert status.lost == 0
        assert digests_of_file(Path(status.recording)) == digests_of_file(path)


@pytest.mark.slow
def test_images_that_come_while_the_recording_is_being_made_cost_only_themselves(tmp_path: Path) -> None:
    """The pause is a little longer than the time-out: the scan is reopened once its recording is finished."""
    path = native(tmp_path / "a.h5")
    with listening("dectris-v2", tmp_path / "out", idle_timeout_s=0.3) as run:
        sent(run, path, "dectris-v2", batch=1, rate=80.0, faults=Faults(stall_at=20, stall_s=0.6))
        wait_for_the_whole_scan(run)
        got = digests_of_file(Path(run.receiver.status().recording))
        assert got.items() <= digests_of_file(path).items()
        assert max(got) == 399
        assert len(got) > 40


@contextmanager
def bound() -> Iterator[tuple[str, "zmq.Socket[bytes]"]]:
    """A bare PUSH socket that binds."""
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.setsockopt(zmq.SNDTIMEO, 5000)
    port = push.bind_to_random_port("tcp://127.0.0.1")
    try:
        yield f"tcp://127.0.0.1:{port}", push
    finally:
        push.close(linger=1000)
        context.term()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_armed_detector_is_waited_for_without_limit_and_the_next_header_ends_a_scan(protocol: str) -> None:
    frames = patterns()
    start = v1_header if protocol == "dectris-v1" else v2_start
    image = v1_image if protocol == "dectris-v1" else v2_image
    end = v1_end if protocol == "dectris-v1" else v2_end
    with bound() as (address, push):
        settings = ProtocolSettings(protocol)  # type: ignore[arg-type]
        with running(data=address, idle_timeout_s=1.0, protocol=settings) as run:
            push.send_multipart(start(1, 24, (16, 12)))
            run.wait_for_state("armed")
            time.sleep(1.5)
            assert run.receiver.status().state == "armed"
            for number in range(5):
                push.send_multipart(image(1, number, frames[number]))
            push.send_multipart(start(1, 24, (16, 12)))
            for number in range(24):
                push.send_multipart(image(1, number, frames[number]))
            push.send_multipart(end(1))
            first, second = run.wait_for_ends(2)
            assert (first.reason, first.summary.placed) == ("aborted", 5)
            assert (second.reason, second.summary.placed) == ("complete", 24)


def test_a_second_client_is_noticed() -> None:
    frames = patterns(80)
    with bound() as (address, push), running(data=address, protocol=ProtocolSettings("dectris-v2")) as run:
        push.send_multipart(v2_start(1, 80, (16, 12)))
        run.wait_for_state("armed")
        other = zmq.Context()
        thief = other.socket(zmq.PULL)
        thief.connect(address)
        time.sleep(0.3)
        for number in range(80):
            push.send_multipart(v2_image(1, number, frames[number]))
        run.wait(lambda: run.receiver.status().frames >= 38)
        lines = [event.text for event in run.events if isinstance(event, LogEvent)]
        assert "of every 2 frames only 1 arrives: does another program also receive from this sender?" in lines
        thief.close(linger=0)
        other.term()


def test_nobody_connects_or_nothing_can_be_sent(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    with pytest.raises(ServerGoneError, match="no server takes data"):
        replay(path, ReplaySettings(to=free_address(), protocol="dectris-v1", timeout_s=0.3))
    with pytest.raises(MetadataError, match="neither keys nor resending"):
        replay(path, ReplaySettings(to=free_address(), protocol="dectris-v2", control="tcp://127.0.0.1:9"))
    with pytest.raises(ServerGoneError, match="cannot be bound"):
        replay(path, ReplaySettings(to="nowhere", protocol="dectris-v2"))
    with h5py.File(path, "r+") as file:
        del file["data"]
        file["data"] = np.ones((4, 4, 16, 12), "<f4")
    with pytest.raises(InputFileError, match="cannot send <f4"):
        replay(path, ReplaySettings(to=free_address(), protocol="dectris-v1", timeout_s=0.3))


def bind_when_free(push: "zmq.Socket[bytes]", address: str) -> None:
    """Bind as soon as the address has been released by the closed socket before it, which a libzmq thread does."""
    give_up = time.monotonic() + 60
    while True:
        try:
            push.bind(address)
        except zmq.ZMQError as error:
            if error.errno != zmq.EADDRINUSE or time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return


def test_a_detector_switched_off_and_on_during_a_scan(tmp_path: Path) -> None:
    """The connection is restored automatically; the images in between are lost, nothing else."""
    frames = patterns(40)
    address = free_address()
    context = zmq.Context()

    def part_of_a_series(numbers: range, *, header: bool) -> None:
        push = context.socket(zmq.PUSH)
        push.setsockopt(zmq.IMMEDIATE, 1)
        bind_when_free(push, address)
        if header:
            push.send_multipart(v2_start(1, 40, (16, 12), "A"))
        for number in numbers:
            push.send_multipart(v2_image(1, number, frames[number], unique="A"))
        push.close(linger=2000)

    with running(data=address, protocol=ProtocolSettings("dectris-v2")) as run:
        part_of_a_series(range(20), header=True)
        run.wait(lambda: run.receiver.status().frames == 20)
        later = threading.Thread(target=part_of_a_series, args=(range(25, 40),), kwargs={"header": False})
        later.start()
        run.wait(lambda: run.receiver.status().frames == 35)
        later.join()
        assert run.receiver.status().lost == 5
    context.term()


def test_a_server_started_in_the_middle_of_a_series_records_the_rest(tmp_path: Path) -> None:
    frames = patterns(40)
    settings = ProtocolSettings("dectris-v2", lambda scan_header: overlay(scan_header, {"scan.shape": (5, 8)}))
    with bound() as (address, push):
        gone = push.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        with running(tmp_path / "one", data=address, protocol=settings) as first:
            push.send_multipart(v2_start(1, 40, (16, 12), "A"))
            for number in range(15):
                push.send_multipart(v2_image(1, number, frames[number], unique="A"))
            first.wait(lambda: first.receiver.status().frames == 15)
        assert gone.poll(5000), "else a frame is still sent to the server that has ended"
        push.disable_monitor()
        gone.close(linger=0)
        with running(tmp_path / "two", data=address, protocol=settings) as second:
            for number in range(15, 40):
                push.send_multipart(v2_image(1, number, frames[number], unique="A"))
            push.send_multipart(v2_end(1, "A"))
            second.wait(lambda: second.receiver.status().frames == 25)
            assert any(
                "its header did not arrive" in event.text for event in second.events if isinstance(event, LogEvent)
            )
        (one,), (two,) = ((tmp_path / name).glob("*.h5") for name in ("one", "two"))
        found = {**digests_of_file(one), **digests_of_file(two)}
        assert len(digests_of_file(one)) == 15
        assert found == {number: digest(frame) for number, frame in enumerate(frames)}


@pytest.mark.parametrize(("shape", "stored"), [((5, 8), (5, 8)), ((6, 8), (6, 8)), ((5, 7), (40,))])
def test_a_scan_shape_that_does_not_fit_is_recorded_as_well(
    tmp_path: Path, shape: tuple[int, int], stored: tuple[int, ...]
) -> None:
    frames = patterns(40)
    settings = ProtocolSettings("dectris-v2", lambda scan_header: overlay(scan_header, {"scan.shape": shape}))
    with bound() as (address, push), running(tmp_path, data=address, idle_timeout_s=1.0, protocol=settings) as run:
        for parts in (v2_start(1, 40, (16, 12)), *(v2_image(1, k, f) for k, f in enumerate(frames)), v2_end(1)):
            push.send_multipart(parts)
        run.wait_for_state("complete", "aborted")
        run.wait(lambda: run.receiver.status().recording_state == "complete")
        recording = Path(run.receiver.status().recording)
        assert digests_of_file(recording) == {number: digest(frame) for number, frame in enumerate(frames)}
        with h5py.File(recording) as file:
            assert file["data"].shape == (*stored, 16, 12)
