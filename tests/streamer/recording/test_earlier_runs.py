"""What a killed server left, while its recorder still works on it or has just finished."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stream_tools import connected, digest, digests_of_file, make_frames, make_header, messages_of, running, send

from ptylive.streamer.recording import catalogue, earlier_runs, recovery
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.recording.recovery import journals
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.wire import ArmMessage, EndMessage

HEADER = make_header((8, 8))
FRAMES = make_frames(HEADER)
MESSAGES = messages_of(HEADER, FRAMES, batch=4)
WANTED = {number: digest(frame) for number, frame in enumerate(FRAMES)}


def left_behind(folder: Path) -> Path:
    """The journal of a scan that has ended, not yet converted."""
    path = folder / "20261130-010203_test.journal"
    written = Journal(path, HEADER)
    for message in MESSAGES:
        written.append(message)
    written.append(EndMessage(HEADER.uid, HEADER.frames, "complete"))
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
