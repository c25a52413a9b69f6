"""A simulated Timepix3 and the receiver, over real sockets: the file's content is what arrives."""

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dectris_tools import free_port
from event_tools import event_message, sparse_frames
from stream_tools import PATIENCE_S, Running, digest, digests_of_file, make_header, running

from ptylive.schema import InputFileError, ScanHeader
from ptylive.schema.metadata import overlay
from ptylive.schema.model import Array
from ptylive.simulators.faults import Faults
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.replay import ReplayReport, ReplaySettings
from ptylive.simulators.replay import replay as send
from ptylive.simulators.sender import Sender
from ptylive.simulators.tpx3 import Tpx3Detector
from ptylive.streamer.protocols import ProtocolSettings
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import created_scan
from ptylive.streamer.wire import EndMessage, FramesMessage


def prepare(header: ScanHeader) -> ScanHeader:
    return overlay(header, {"scan.step_A": 0.5})


SETTINGS = ProtocolSettings("tpx3", prepare)
PATIENCE = SendPatience(PATIENCE_S, PATIENCE_S, PATIENCE_S)


def typed(header: ScanHeader, dtype: str) -> ScanHeader:
    return replace(header, detector=header.detector.model_copy(update={"dtype": dtype}))


def native(path: Path, dtype: str = "<u2", **scan_keys: int) -> tuple[Path, Array]:
    """A scan of 6 x 7 sparse patterns, and the patterns."""
    header = make_header(pixels=(12, 10), **scan_keys)
    header = typed(header, dtype)
    frames = sparse_frames(header.frames, (12, 10), 6, dtype)
    with created_scan(path, header) as writer:
        writer.add_frames(np.arange(header.frames), frames)
        writer.finish()
    return path, frames


def address() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def sent(run: Running, path: Path, faults: Faults | None = None, batch: int | None = None) -> ReplayReport:
    settings = ReplaySettings(to=run.address, protocol="tpx3", timeout_s=PATIENCE_S, faults=faults, batch=batch)
    return send(path, settings)


@pytest.mark.parametrize(
    ("dtype", "batch"),
    [("|u1", 1), ("<u2", 7), ("<u4", None)]
    + [pytest.param(*each, marks=pytest.mark.slow) for each in [("|u1", 7), ("<u2", None), ("<u4", 1)]],
)
def test_what_the_file_holds_arrives_and_is_recorded(tmp_path: Path, dtype: str, batch: int | None) -> None:
    path, frames = native(tmp_path / "scan.h5", dtype)
    folder = tmp_path / "recorded"
    folder.mkdir()
    kept = frames.astype("<u2") if dtype == "|u1" else frames
    with running(folder, data=address(), protocol=SETTINGS) as run:
        assert sent(run, path, batch=batch).frames == 42
        (end,) = run.wait_for_ends()
        (arm,) = run.arms()
        assert (arm.header.scan.shape, arm.header.scan.step_A) == ((6, 7), (0.5, 0.5))
        assert run.frames[end.uid] == {k: digest(frame) for k, frame in enumerate(kept)}
        run.wait(lambda: any(one.state == "complete" for one in run.recordings()))
        assert run.receiver.status().rejected == {}
    (recorded,) = folder.glob("*.h5")
    assert digests_of_file(recorded) == {k: digest(frame) for k, frame in enumerate(kept)}


def test_a_scan_with_flyback_is_one_line(tmp_path: Path) -> None:
    path, frames = native(tmp_path / "scan.h5", flyback_frames=2)
    with running(data=address(), protocol=SETTINGS) as run:
        sent(run, path)
        (end,) = run.wait_for_ends()
        assert run.arms()[0].header.scan.shape == (1, len(frames))
        assert len(run.frames[end.uid]) == len(frames)


