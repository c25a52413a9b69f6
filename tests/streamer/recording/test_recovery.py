"""Killing the receiver at any moment loses nothing it has acknowledged; the next start resumes where it stopped."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_first import quick_first
from stream_tools import connected, digest, digests_of_file, make_frames, make_header, messages_of, running, send

from ptylive.schema import ScanHeader
from ptylive.streamer.events import LogEvent
from ptylive.streamer.recording import recovery
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.journal_file import JournalFile
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.recording.recovery import (
    HeldJournals,
    journals,
    read_leftover,
    remove_never_begun,
    stored_batches,
)
from ptylive.streamer.source import open_source
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.vetting.worker import FileWorker
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, PingMessage

WORKER = FileWorker()
PATIENCE_S = 60.0
CHILD = Path(__file__).parents[1] / "receiver_child.py"


def digests(frames: Any) -> dict[int, bytes]:
    return {number: digest(frame) for number, frame in enumerate(frames)}


def interrupted(folder: Path, header: ScanHeader, messages: list[FramesMessage], name: str = "a") -> Path:
    """What a killed receiver leaves: a journal without an end, its last record torn."""
    path = folder / f"{name}.journal"
    journal = Journal(path, header)
    for message in messages:
        journal.append(message)
    journal.close()
    with path.open("ab") as file:
        file.write(b"PJR1 torn")
    return path


def kill_during_scan(folder: Path, header: ScanHeader, messages: list[FramesMessage], after_s: float) -> np.ndarray:
    """Run a child, send to it slowly, kill -9 it a while after its first frames are safe; return what was safe then.

    Counted from the first frame, a busy machine would have the child killed before it has any.
    """
    command = [sys.executable, str(CHILD), str(folder), header.uid, "tcp://127.0.0.1:0"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    address = json.loads(child.stdout.readline())["address"]
    lines: list[str] = []
    killer, begun = threading.Timer(after_s, child.kill), threading.Event()

    def read() -> None:
        for line in child.stdout or ():
            lines.append(line)
            if not begun.is_set() and line.endswith("\n") and json.loads(line)["safe"]:
                killer.start()
                begun.set()

    reading = threading.Thread(target=read)
    reading.start()
    with connected(address) as socket:
        socket.linger = 0
        socket.sndtimeo = 300
        send(socket, ArmMessage(header))
        try:
            for message in messages:
                send(socket, message)
                time.sleep(0.004)
        except OSError:
            pass
        if not begun.wait(PATIENCE_S):
            child.kill()
            raise AssertionError("no frame was called safe")
    killer.join()
    child.wait()
    reading.join()
    child.stdout.close()
    safe = np.zeros(header.frames, dtype=bool)
    whole = [line for line in lines if line.endswith("\n")]
    for first, last in json.loads(whole[-1])["safe"] if whole else []:
        safe[first:last] = True
    return safe


@pytest.mark.parametrize("rounds", quick_first([2, 8]))
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, rounds: int) -> None:
    header = make_header((20, 20), pixels=(32, 32))
    frames = make_frames(header)
    messages = messages_of(header, frames, batch=4)
    chance = random.Random(8)
    chance.shuffle(messages)
    wanted = digests(frames)
    acknowledged = 0
    for round_ in range(rounds):
        folder = tmp_path / str(round_)
        folder.mkdir()
        safe = kill_during_scan(folder, header, messages, after_s=chance.uniform(0.05, 0.5))
        found: dict[int, bytes] = {}
        for path in journals(folder):
            for batch in stored_batches(WORKER, header, path):
                found.update({int(n): digest(f) for n, f in zip(batch.index, batch.frames, strict=True)})
        acknowledged += int(safe.sum())
        assert set(np.flatnonzero(safe).tolist()) <= found.keys()
        assert all(wanted[n] == found[n] for n in found), "a torn frame was taken for a whole one"
    assert acknowledged > 0


def test_the_next_start_resumes_and_a_resend_completes_the_scan(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    interrupted(tmp_path, header, messages[:4])
    with running(tmp_path) as run:
        run.wait(lambda: run.receiver.safe_ranges(header.uid) == [(0, 20)] and bool(run.arms()))
        assert run.arms()[0].resumed
        told = [event.text for event in run.events if isinstance(event, LogEvent)]
        assert "resuming the scan of a.journal: 20 of 42 frames are safe" in told
        with connected(run.address) as socket:
            send(socket, PingMessage(header.uid, header), *messages)
            run.wait_for_state("complete")
        status = run.receiver.status()
        assert (status.frames, status.duplicates, status.lost) == (42, 20, 0)
        assert run.frames[header.uid] == digests(frames)
        assert len(run.arms()) == 1
        assert digests_of_file(tmp_path / "a.h5") == digests(frames)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_without_its_sender_the_scan_is_closed_after_a_while(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    interrupted(tmp_path, header, messages_of(header, frames)[:4])
    with running(tmp_path, recovery_grace_s=0.2) as run:
        run.wait_for_state("aborted")
        assert digests_of_file(tmp_path / "a.h5") == dict(list(digests(frames).items())[:20])


def test_a_recording_that_was_closed_too_early_is_taken_up_again(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    with running(tmp_path, idle_timeout_s=1.0) as run:
        with connected(run.address) as socket:
            send(socket, ArmMessage(header), *messages[:4])
            run.wait_for_state("aborted")
            send(socket, PingMessage(header.uid, header), *messages[4:])
            run.wait_for_state("complete")
        assert [event.resumed for event in run.arms()] == [False, True]
        told = [getattr(event, "state", type(event).__name__) for event in run.events]
        again = told.index("ArmEvent", told.index("complete"))
        assert told[again - 1] == "writing", "a listener learns that the recording goes on before the scan does"
        assert told[-1] == "complete"
        assert run.frames[header.uid] == digests(frames)
        assert run.receiver.safe_ranges(header.uid) == [(0, 42)]
    (recording,) = tmp_path.iterdir()
    assert digests_of_file(recording) == digests(frames)


@pytest.mark.slow
def test_the_same_across_a_restart(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages[4:])
        run.wait(lambda: run.receiver.status().frames == 22)
    with running(tmp_path) as run, connected(run.address) as socket:
        run.wait(lambda: run.receiver.safe_ranges(header.uid) == [(20, 42)])
        send(socket, ArmMessage(header), *messages[:4])
        run.wait_for_state("complete")
        assert run.frames[header.uid] == digests(frames)
    (recording,) = tmp_path.iterdir()
    assert digests_of_file(recording) == digests(frames)


def test_a_resend_of_what_is_complete_on_disk_counts_as_duplicates(tmp_path: Path) -> None:
    header = make_header()
    messages = messages_of(header, make_frames(header))
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages)
        run.wait_for_state("complete")
        send(socket, ArmMessage(header), *messages)
        run.wait(lambda: run.receiver.status().duplicates == 42)
    with running(tmp_path) as run, connected(run.address) as socket:
        run.wait(lambda: run.receiver.safe_ranges(header.uid) == [(0, 42)])
        send(socket, ArmMessage(header), *messages, EndMessage(header.uid, 42, "complete"))
        run.wait(lambda: run.receiver.status().duplicates == 42)
        status = run.receiver.status()
        assert (status.state, status.uid, status.rejected) == ("complete", header.uid, {})
        assert run.items == []
    assert len(list(tmp_path.iterdir())) == 1


def test_a_scan_that_had_ended_is_only_converted(tmp_path: Path) -> None:
    header, cut = make_header(), make_header()
    frames = make_frames(header)
    path = interrupted(tmp_path, header, messages_of(header, frames))
    journal = Journal(path, header, keep_bytes=path.stat().st_size - 9)
    journal.append(EndMessage(header.uid, 42, "complete"))
    journal.close()
    interrupted(tmp_path, cut, messages_of(cut, make_frames(cut))[:1], name="b")
    (tmp_path / "c.journal").write_bytes(b"garbage")
    with running(tmp_path, recovery_grace_s=0.1) as run:
        run.wait(lambda: len([event for event in run.recordings() if event.state == "complete"]) == 2)
        assert [event.header.uid for event in run.arms()] == [cut.uid]
        run.wait(lambda: run.receiver.safe_ranges(header.uid) == [(0, 42)])
    assert digests_of_file(tmp_path / "a.h5") == digests(frames)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5", "c.journal"]


def test_a_journal_in_use_by_another_server_is_left_alone(tmp_path: Path) -> None:
    header = make_header()
    messages = messages_of(header, make_frames(header))
    with running(tmp_path) as first, connected(first.address) as socket:
        send(socket, ArmMessage(header), *messages[:4])
        first.wait(lambda: first.receiver.status().frames == 20)
        with running(tmp_path) as second:
            time.sleep(0.3)
            assert second.items == []
        send(socket, *messages[4:])
        first.wait_for_state("complete")
        assert len(digests_of_file(Path(first.receiver.status().recording))) == 42


def test_what_a_killed_recorder_left_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    abandoned, own = tmp_path / f".a.h5.{ended.pid}.tmp", tmp_path / f".b.h5.{os.getpid()}.tmp"
    other = tmp_path / ".notes.tmp"
    for path in (abandoned, own, other):
        path.write_bytes(b"half a file")
    with running(tmp_path) as run:
        run.wait(lambda: not abandoned.exists())
    assert own.exists()
    assert other.exists()


def test_a_journal_that_was_never_begun_is_removed(tmp_path: Path) -> None:
    """The journal's name was claimed, but nothing written: the process was killed in between."""
    empty, claimed, begun = (tmp_path / f"{name}.journal" for name in ("empty", "claimed", "begun"))
    link, held = tmp_path / "link.journal", JournalFile(claimed, 0)
    begun.write_bytes(b"P")
    empty.touch()
    (tmp_path / "elsewhere").touch()
    link.symlink_to(tmp_path / "elsewhere")
    remove_never_begun(tmp_path)
    assert set(journals(tmp_path)) == {begun, claimed, link}
    assert (empty.exists(), claimed.exists(), link.exists()) == (False, True, True)
    held.close()


