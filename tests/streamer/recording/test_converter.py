"""Conversions wait on the disk, not in threads and file handles; failed ones are retried."""

import errno
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stream_tools import (
    PATIENCE_S,
    connected,
    digest,
    digests_of_file,
    make_frames,
    make_header,
    messages_of,
    running,
    send,
)

from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.recording import converter, recorder
from ptylive.streamer.recording.converter import (
    NOTHING_WRITTEN,
    PARTLY_WRITTEN,
    Closing,
    Converter,
    Job,
    RecorderProcess,
)
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.wire import ArmMessage


def journal_of(path: Path) -> dict[int, bytes]:
    header = make_header()
    frames = make_frames(header)
    journal = Journal(path, header)
    for message in messages_of(header, frames):
        journal.append(message)
    journal.close()
    return {number: digest(frame) for number, frame in enumerate(frames)}


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="handles are counted in /proc")
@pytest.mark.parametrize("scans", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_scans_that_wait_for_their_recordings_take_no_threads_or_handles(tmp_path: Path, scans: int) -> None:
    threads, handles = threading.active_count(), open_handles()
    most_threads = most_handles = 0
    with running(tmp_path) as run, connected(run.address) as socket:
        for count in range(1, scans + 1):
            header = make_header((1, 4))
            send(socket, ArmMessage(header), *messages_of(header, make_frames(header)))
            if count % 10 == 0:
                run.wait_for_ends(count)
                most_threads = max(most_threads, threading.active_count() - threads)
                most_handles = max(most_handles, open_handles() - handles)
        run.wait(lambda: sum(event.state == "complete" for event in run.recordings()) == scans, timeout_s=200.0)
    # sockets and their threads, the receiver, the reader, two for the conversions; journals that are just being closed
    assert most_threads < 30
    assert most_handles < 60
    assert len(list(tmp_path.glob("*.h5"))) == scans
    assert list(tmp_path.glob("*.journal")) == []


@pytest.mark.own_recorder
def test_one_process_makes_all_recordings_and_is_started_again_when_it_dies(tmp_path: Path) -> None:
    events: list[RecordingEvent] = []
    one = Converter(events.append)
    recorder: RecorderProcess = one._process
    wanted = {}
    pids = []
    for name in ("a", "b", "c"):
        wanted[name] = journal_of(tmp_path / f"{name}.journal")
        one.add(Job(name, tmp_path / f"{name}.journal", tmp_path / f"{name}.h5"))
        while len(events) < len(wanted):
            threading.Event().wait(0.01)
        assert recorder._process is not None
        pids.append(recorder._process.pid)
        if name == "b":
            recorder._process.kill()
            recorder._process.wait()
    assert pids[0] == pids[1] != pids[2]
    assert one.stop(20)
    assert [event.state for event in events] == ["complete"] * 3
    assert all(digests_of_file(tmp_path / f"{name}.h5") == digests for name, digests in wanted.items())


@pytest.mark.own_recorder
@pytest.mark.parametrize("answer", ['{"ok": false, "error": "No space left on device", "over": true}', ""])
def test_a_process_that_is_about_to_end_gets_no_further_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """A full disk ends the recorder: the next journal must not be blamed for that."""
    first = tmp_path / "first"
    script = tmp_path / "python"
    said = f"echo '{answer}'" if answer else "echo oh"
    script.write_text(
        f"""#!/bin/sh
read -r line
if mkdir "{first}" 2> /dev/null; then {said}; exec 1>&- 2>&-
while [ ! -e "{first}/go" ]; do sleep 0.01; done; exit 1; fi
echo '{{"ok": true}}'
"""
    )
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(converter, "_END_S", 0.3)  # its end takes longer than anybody waits
    process = RecorderProcess()
    assert process.record(tmp_path / "a.journal", tmp_path / "a.h5", "a").get("ok", False) is False
    assert process.record(tmp_path / "b.journal", tmp_path / "b.h5", "b") == {"ok": True}
    (first / "go").touch()
    process.end(kill=True)


def test_a_conversion_that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "RETRY_S", 0.2)
    events: list[RecordingEvent] = []
    folder = tmp_path / "full"
    folder.mkdir()
    wanted = journal_of(folder / "a.journal")
    in_the_way = folder / "a.h5"
    in_the_way.write_bytes(b"not a recording of this scan")
    one = Converter(events.append)
    one.add(Job("u", folder / "a.journal", in_the_way))
    while not events:
        threading.Event().wait(0.01)
    assert [event.state for event in events] == ["failed"]
    assert "will be retried" in events[0].message
    in_the_way.unlink()
    while len(events) < 2:
        threading.Event().wait(0.01)
    assert one.stop(20)
    assert [event.state for event in events] == ["failed", "complete"]
    assert digests_of_file(in_the_way) == wanted
    assert not (folder / "a.journal").exists()