def test_lost_and_damaged_messages(tmp_path: Path) -> None:
    _, frames = native(tmp_path / "scan.h5")
    with (
        running(data=address(), protocol=SETTINGS, idle_timeout_s=5.0) as run,
        Tpx3Detector(run.address, PATIENCE) as detector,
    ):
        header = make_header(pixels=(12, 10))
        detector.arm(header)
        for first in range(0, 42, 7):
            part = frames[first : first + 7].tobytes()
            detector.frames(FramesMessage("u", first, 7, "none", (part[: -200 if first == 14 else None],)))
            if first == 21:
                detector.inject(b"GARBAGE")
        detector.end(EndMessage("u", 42, "complete"))
        (end,) = run.wait_for_ends()
        digests = {k: digest(frame) for k, frame in enumerate(frames)}
        found = run.frames[end.uid]
        assert found == {k: one for k, one in digests.items() if k in found}
        assert set(found) >= {*range(14), *range(28, 42)}
        assert sum(run.receiver.status().rejected.values()) >= 1


def test_a_connection_that_breaks_costs_its_scan_and_no_other(tmp_path: Path) -> None:
    _, frames = native(tmp_path / "scan.h5")
    with running(data=address(), protocol=SETTINGS) as run, Tpx3Detector(run.address, PATIENCE) as detector:
        header = make_header(pixels=(12, 10))
        for k in range(2):
            detector.arm(header)
            for first in range(0, 42, 7):
                part = frames[first : first + 7].tobytes()
                detector.frames(FramesMessage("u", first, 7, "none", (part,)))
                if k == 0 and first == 21:
                    run.wait(lambda: any(len(one) >= 21 for one in run.frames.values()))
                    detector.disconnect()
            detector.end(EndMessage("u", 42, "complete"))
        first_end, second_end = run.wait_for_ends(2)
        assert (first_end.reason, second_end.reason) == ("aborted", "complete")
        assert run.frames[second_end.uid] == {k: digest(frame) for k, frame in enumerate(frames)}
        assert run.receiver.status().rejected.keys() <= {"no_header", "truncated"}


def test_a_journal_of_a_server_that_was_killed_is_taken_up(tmp_path: Path) -> None:
    header, frames = make_header(pixels=(12, 10)), sparse_frames(42, (12, 10), 6)
    journal = Journal(tmp_path / "killed.journal", header)
    for first in range(0, 21, 7):
        journal.append(event_message(header.uid, first, frames[first : first + 7]))
    journal.close()
    with running(tmp_path, idle_timeout_s=0.5, recovery_grace_s=0.5) as run:
        (end,) = run.wait_for_ends()
        assert run.frames[end.uid] == {k: digest(frame) for k, frame in enumerate(frames[:21])}
        run.wait(lambda: any(one.state == "complete" for one in run.recordings()))
    (recorded,) = tmp_path.glob("*.h5")
    assert digests_of_file(recorded) == {k: digest(frame) for k, frame in enumerate(frames[:21])}


def test_native_senders_may_send_events_and_again(tmp_path: Path) -> None:
    header, frames = make_header(pixels=(12, 10)), sparse_frames(42, (12, 10), 6)
    changed = frames.copy()
    changed[20, 3, 3] += 1
    with running() as run, Sender(run.address, PATIENCE) as sender:
        sender.arm(header)
        for part in (frames[:21], frames[:21]):
            sender.frames(event_message(header.uid, 0, part))
        sender.frames(FramesMessage(header.uid, 10, 11, "none", (frames[10:21].tobytes(),)))
        sender.frames(event_message(header.uid, 10, changed[10:21]))
        sender.frames(event_message(header.uid, 21, frames[21:]))
        sender.end(EndMessage(header.uid, 42, "complete"))
        (end,) = run.wait_for_ends()
        assert run.frames[end.uid] == {k: digest(frame) for k, frame in enumerate(frames)}
        status = run.receiver.status()
        assert status.rejected == {"other_data": 1}
        assert status.duplicates == 32


def test_what_such_a_detector_cannot_send(tmp_path: Path) -> None:
    header = make_header(pixels=(12, 10))
    with Tpx3Detector("tcp://127.0.0.1:0", PATIENCE) as detector:
        with pytest.raises(InputFileError, match="cannot send <i4"):
            detector.arm(typed(header, "<i4"))
        with pytest.raises(InputFileError, match="cannot send 1 x 70000 points"):
            detector.arm(make_header((1, 70_000), (12, 10)))
        detector.pause(0.0)
        host, port = detector.address.removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port))):
            detector.disconnect()
