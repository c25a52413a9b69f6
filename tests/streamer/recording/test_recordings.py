"""A recording folder that hangs, like a stale network mount, costs recordings and nothing else."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
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
from two_senders import HEADER as TOLD
from two_senders import ONE

from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer, LogEvent, RecordingEvent
from ptylive.streamer.patience import Patience
from ptylive.streamer.recording import converter, earlier_runs, in_time, journal, recordings, recovery
from ptylive.streamer.recording.backlog import Backlog
from ptylive.streamer.recording.converter import Job
from ptylive.streamer.recording.journal_file import JournalFile
from ptylive.streamer.recording.recordings import Recordings
from ptylive.streamer.recording.recovery import Leftover, journals
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.ring import Ring
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.vetting.worker import FileWorker
from ptylive.streamer.wire import ArmMessage

HEADER = make_header((8, 8), pixels=(128, 128))
FRAMES = make_frames(HEADER)
MESSAGES = messages_of(HEADER, FRAMES, batch=4)
WANTED = {number: digest(frame) for number, frame in enumerate(FRAMES)}


class Mount:
    """Calls that block from :meth:`hang` to :meth:`answer`."""

    def __init__(self) -> None:
        self._answers = threading.Event()
        self._answers.set()

    def hang(self) -> None:
        self._answers.clear()

    def answer(self) -> None:
        self._answers.set()

    def behind(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            assert self._answers.wait(120), "nobody let the folder answer"
            return real(*arguments, **named)

        return call


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    found = Mount()
    monkeypatch.setattr(os, "writev", found.behind(os.writev))
    monkeypatch.setattr(recordings, "new_journal", found.behind(recordings.new_journal))
    monkeypatch.setattr(recordings, "OPEN_PATIENCE_S", 0.05)
    monkeypatch.setattr(journal, "STALLED_S", 0.05)
    yield found
    found.answer()


def states(run: Running) -> list[str]:
    return [event.state for event in run.recordings()]


def received_live(run: Running) -> None:
    """The scan goes on: every frame is received, and has been passed on to the maps."""
    (end,) = run.wait_for_ends()
    assert (end.reason, end.summary.placed) == ("complete", HEADER.frames)
    assert run.frames[HEADER.uid] == WANTED


def test_a_folder_that_answers_late_gets_the_whole_scan(tmp_path: Path, mount: Mount) -> None:
    mount.hang()
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES)
        received_live(run)
        assert states(run) == ["waiting", "converting"]
        assert "does not respond" in run.recordings()[0].message
        assert run.receiver.safe_ranges(HEADER.uid) == [], "nothing is called safe that is in memory only"
        mount.answer()
        run.wait_for_state("complete")
        run.wait(lambda: "complete" in states(run))  # reported after that of the scan
        assert states(run) == ["waiting", "converting", "complete"]
        assert digests_of_file(Path(run.receiver.status().recording)) == WANTED


def test_a_scan_that_is_recorded_after_all_has_not_failed_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: `status` and the metrics said until the next scan that the recording had failed."""
    monkeypatch.setattr(converter, "RETRY_S", 0.05)
    full, writing = threading.Event(), os.writev

    def write(*arguments: Any) -> Any:
        if full.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return writing(*arguments)

    monkeypatch.setattr(os, "writev", write)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES[:4])
        run.wait(lambda: run.receiver.safe_ranges(HEADER.uid) == [(0, 16)])
        full.set()
        send(socket, *MESSAGES[4:])
        run.wait_for_ends()
        run.wait(lambda: "failed" in states(run))
        (told,) = [event.message for event in run.recordings() if event.state == "failed"]
        assert told.endswith("No space left on device; what was written so far is recorded when there is room again")
        run.wait(lambda: states(run)[-1] == "complete")
        status = run.receiver.status()
        assert (status.recording_state, status.recording_error) == ("complete", "")
        assert digests_of_file(Path(status.recording)).items() <= WANTED.items()


def test_one_that_hangs_during_a_scan_is_told_of_and_catches_up(tmp_path: Path, mount: Mount) -> None:
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES[:4])
        run.wait(lambda: run.receiver.safe_ranges(HEADER.uid) == [(0, 16)])
        mount.hang()
        send(socket, *MESSAGES[4:12])
        told = ("waiting", f"{tmp_path} does not respond")
        run.wait(lambda: (run.receiver.status().recording_state, run.receiver.status().recording_error) == told)
        mount.answer()
        run.wait(lambda: states(run)[-1] == "writing")  # on a busy machine it may have waited more than once
        send(socket, *MESSAGES[12:])
        received_live(run)
        run.wait_for_state("complete")
        assert digests_of_file(Path(run.receiver.status().recording)) == WANTED


