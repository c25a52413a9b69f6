"""What a killed server left, while its recorder still works on it or has just finished."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stream_tools import (
    Running,
    connected,
    digest,
    digests_of_file,
    make_frames,
    make_header,
    messages_of,
    running,
    send,
)

from ptylive.streamer.recording import catalogue, earlier_runs, recovery
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.recording.recovery import journals
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.vetting.journals import read_journal
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage

HEADER = make_header((8, 8))
FRAMES = make_frames(HEADER)
MESSAGES = messages_of(HEADER, FRAMES, batch=4)
WANTED = {number: digest(frame) for number, frame in enumerate(FRAMES)}


def left_behind(folder: Path, messages: list[FramesMessage] = MESSAGES) -> Path:
    """The journal of a scan that has ended, not yet converted."""
    path = folder / "20261130-010203_test.journal"
    written = Journal(path, HEADER)
    for message in messages:
        written.append(message)
    written.append(EndMessage(HEADER.uid, HEADER.frames, "complete" if messages is MESSAGES else "aborted"))
    written.close()
    return path


def recorded(path: Path) -> None:
    """The recorder of the killed server finishes its work."""
    if path.exists():
        record(path, path.with_suffix(".h5"))


def first(work: Callable[[], None], real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        work()
        return real(*arguments, **named)

    return call


def sent_again(folder: Path) -> None:
    """The scan is sent again as soon as the server listens: nothing of it is new."""
    with running(folder) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES)
        run.wait(lambda: run.receiver.status().duplicates == HEADER.frames or bool(run.arms()))
        assert not run.arms()
        assert not [event.text for event in run.events if "No such file" in getattr(event, "text", "")]
    (path,) = folder.glob("*.h5")
    assert digests_of_file(path) == WANTED
    assert not journals(folder)


@pytest.mark.parametrize("step", ["remove_abandoned", "remove_never_begun", "journals", "read_leftover"])
def test_a_recording_that_is_finished_while_the_folder_is_read_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Regression: its journal was gone before journals were listed, and it was not there when recordings were: a scan
    that was sent again within five seconds was recorded twice.
    """
    path = left_behind(tmp_path)
    monkeypatch.setattr(earlier_runs, step, first(lambda: recorded(path), getattr(earlier_runs, step)))
    sent_again(tmp_path)


def test_a_recording_that_is_finished_later_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is read at once, not when the catalogue would next look."""
    monkeypatch.setattr(recovery, "REMEMBERED_S", -1.0)
    monkeypatch.setattr(catalogue, "LOOK_EVERY_S", 3600.0)
    path = left_behind(tmp_path)
    with JournalReader(path) as recorder:
        assert recorder.lock()
        with running(tmp_path) as run, connected(run.address) as socket:
            run.wait(lambda: run.receiver.safe_ranges(HEADER.uid) == [(0, HEADER.frames)])
            recorder.close()
            recorded(path)
            time.sleep(2 * earlier_runs.LOOK_S)
            send(socket, ArmMessage(HEADER), *MESSAGES)
            run.wait(lambda: run.receiver.status().duplicates == HEADER.frames or bool(run.arms()))
            assert not run.arms()


def test_a_journal_whose_recorder_ended_before_its_work_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it stayed a journal until the next start."""
    monkeypatch.setattr(recovery, "ABANDONED_S", 0.2)
    path = left_behind(tmp_path)
    with JournalReader(path) as recorder:
        assert recorder.lock()
        with running(tmp_path) as run:
            run.wait(lambda: run.receiver.safe_ranges(HEADER.uid) == [(0, HEADER.frames)])
            recorder.close()
            run.wait(path.with_suffix(".h5").exists)
            run.wait(lambda: [event.state for event in run.recordings()][-1:] == ["complete"])
    assert digests_of_file(path.with_suffix(".h5")) == WANTED
    assert not journals(tmp_path)


