"""Conversions wait on the disk, not in threads and file handles; what fails is tried again."""

import sys
import threading
import time
from pathlib import Path

import pytest
from stream_tools import (
    PATIENCE_S,
    connected,
    digest,
    digests_of_file,
    make_arm,
    make_frames,
    messages_of,
    running,
    send,
)

from ptylive.streamer.events import RecordingEvent
from ptylive.streamer.recording import converter
from ptylive.streamer.recording.converter import Closing, Converter, Job, RecorderProcess
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.wire import ArmMessage


def journal_of(path: Path) -> dict[int, bytes]:
    arm = make_arm()
    frames = make_frames(arm)
    journal = Journal(path, arm)
    for message in messages_of(arm, frames):
        journal.append(message)
    journal.close()
    return {number: digest(frame) for number, frame in enumerate(frames)}


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="handles are counted in /proc")
@pytest.mark.parametrize("scans", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_scans_that_wait_for_their_recordings_take_no_threads_or_handles(tmp_path: Path, scans: int) -> None:
    threads, handles = threading.active_count(), open_handles()
    most_threads = most_handles = 0
    with running(tmp_path) as run, connected(run.address) as socket:
        for count in range(1, scans + 1):
            arm = make_arm((1, 4))
            send(socket, ArmMessage(arm), *messages_of(arm, make_frames(arm)))
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


@pytest.mark.parametrize("answer", ['{"ok": false, "error": "No space left on device", "over": true}', ""])
def test_a_process_that_is_about_to_end_gets_no_further_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """A disk that is full ends the recorder: the journal behind it must not be taken for one that killed it."""
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
    monkeypatch.setattr(converter, "_END_S", 0.3)  # it takes longer than anybody waits
    process = RecorderProcess()
    assert process.record(tmp_path / "a.journal", tmp_path / "a.h5").get("ok", False) is False
    assert process.record(tmp_path / "b.journal", tmp_path / "b.h5") == {"ok": True}
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
    assert "tried again" in events[0].message
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
    """Nobody else comes by: neither another scan nor a restart."""
    monkeypatch.setattr(converter, "RETRY_S", 0.05)
    arm = make_arm()
    frames = make_frames(arm)
    journal = Journal(tmp_path / "a.journal", arm)
    for message in messages_of(arm, frames)[:4]:
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