def test_what_waits_for_it_is_bounded(tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recording fails when too much waits; frames accepted before are still written."""
    monkeypatch.setattr(recordings, "Backlog", partial(Backlog, 3 * FRAMES[:4].nbytes, 0.05))
    monkeypatch.setattr(journal, "_BLOCK_BYTES", 2**16)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES[:4])
        run.wait(lambda: run.receiver.safe_ranges(HEADER.uid) == [(0, 16)])
        mount.hang()
        send(socket, *MESSAGES[4:])
        received_live(run)
        status = run.receiver.status()
        assert (status.state, status.recording_state) == ("failed", "failed")
        assert "does not respond, and" in status.recording_error
        mount.answer()
    (path,) = journals(tmp_path)
    with JournalReader(path) as reader:
        kept = sum(message.count for message in reader.messages())
    assert 16 + 3 * 4 <= kept < HEADER.frames


def test_journals_that_wait_for_it_are_bounded(tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MOST_JOURNALS", 2)
    headers = [HEADER, *(make_header() for _ in range(3))]
    mount.hang()
    with running(tmp_path) as run, connected(run.address) as socket:
        for header in headers:
            send(socket, ArmMessage(header), *messages_of(header, make_frames(header)))
            run.wait_for_whole(header.uid)
        failed = [event for event in run.recordings() if event.state == "failed"]
        assert [event.uid for event in failed] == [header.uid for header in headers[2:]]
        assert all("2 journals are waiting" in event.message for event in failed)
        mount.answer()
        run.wait(lambda: states(run).count("complete") == 2)
        again = make_header()
        send(socket, ArmMessage(again), *messages_of(again, make_frames(again)))
        run.wait(lambda: states(run).count("complete") == 3)


def left_behind(folder: Path, count: int = 4, name: str = "a") -> Path:
    """The journal of an interrupted scan."""
    path = folder / f"{name}.journal"
    written = journal.Journal(path, HEADER)
    for message in MESSAGES[:count]:
        written.append(message)
    written.close()
    return path


def test_a_journal_that_is_read_for_ever_is_left_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge or hanging journal in the folder: the server receives while it is read, and converts it afterwards."""
    reading, read_on = threading.Event(), threading.Event()
    real = earlier_runs.read_leftover

    def slowly(worker: FileWorker, path: Path) -> Leftover:
        reading.set()
        assert read_on.wait(120)
        return real(worker, path)

    monkeypatch.setattr(earlier_runs, "read_leftover", slowly)
    monkeypatch.setattr(earlier_runs, "START_S", 0.05)
    os.utime(left_behind(tmp_path), (0, 0))  # nobody resumes it
    other = make_header()
    with running(tmp_path) as run, connected(run.address) as socket:
        assert reading.wait(60)
        send(socket, ArmMessage(other), *messages_of(other, make_frames(other)))
        run.wait_for_whole(other.uid)
        assert not read_on.is_set()
        read_on.set()
        run.wait((tmp_path / "a.h5").exists)
        run.wait(lambda: states(run).count("complete") == 2)
        assert digests_of_file(tmp_path / "a.h5") == {k: WANTED[k] for k in range(16)}


def test_what_was_written_lately_is_read_first_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupted scan is resumed, however large its journal; an old journal is read in the background."""
    order: list[str] = []
    old_one, real = threading.Event(), earlier_runs.read_leftover

    def slowly(worker: FileWorker, path: Path) -> Leftover:
        order.append(path.stem)
        assert path.stem == "b" or old_one.wait(120)
        return real(worker, path)

    monkeypatch.setattr(earlier_runs, "read_leftover", slowly)
    monkeypatch.setattr(earlier_runs, "START_S", 0.0)
    os.utime(left_behind(tmp_path, 1, "a"), (0, 0))
    left_behind(tmp_path, 4, "b")
    with running(tmp_path) as run:
        run.wait(lambda: bool(run.arms()))
        assert (run.arms()[0].resumed, order) == (True, ["b", "a"])
        old_one.set()


def test_a_recording_that_hangs_beside_a_journal_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stored frame can be read: the scan goes on without them, in its journal."""
    read_on = threading.Event()
    monkeypatch.setattr(recovery, "read_frames", lambda *_: iter([read_on.wait(120)]))
    monkeypatch.setattr(recovery, "journal_frames", lambda *_: None)  # not a task: no answer
    monkeypatch.setattr(recordings, "items_in_time", lambda read, _patience: in_time.items_in_time(read, 0.05))
    left_behind(tmp_path)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *MESSAGES)
        run.wait_for_state("complete")
        read_on.set()
        # no answer yet, or the worker's that this is not a task: whichever comes first
        run.wait(lambda: any("scan test cannot be read: " in getattr(event, "text", "") for event in run.events))
        assert digests_of_file(tmp_path / "a.h5") == WANTED