@pytest.mark.parametrize("other", [False, True], ids=["the same data", "other data"])
def test_a_scan_sent_again_before_its_journal_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, other: bool
) -> None:
    """Regression: its recorder had ended, too, so there was no recording to compare it with; it was recorded twice, and
    the journal stayed a journal.
    """
    monkeypatch.setattr(recovery, "ABANDONED_S", 1.0)
    path = left_behind(tmp_path)
    with JournalReader(path) as recorder:
        assert recorder.lock()
        with running(tmp_path) as run, connected(run.address) as socket:
            run.wait(lambda: run.receiver.safe_ranges(HEADER.uid) == [(0, HEADER.frames)])
            recorder.close()
            run.wait(lambda: not run.receiver._acquisition._recordings.is_converting(HEADER.uid))
            again = messages_of(HEADER, make_frames(HEADER, 1), batch=4) if other else MESSAGES
            send(socket, ArmMessage(HEADER), *again)
            run.wait(path.with_suffix(".h5").exists)
            if other:
                run.wait_for_whole(f"{HEADER.uid}-again-2")
            else:
                run.wait(lambda: run.receiver.status().duplicates == HEADER.frames)
                assert not run.arms()
    assert digests_of_file(path.with_suffix(".h5")) == WANTED
    assert len(list(tmp_path.iterdir())) == (2 if other else 1)


@pytest.mark.parametrize("messages", [MESSAGES, MESSAGES[:5]], ids=["whole", "part"])
def test_a_scan_sent_again_while_its_journal_is_read_to_be_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[FramesMessage]
) -> None:
    """Regression: from then on it was unknown, and recorded twice; reading a large journal takes minutes."""
    monkeypatch.setattr(recovery, "ABANDONED_S", 0.2)
    monkeypatch.setattr(recovery, "REMEMBERED_S", 0.1)
    path = left_behind(tmp_path, messages)
    reading, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        reading.set()
        assert go_on.wait(60)

    with JournalReader(path) as recorder:
        assert recorder.lock()
        with running(tmp_path) as run, connected(run.address) as socket:
            run.wait(lambda: bool(run.receiver.safe_ranges(HEADER.uid)))
            read_leftover = earlier_runs.read_leftover
            monkeypatch.setattr(earlier_runs, "read_leftover", first(wait, read_leftover))
            recorder.close()
            assert reading.wait(60)
            monkeypatch.setattr(earlier_runs, "read_leftover", read_leftover)
            send(socket, ArmMessage(HEADER), *MESSAGES)
            if messages is MESSAGES:
                run.wait(lambda: bool(held_messages(run)) or bool(run.arms()))
            else:
                run.wait_for_whole(HEADER.uid)
            go_on.set()
            run.wait(lambda: run.receiver.status().duplicates == 4 * len(messages))
            run.wait(lambda: not journals(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == [path.with_suffix(".h5").name]
    assert digests_of_file(path.with_suffix(".h5")) == WANTED


def held_messages(run: Running) -> list[str]:
    return run.receiver._acquisition._known.held.uids


def test_a_journal_can_be_written_to_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: it was claimed as long as it was read, and a scan that went on meanwhile was not recorded."""
    path = left_behind(tmp_path, MESSAGES[:5])
    messages, claimed = JournalReader.messages, []

    def claim() -> None:
        with JournalReader(path) as other:
            claimed.append(other.lock())

    monkeypatch.setattr(JournalReader, "messages", first(claim, messages))
    assert not read_journal(path)["busy"]
    assert claimed == [True]
    with JournalReader(path) as other:
        monkeypatch.setattr(JournalReader, "messages", first(other.lock, messages))
        assert read_journal(path)["busy"], "claimed meanwhile"


def test_recordings_are_expected_while_journals_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: on a slow disk a scan that was sent again at that time was recorded twice."""
    path = left_behind(tmp_path)
    recorded(path)
    monkeypatch.setattr(earlier_runs, "START_S", 0.0)
    monkeypatch.setattr(earlier_runs, "RESUME_S", 0.0)
    go_on = threading.Event()
    monkeypatch.setattr(earlier_runs, "journals", first(lambda: go_on.wait(60), journals))
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES)
        run.wait(lambda: bool(held_messages(run)) or bool(run.arms()))
        go_on.set()
        run.wait(lambda: run.receiver.status().duplicates == HEADER.frames)
        assert not run.arms()
    assert len(list(tmp_path.iterdir())) == 1
