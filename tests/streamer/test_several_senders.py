"""Other senders' messages do not end a scan: frames of every announced scan are recorded."""

from pathlib import Path
from typing import Any

import pytest
from stream_tools import connected, digest, digests_of_file, make_frames, make_header, messages_of, running, send

from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.recording.catalogue import Catalogue
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, PingMessage


def digests(frames: Any) -> dict[int, bytes]:
    return {number: digest(frame) for number, frame in enumerate(frames)}


def test_a_stray_arm_message_ends_nothing(tmp_path: Path) -> None:
    header, stray = make_header(), make_header()
    frames = make_frames(header)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages_of(header, frames)[:4], ArmMessage(stray))
        send(socket, *messages_of(header, frames)[4:], EndMessage(header.uid, 42, "complete"))
        run.wait_for_whole(header.uid)
        run.wait(lambda: run.receiver.status().uid == stray.uid)  # now it is its turn
        assert run.receiver.status().rejected == {}
        assert run.frames[header.uid] == digests(frames)
    (recording,) = tmp_path.glob("*.h5")
    assert digests_of_file(recording) == digests(frames)


def test_a_scan_that_is_sent_beside_another_is_shown_when_that_one_ends() -> None:
    first, second = make_header(), make_header()
    frames = make_frames(first)
    with running(idle_timeout_s=20.0) as run, connected(run.address) as socket:
        send(socket, ArmMessage(first), *messages_of(first, frames)[:2])
        send(socket, ArmMessage(second), *messages_of(second, frames)[:2])
        run.wait(lambda: run.receiver.status().uid == second.uid)
        send(socket, messages_of(first, frames)[2], *messages_of(second, frames)[2:])
        run.wait_for_ends()
        status = run.receiver.status()
        assert (status.uid, status.state, status.frames) == (first.uid, "scanning", 15)
        send(socket, *messages_of(first, frames)[3:])
        run.wait_for_state("complete")


@pytest.mark.slow
def test_five_senders_at_once(tmp_path: Path) -> None:
    arms = [make_header() for _ in range(5)]
    frames = {header.uid: make_frames(header, seed) for seed, header in enumerate(arms)}
    with running(tmp_path, idle_timeout_s=20.0) as run, connected(run.address) as socket:
        send(socket, *(ArmMessage(header) for header in arms[:2]))
        for messages in zip(*(messages_of(header, frames[header.uid]) for header in arms), strict=True):
            for message, header in zip(messages, arms, strict=True):
                send(socket, PingMessage(header.uid, header), message)
        run.wait(lambda: sum(end.reason == "complete" for end in run.ends()) == 5)
        run.wait(lambda: not list(tmp_path.glob("*.journal")))  # four are open at a time: the first is recorded twice
        assert run.receiver.status().rejected == {}
    assert sorted(tuple(digests_of_file(path).items()) for path in tmp_path.glob("*.h5")) == sorted(
        tuple(digests(each).items()) for each in frames.values()
    )


def test_frames_open_a_scan_again_that_was_closed_in_a_pause(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    with running(tmp_path, idle_timeout_s=0.3) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages_of(header, frames)[:4])
        run.wait_for_ends()
        send(socket, *messages_of(header, frames)[4:])  # no ping; its recording may be in progress
        run.wait_for_whole(header.uid)
        run.wait_for_state("complete")
        assert run.receiver.status().rejected == {}
    (recording,) = tmp_path.glob("*.h5")
    assert digests_of_file(recording) == digests(frames)


def test_a_scan_with_refused_frames_is_not_complete(tmp_path: Path) -> None:
    header = make_header((4, 4))
    messages = messages_of(header, make_frames(header), batch=8)
    broken = FramesMessage(header.uid, 8, 8, "bslz4", (b"not a pattern at all",) * 8)
    with running(tmp_path, idle_timeout_s=0.3) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), messages[0], broken, EndMessage(header.uid, 16, "complete"))
        (end,) = run.wait_for_ends()
        assert (end.reason, end.summary.placed, end.summary.lost, end.summary.refused) == ("incomplete", 8, 8, 8)
        run.wait_for_state("incomplete")
        assert run.receiver.status().refused == 8


@pytest.mark.parametrize("fault", ["find", "journal", "thread", "folder"])
def test_a_folder_in_a_bad_state_costs_the_recording_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """No file handles left, a stale mount, no threads left: from the arm message on."""

    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("can't start new thread") if fault == "thread" else OSError(24, "Too many open files")

    header = make_header()
    frames = make_frames(header)
    with running(tmp_path) as run, connected(run.address) as socket:
        if fault == "find":
            monkeypatch.setattr(Catalogue, "find", failing)
        elif fault == "folder":
            monkeypatch.setattr(Path, "mkdir", failing)
        else:
            monkeypatch.setattr(Journal, "__init__", failing)
        send(socket, ArmMessage(header), *messages_of(header, frames))
        run.wait_for_whole(header.uid)
        monkeypatch.undo()
        assert run.frames[header.uid] == digests(frames)
        assert run.receiver.status().rejected == {}
        failed = [event for event in run.events if isinstance(event, RecordingEvent) and event.state == "failed"]
        assert bool(failed) == (fault != "find")
        run.wait_for_state("complete" if fault == "find" else "failed")
