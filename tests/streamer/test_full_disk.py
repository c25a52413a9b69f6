"""A disk that is full at any write: acknowledged frames exist, files are whole, and the stream goes on."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from quick_first import quick_first
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

from ptylive.streamer.recording import earlier_runs
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.recording.recovery import journals, stored_batches
from ptylive.streamer.vetting.worker import FileWorker
from ptylive.streamer.wire import ArmMessage

WORKER = FileWorker()
HEADER = make_header((8, 8), pixels=(128, 128))
FRAMES = make_frames(HEADER)
MESSAGES = messages_of(HEADER, FRAMES, batch=4)


def failing(real: Callable[..., Any], at: int, cut: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A call that reports a full disk the ``at``-th time and ever after; ``cut`` is how much of that call succeeds."""
    calls = iter(range(10_000))

    def call(*arguments: Any) -> Any:
        number = next(calls)
        if number < at:
            return real(*arguments)
        if number == at and cut is not None:
            return cut(*arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return call


def torn(fd: int, buffers: Any) -> int:
    """Half of the first buffer still fits."""
    return os.write(fd, buffers[0][: len(buffers[0]) // 2])


def journal_of(path: Path) -> Journal | None:
    """A journal with everything that could be written; None if not even the arm record could."""
    try:
        journal = Journal(path, HEADER)
    except OSError:
        return None
    try:
        for message in MESSAGES:
            journal.append(message)
        journal.close()
    except OSError:
        try:
            journal.close()
        except OSError:
            pass
    return journal


@pytest.mark.parametrize("tear", quick_first([True, False]))
def test_every_nth_write_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tear: bool) -> None:
    real, complete = os.writev, 0
    for at in range(24):
        path = tmp_path / f"{at}.journal"
        monkeypatch.setattr(os, "writev", failing(real, at, torn if tear else None))
        journal = journal_of(path)
        monkeypatch.undo()
        if journal is None:
            continue
        found = {
            int(number): digest(frame)
            for batch in stored_batches(WORKER, HEADER, path)
            for number, frame in zip(batch.index, batch.frames, strict=True)
        }
        assert {k for k, safe in enumerate(journal.safe) if safe} <= found.keys()
        assert all(found[k] == digest(FRAMES[k]) for k in found)
        complete += len(found) == HEADER.frames
    assert 0 < complete < 24


def test_every_nth_sync_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that could not be forced to the disk are not called safe."""
    real = os.fdatasync
    for at in range(1, 4):
        monkeypatch.setattr(os, "fdatasync", failing(real, at))
        journal = journal_of(tmp_path / f"{at}.journal")
        monkeypatch.undo()
        assert journal is not None
        if at == 1:
            assert not journal.safe.any()


@pytest.mark.parametrize("limit", quick_first([2**14, 0, 2**17]))
def test_a_recording_that_does_not_fit_leaves_the_journal(tmp_path: Path, limit: int) -> None:
    path, target = tmp_path / "a.journal", tmp_path / "a.h5"
    journal = journal_of(path)
    assert journal is not None
    done = subprocess.run(
        [sys.executable, "-B", "-m", "ptylive.streamer.recording.recorder", path, target],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert not answer["ok"]
    assert answer["error"] == f"{target}: File too large (about 2 MB are needed)"
    assert not target.exists()
    record(path, target)  # there is room again
    assert digests_of_file(target) == {k: digest(frame) for k, frame in enumerate(FRAMES)}
    assert not path.exists()


WANTED = {k: digest(frame) for k, frame in enumerate(FRAMES)}


def scan_on_a_disk_that_fills(folder: Path, monkeypatch: pytest.MonkeyPatch, at: int, tear: bool) -> str:
    """A scan whose journal cannot be written from the ``at``-th write on; returns how its recording ended."""
    monkeypatch.setattr(os, "writev", failing(os.writev, at, torn if tear else None))
    with running(folder) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES)
        (end,) = run.wait_for_ends()
        assert (end.reason, end.summary.placed) == ("complete", HEADER.frames), "the scan goes on"
        assert run.frames[HEADER.uid] == WANTED, "the maps have seen every frame"
        run.wait_for_state("complete", "failed")
        safe = {n for first, last in run.receiver.safe_ranges(HEADER.uid) for n in range(first, last)}
        state = run.receiver.status().recording_state
    monkeypatch.undo()
    found = {
        int(number): digest(frame)
        for path in [*journals(folder), *(target.with_suffix(".journal") for target in folder.glob("*.h5"))]
        for batch in stored_batches(WORKER, HEADER, path)
        for number, frame in zip(batch.index, batch.frames, strict=True)
    }
    assert safe <= found.keys()
    assert found.items() <= WANTED.items()
    # a server that starts waits only so long for the list of earlier recordings; without it a scan sent again is new
    monkeypatch.setattr(earlier_runs, "CATALOGUE_S", PATIENCE_S)
    with running(folder, recovery_grace_s=20.0) as run, connected(run.address) as socket:  # there is room again
        send(socket, ArmMessage(HEADER), *MESSAGES)
        run.wait_for_state("complete")
    (recording,) = folder.glob("*.h5")
    assert digests_of_file(recording) == WANTED
    return state


@pytest.mark.parametrize(
    ("at", "tear"),
    quick_first([(1, True), (0, False), (0, True), (1, False), *product(range(2, 26), (False, True))]),
)
def test_a_scan_goes_on_whichever_write_of_its_journal_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, tear: bool
) -> None:
    state = scan_on_a_disk_that_fills(tmp_path, monkeypatch, at, tear)
    assert state == "failed" if at < 2 else state in ("failed", "complete")


@pytest.mark.slow
def test_a_recording_cut_at_any_size_leaves_the_journal(tmp_path: Path) -> None:
    """Every 32 KiB up to the size of the whole file."""
    path, target = tmp_path / "a.journal", tmp_path / "a.h5"
    assert journal_of(path) is not None
    failed = 0
    for limit in range(0, 2**21, 2**15):
        done = subprocess.run(
            [sys.executable, "-B", "-m", "ptylive.streamer.recording.recorder", path, target],
            capture_output=True,
            text=True,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        if json.loads(done.stdout.strip().splitlines()[-1])["ok"]:
            break
        failed += 1
        assert [found.name for found in tmp_path.iterdir()] == ["a.journal"]
    assert failed > 10
    assert digests_of_file(target) == WANTED