def test_what_waits_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(in_time, "_hanging", threading.Semaphore(1))
    with pytest.raises(TimeoutError):
        in_time.in_time(lambda: answer.wait(120), 0.01)
    with pytest.raises(TimeoutError, match="does not respond"):
        in_time.in_time(lambda: 1, 60)
    answer.set()
    while True:  # the waiting thread ends, and another may wait
        try:
            assert in_time.in_time(lambda: 2, 60) == 2
        except TimeoutError:
            continue
        break
    with pytest.raises(ValueError, match="as it is"):
        in_time.in_time(lambda: int("as it is"), 60)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Recordings, list[Any]]]:
    """Recordings of a folder, and their messages."""
    said: list[Any] = []
    made = Recordings(tmp_path, Announcer(said.append))
    yield made, said
    made.stop(60)


def texts(said: list[Any]) -> list[str]:
    return [event.text for event in said if isinstance(event, LogEvent)]


def test_recording_that_is_switched_off_is_said_and_costs_nothing(
    folder: tuple[Recordings, list[Any]], tmp_path: Path
) -> None:
    made, said = folder
    made.wanted = False
    scan = ScanRecord.new(HEADER)
    made.begin(scan)
    assert [(event.state, event.message) for event in said] == [("off", "recording is switched off")]
    assert (scan.journal, list(tmp_path.iterdir())) == (None, [])
    made.note_stored(scan, scan.progress.received)
    assert scan.safe is not scan.progress.received, "what is safe does not change with what arrives"


def test_a_scan_larger_than_the_disk_is_warned_of(
    folder: tuple[Recordings, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, said = folder
    monkeypatch.setattr(recordings.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=1000))
    scan = ScanRecord.new(HEADER)
    made.begin(scan)
    assert scan.journal is not None
    assert scan.journal.opened.wait(60)
    scan.journal.close(remove=True)
    assert [text for text in texts(said) if "has 0.0 MB left, this scan may need 2.1 MB" in text]


def test_a_scan_is_taken_up_in_a_new_journal_where_there_is_none(
    folder: tuple[Recordings, list[Any]], tmp_path: Path
) -> None:
    made, _ = folder
    scan = ScanRecord.new(HEADER)
    made.take_up(scan, tmp_path / "a.journal")
    assert scan.journal is not None
    assert scan.journal.opened.wait(60)
    made.look(scan)
    assert (scan.recording_state, scan.target) == ("writing", tmp_path / "a.h5")
    scan.journal.close(remove=True)


def test_a_journal_that_cannot_be_read_is_not_written_on(folder: tuple[Recordings, list[Any]], tmp_path: Path) -> None:
    made, _ = folder
    (tmp_path / "a.journal").write_bytes(b"something else")
    scan = ScanRecord.new(HEADER)
    made.take_up(scan, tmp_path / "a.journal")
    assert scan.recording_state == "failed"
    assert scan.recording_error.endswith("the journal is kept")
    assert "is not a journal of this program" in scan.recording_error
    assert (tmp_path / "a.journal").read_bytes() == b"something else"


def test_threads_that_cannot_be_started_cost_recordings(
    folder: tuple[Recordings, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, said = folder

    def refuses(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    scan = ScanRecord.new(HEADER)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        assert made.leftovers() == []
        made.begin(scan)
        made._convert(scan, Job(scan.uid, Path("a.journal"), Path("a.h5")))
    assert any("cannot be read: can't start new thread" in text for text in texts(said))
    states = [event.state for event in said if isinstance(event, RecordingEvent)]
    assert states == ["failed", "converting", "failed"]
    assert not made.is_converting(scan.uid)


def test_a_scan_that_is_opened_again_waits_until_its_failed_journal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is claimed until then: if opened at once it could not be written, and nothing would be recorded."""
    acquisition = Acquisition(Ring(10**7), tmp_path, Patience(), Announcer(lambda event: None))
    known = acquisition.senders.known
    acquisition.handle(ArmMessage(TOLD), known(20))
    acquisition.handle(ONE[0], known(20))
    scan, asked = acquisition._open["test"], threading.Event()
    while not scan.safe.any():
        time.sleep(0.01)
    closing, journal = JournalFile.close, scan.journal
    assert journal is not None
    monkeypatch.setattr(JournalFile, "close", lambda self: (asked.wait(60), closing(self)))
    acquisition._recordings._fail(scan, "the disk is full")
    acquisition.senders.lost(20)
    acquisition._close(scan, "aborted")
    pause = time.sleep
    monkeypatch.setattr("ptylive.streamer.recording.recordings.time.sleep", lambda s: (asked.set(), pause(s)))
    acquisition.handle(ONE[1], known(22))
    again = acquisition._open["test"]
    asked.set()
    assert journal.closed
    assert again.journal is not None
    while not again.safe[ONE[1].first]:
        assert again.journal.error is None
        time.sleep(0.01)
    acquisition.stop(60)
    assert again.recording_state != "failed"