def test_a_journal_whose_disk_was_full_is_converted_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else triggers it: neither another scan nor a restart."""
    monkeypatch.setattr(converter, "RETRY_S", 0.05)
    header = make_header()
    frames = make_frames(header)
    journal = Journal(tmp_path / "a.journal", header)
    for message in messages_of(header, frames)[:4]:
        journal.append(message)
    events: list[RecordingEvent] = []
    one = Converter(events.append)
    one.add(Closing("u", journal, "keep"))
    give_up = time.monotonic() + PATIENCE_S
    while not events and time.monotonic() < give_up:
        threading.Event().wait(0.01)
    assert one.stop(20)
    assert [event.state for event in events] == ["complete"]
    assert digests_of_file(tmp_path / "a.h5") == {number: digest(frame) for number, frame in enumerate(frames[:20])}
    assert not (tmp_path / "a.journal").exists()


class Handed:
    """A journal handed over to be closed: its path, and the outcome of closing it."""

    def __init__(self, path: Path | None, problem: OSError | None = None) -> None:
        self.path, self.problem, self.removed = path, problem, False

    def close(self, *, remove: bool = False) -> None:
        self.removed = remove
        if self.problem is not None:
            raise self.problem


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("then", "path", "problem", "said", "failed"),
    [
        ("convert", None, NO_SPACE, [("failed", f"No space left on device; {NOTHING_WRITTEN}")], 0),
        ("convert", "a.journal", NO_SPACE, [("failed", f"a.journal: No space left on device; {PARTLY_WRITTEN}")], 1),
        ("keep", "a.journal", NO_SPACE, [], 1),
        ("keep", None, NO_SPACE, [], 0),
        ("remove", "a.journal", None, [], 0),
    ],
)
def test_what_becomes_of_a_journal_that_does_not_close(
    then: Any, path: str | None, problem: OSError | None, said: list[tuple[str, str]], failed: int
) -> None:
    events: list[RecordingEvent] = []
    one = Converter(events.append)
    journal = Handed(None if path is None else Path(path), problem)
    one._close(Closing("uid", journal, then))  # type: ignore[arg-type]
    assert [(event.state, event.message) for event in events] == said
    assert (len(one._failed), journal.removed, one._jobs.empty()) == (failed, then == "remove", True)


def test_journals_that_failed_are_tried_again_while_they_are_there_and_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converter, "RETRY_S", 0.0)
    events: list[RecordingEvent] = []
    one = Converter(events.append)
    for name in ("gone", "no room", "again", "made"):
        job = Job(name, tmp_path / f"{name}.journal", tmp_path / f"{name}.h5")
        job.journal.touch()
        one._note_failed(job)
    (tmp_path / "gone.journal").unlink()
    monkeypatch.setattr(converter, "_has_room", lambda job: job.uid != "no room")
    answers = {"again": {"error": "still damaged"}, "made": {"ok": True, "placed": 1, "frames": 1, "seconds": 0.1}}
    monkeypatch.setattr(one._process, "record", lambda journal, _target, _uid: answers[journal.stem])
    one._try_again()
    assert sorted(path.stem for path in one._failed) == ["again", "no room"]
    assert [(event.uid, event.state) for event in events] == [("made", "complete")], "only success is told"


def test_once_given_up_nothing_is_tried_or_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "RETRY_S", 0.0)
    events: list[RecordingEvent] = []
    one = Converter(events.append)
    one._note_failed(Job("a", tmp_path / "a.journal", tmp_path / "a.h5"))
    assert one.stop(0)
    one._try_again()
    one._fail(Job("b", tmp_path / "b.journal", tmp_path / "b.h5"), "why")
    one._convert_all()
    assert events == []


def test_a_disk_that_cannot_be_asked_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "a.journal").touch()
    assert converter._has_room(Job("a", tmp_path / "a.journal", tmp_path / "a.h5"))
    assert not converter._has_room(Job("a", tmp_path / "none.journal", tmp_path / "a.h5"))
    assert not converter._has_room(Job("a", tmp_path / "a.journal", tmp_path / "none" / "a.h5"))


@pytest.mark.own_recorder
@pytest.mark.skipif(not hasattr(os, "getpriority"), reason="no priorities here")
def test_a_recorder_steps_back_behind_frames_and_maps(tmp_path: Path) -> None:
    process = RecorderProcess()
    journal_of(tmp_path / "a.journal")
    assert process.record(tmp_path / "a.journal", tmp_path / "a.h5", "a")["ok"]
    running = process._running()
    here = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, running.pid) == min(here + recorder.NICENESS, 19)
    process.end(kill=False)


def order_of(read: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Actions of a converter for one journal: it checks (``ask``) whether frames are read, or makes the recording."""
    did: list[str] = []
    answers, made = iter(read), threading.Event()

    def frames_are_read(_timeout_s: float) -> bool:
        did.append("ask")
        return next(answers)

    def record(_journal: Path, _target: Path, _uid: str) -> dict[str, Any]:
        did.append("record")
        made.set()
        return {"ok": True, "placed": 1, "frames": 1, "seconds": 0.1}

    one = Converter(lambda _event: None, frames_are_read)
    monkeypatch.setattr(one._process, "record", record)
    one.add(Job("a", tmp_path / "a.journal", tmp_path / "a.h5"))
    assert made.wait(20)
    assert one.stop(20)
    return did


def test_frames_are_reduced_before_a_recording_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "FRAMES_FIRST_S", 60.0)
    assert order_of([False, False, True], tmp_path, monkeypatch) == ["ask", "ask", "ask", "record"]


def test_a_recording_does_not_wait_for_ever_for_a_slow_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "FRAMES_FIRST_S", 0.0)
    assert order_of([], tmp_path, monkeypatch) == ["record"]


def test_a_converter_that_is_to_end_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "FRAMES_FIRST_S", 600.0)
    one = Converter(lambda _event: None, lambda _timeout_s: bool(one._ending.wait(600)) and False)
    monkeypatch.setattr(one._process, "record", lambda *_: {"ok": True, "placed": 1, "frames": 1, "seconds": 0.1})
    one.add(Job("a", tmp_path / "a.journal", tmp_path / "a.h5"))
    assert one.stop(60)