@pytest.mark.parametrize("whole", [True, False])
def test_a_scan_that_another_recorder_still_works_on_is_not_begun_anew(tmp_path: Path, whole: bool) -> None:
    """A recorder outlives its killed server; meanwhile the sender restarts."""
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    path = interrupted(tmp_path, header, messages if whole else messages[:4])
    recorder = JournalReader(path)
    assert recorder.lock()
    with running(tmp_path) as run, connected(run.address) as socket:
        run.wait(lambda: run.receiver.safe_ranges(header.uid) == [(0, 42 if whole else 20)])
        send(socket, ArmMessage(header), *messages)
        run.wait(lambda: run.receiver.status().uid == header.uid)
        assert run.arms() == []
        copy = tmp_path / "elsewhere" / path.name
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
        record(copy, tmp_path / "a.h5")
        path.unlink()
        recorder.close()
        send(socket, PingMessage(header.uid, header), *messages)
        run.wait(lambda: run.receiver.status().duplicates == (84 if whole else 62))
        run.wait_for_state("complete")
    copy.parent.rmdir()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert digests_of_file(tmp_path / "a.h5") == digests(frames)


def test_a_journal_whose_process_is_done_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording then identifies itself; a scan whose recording was removed is to be recorded again."""
    header = make_header()
    path = interrupted(tmp_path, header, messages_of(header, make_frames(header)))
    held = HeldJournals()
    with JournalReader(path) as recorder:
        assert recorder.lock()
        held.add(read_leftover(WORKER, path))
        held.look()
        assert held.any
        assert held.is_held(header.uid)
    assert held.look()
    assert not held.look(), "once"
    assert not held.is_held(header.uid)
    assert held.abandoned() == []
    monkeypatch.setattr(recovery, "REMEMBERED_S", -1.0)
    assert held.any
    assert held.find(header.uid) is not None, "as long as its journal is there"
    path.unlink()
    assert held.abandoned() == []
    assert not held.any
    assert held.find(header.uid) is None


def test_a_journal_that_nobody_converts_any_more_is_returned_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "ABANDONED_S", -1.0)
    header = make_header()
    left = read_leftover(WORKER, interrupted(tmp_path, header, messages_of(header, make_frames(header))))
    held = HeldJournals()
    for _ in range(2):  # also when another process claims it meanwhile
        held.add(left)
        assert held.look()
        assert held.abandoned() == [left]
        assert held.abandoned() == []
        assert held.is_due(header.uid), "until it is converted"
        held.settle(left.path)
        assert not held.is_due(header.uid)
        assert held.any, "it is there"
    left.path.unlink()
    assert held.abandoned() == []
    assert not held.any


@pytest.mark.slow
def test_a_scan_survives_fifty_kills_of_its_recorder(tmp_path: Path) -> None:
    """Fifty kills during one scan, the server restarted each time, until the scan is complete."""
    header = make_header((40, 40), pixels=(32, 32))
    frames = make_frames(header)
    *messages, last = messages_of(header, frames, batch=4)  # without its last message no run completes the scan
    chance = random.Random(9)
    for _ in range(50):
        chance.shuffle(messages)
        kill_during_scan(tmp_path, header, messages[:60], after_s=chance.uniform(0.05, 0.4))
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(header), *messages, last)
        run.wait_for_state("complete")
        assert run.frames[header.uid] == digests(frames)
    (recording,) = tmp_path.glob("*.h5")
    assert digests_of_file(recording) == digests(frames)


@pytest.mark.slow
def test_a_scan_that_was_given_another_name_keeps_it_when_its_recorder_is_killed_at_the_end(tmp_path: Path) -> None:
    """The recording is in place under the new name; the journal, which has the old one, was about to be removed."""
    header = make_header()
    frames = make_frames(header)
    journal = interrupted(tmp_path, header, messages_of(header, frames)[:4])
    kept = journal.read_bytes()
    name = f"{header.uid}-again-2"
    record(journal, tmp_path / "a.h5", name)
    journal.write_bytes(kept)
    leftover = read_leftover(WORKER, journal)
    assert leftover.header.uid == name
    assert np.flatnonzero(leftover.received).tolist() == list(range(20))
    with running(tmp_path) as run, connected(run.address) as socket:
        run.wait(lambda: bool(run.arms()))
        send(socket, PingMessage(header.uid, header), *messages_of(header, frames))
        run.wait_for_state("complete")
    assert digests(frames) == digests_of_file(tmp_path / "a.h5")
    assert not journal.exists()
    with open_source(tmp_path / "a.h5") as source:
        assert source.header.uid == name
