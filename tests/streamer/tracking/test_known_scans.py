"""A uid that comes again: a resend changes nothing, another scan is kept next to the first, and nothing is mixed."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from stream_tools import (
    Running,
    compressed,
    connected,
    digest,
    digests_of_file,
    make_frames,
    make_header,
    messages_of,
    running,
    send,
)

from ptylive.schema import ScanHeader
from ptylive.streamer.events import Announcer, LogEvent
from ptylive.streamer.recording import earlier_runs
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recovery import Leftover
from ptylive.streamer.tracking.known_scans import KnownScans
from ptylive.streamer.vetting.worker import FileWorker
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, PingMessage

HEADER = replace(make_header(), uid="test")
FIRST, SECOND = make_frames(HEADER, seed=1), make_frames(HEADER, seed=2)
AGAIN = "test-again-2"


def digests(frames: Any, first: int = 0) -> dict[int, bytes]:
    return {first + number: digest(frame) for number, frame in enumerate(frames)}


def recorded(folder: Path) -> dict[str, dict[int, bytes]]:
    """Frames of every recording in a folder, by the recording's uid."""
    found = {}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            uid = str(file["metadata"].attrs["uid"])
        assert uid not in found
        found[uid] = digests_of_file(path)
    return found


def warned(run: Running) -> list[str]:
    return [event.text for event in run.events if isinstance(event, LogEvent) and event.level == "warning"]


def coded(frames: Any) -> list[FramesMessage]:
    parts = [compressed(frame) for frame in frames]
    return [FramesMessage("test", k, 7, "bslz4", tuple(parts[k : k + 7])) for k in range(0, len(parts), 7)]


def test_a_second_scan_of_the_same_uid_is_kept_beside_the_first(tmp_path: Path) -> None:
    with running(tmp_path) as run, connected(run.address) as socket:
        for frames, ends in ((FIRST, 1), (SECOND, 2)):
            send(socket, ArmMessage(HEADER), *messages_of(HEADER, frames), EndMessage("test", 42, "complete"))
            run.wait_for_ends(ends)
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, SECOND))  # a resend of the newest one
        run.wait(lambda: run.receiver.status().duplicates == 42)
        assert run.frames == {"test": digests(FIRST), AGAIN: digests(SECOND)}
        run.wait(lambda: run.receiver.safe_ranges("test") == [(0, 42)])
        assert run.receiver.status().uid == AGAIN
        assert sum(AGAIN in text for text in warned(run)) == 1
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND)}


def test_the_same_with_compressed_frames_and_a_third_scan(tmp_path: Path) -> None:
    third = make_frames(HEADER, seed=3)
    with running(tmp_path) as run, connected(run.address) as socket:
        for ends, frames in enumerate((FIRST, SECOND, third)):
            send(socket, ArmMessage(HEADER), *coded(frames))
            run.wait_for_ends(ends + 1)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND), "test-again-3": digests(third)}


def test_after_half_a_scan_nothing_is_mixed(tmp_path: Path) -> None:
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST)[:4])
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, SECOND))
        run.wait_for_whole(AGAIN)
    assert recorded(tmp_path) == {"test": dict(list(digests(FIRST).items())[:20]), AGAIN: digests(SECOND)}


def test_a_resend_after_half_a_scan_goes_on_with_it(tmp_path: Path) -> None:
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST)[:4])
        send(socket, ArmMessage(HEADER), *coded(FIRST))
        run.wait_for_whole("test")
        assert run.receiver.status().duplicates == 20
    assert recorded(tmp_path) == {"test": digests(FIRST)}


def test_another_header_is_another_scan(tmp_path: Path) -> None:
    other = replace(make_header((5, 8)), uid="test")
    frames = make_frames(other)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST))
        run.wait_for_ends()
        send(socket, ArmMessage(other), *messages_of(other, frames))
        run.wait_for_ends(2)
        send(socket, PingMessage("test", HEADER), *messages_of(HEADER, FIRST)[:2])  # the first sender is still there
        run.wait(lambda: run.receiver.status().duplicates == 10)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(frames)}


def test_across_a_restart(tmp_path: Path) -> None:
    """Recordings of an earlier run are known: a resend is recognised as one, and another scan becomes one."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *coded(FIRST))
        run.wait_for_state("complete")
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *coded(FIRST))
        run.wait(lambda: run.receiver.status().duplicates == 42)
        assert run.items == []
        send(socket, ArmMessage(HEADER), *coded(SECOND))
        run.wait_for_whole(AGAIN)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *coded(SECOND))
        run.wait(lambda: run.receiver.status().duplicates == 42)
        assert run.items == []
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND)}


@pytest.mark.slow
def test_across_a_restart_the_second_scan_goes_on(tmp_path: Path) -> None:
    """Of two recorded scans with its header the newest is meant, though the other is complete."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST))
        run.wait_for_ends()
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, SECOND)[:4])
        run.wait(lambda: len(run.frames.get(AGAIN, {})) == 20)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, SECOND)[3:])
        run.wait_for_whole(AGAIN)
        assert run.receiver.status().duplicates == 5
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND)}


def test_another_scan_right_after_a_restart(tmp_path: Path) -> None:
    """All its frames come before the content of the recording is known."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *coded(FIRST))
        run.wait_for_state("complete")
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *coded(SECOND))
        run.wait_for_whole(AGAIN)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND)}


def test_other_data_without_an_arm_message_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST)[:4], *messages_of(HEADER, SECOND)[:2])
        send(socket, *messages_of(HEADER, FIRST)[4:])
        run.wait_for_whole("test")
        assert run.receiver.status().rejected == {"other_data": 2}
    assert recorded(tmp_path) == {"test": digests(FIRST)}


def test_without_a_recording_too() -> None:
    with running() as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *coded(FIRST), ArmMessage(HEADER), *coded(SECOND))
        run.wait_for_whole(AGAIN)
        assert run.frames == {"test": digests(FIRST), AGAIN: digests(SECOND)}


def test_what_cannot_be_compared_is_counted_and_told(tmp_path: Path) -> None:
    """Frames that were sent encoded come again uncompressed: they count as the same, but not silently."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *coded(FIRST)[:-1], *messages_of(HEADER, SECOND, batch=7)[:2])
        run.wait(lambda: run.receiver.status().duplicates == 14)
        assert run.receiver.status().unchecked == 14
        assert sum("in another encoding" in text for text in warned(run)) == 1
        send(socket, *coded(FIRST)[:2], *coded(FIRST)[-1:])
        run.wait_for_state("complete")
        assert (run.receiver.status().duplicates, run.receiver.status().unchecked) == (28, 14)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, PingMessage("test", HEADER), *coded(FIRST))
        run.wait(lambda: run.receiver.status().duplicates == HEADER.frames)
        assert sum("or after a restart of the server" in text for text in warned(run)) == 1
    with running() as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST, batch=7)[:-1], *coded(FIRST)[:2])
        run.wait(lambda: run.receiver.status().duplicates == 14)
        assert run.receiver.status().unchecked == 0, "these were decoded and compared"


OTHER = replace(make_header((5, 6)), uid="test")
THIRD = make_frames(OTHER, seed=3)


def left_behind(folder: Path, name: str, header: ScanHeader, messages: list[FramesMessage], *, old: bool) -> None:
    """The journal of an interrupted scan; nobody resumes an ``old`` one."""
    journal = Journal(folder / f"{name}.journal", header)
    for message in messages:
        journal.append(message)
    if old:
        journal.append(EndMessage(header.uid, 10, "aborted"))
    journal.close()


@pytest.mark.slow
def test_a_scan_found_late_whose_name_another_one_has_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is read slowly: meanwhile a sender begins another scan of the same uid, which ends and is resumed."""
    read_on, real = threading.Event(), earlier_runs.read_leftover

    def slowly(worker: FileWorker, path: Path) -> Leftover:
        assert read_on.wait(120)
        return real(worker, path)

    monkeypatch.setattr(earlier_runs, "read_leftover", slowly)
    monkeypatch.setattr(earlier_runs, "START_S", 0.05)
    left_behind(tmp_path, "a", OTHER, messages_of(OTHER, THIRD)[:2], old=True)
    os.utime(tmp_path / "a.journal", (0, 0))
    with running(tmp_path, idle_timeout_s=0.2) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST)[:3])
        run.wait_for_ends(1)
        read_on.set()
        run.wait((tmp_path / "a.h5").exists)
        send(socket, *messages_of(HEADER, FIRST)[3:])
        run.wait_for_ends(2)
        assert len(run.frames["test"]) == len(FIRST)
        (line,) = (text for text in warned(run) if "a.journal is not the scan now known as test" in text)
        assert line.endswith(f"kept as {AGAIN}")
        send(socket, ArmMessage(OTHER), *messages_of(OTHER, THIRD))  # its own sender comes back, and is recognised
        run.wait(lambda: len(run.frames.get(AGAIN, ())) == len(THIRD))
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(THIRD)}


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("header", [HEADER, OTHER], ids=["same header", "other header"])
def test_a_journal_whose_name_a_recording_has_by_now_is_kept_apart(
    tmp_path: Path, header: ScanHeader, old: bool
) -> None:
    """The server was killed before it had read the journal, and had recorded another scan of the uid by then."""
    frames = SECOND if header is HEADER else THIRD
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *messages_of(HEADER, FIRST))
        run.wait_for_ends(1)
    left_behind(tmp_path, "a", header, messages_of(header, frames)[:2], old=old)
    with running(tmp_path):
        pass
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(frames[:10])}
    with running(tmp_path):
        pass
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(frames[:10])}


def test_two_journals_of_one_name_are_two_scans(tmp_path: Path) -> None:
    left_behind(tmp_path, "a", HEADER, messages_of(HEADER, FIRST)[:2], old=True)
    left_behind(tmp_path, "b", OTHER, messages_of(OTHER, THIRD)[:2], old=True)
    left_behind(tmp_path, "c", replace(OTHER, uid=AGAIN), messages_of(OTHER, THIRD)[2:4], old=True)
    with running(tmp_path):
        pass
    found = recorded(tmp_path)
    assert found.pop("test") == digests(FIRST[:10])
    assert found.pop(AGAIN) == digests(THIRD[10:20], 10)
    ((name, frames),) = found.items()
    assert (name, frames) == ("test-again-3", digests(THIRD[:10]))


class Stored:
    """Recordings, one of which has the same name as a journal."""

    def __init__(self) -> None:
        self.converted: dict[str, str] = {}

    def find(self, name: str) -> Any:
        return SimpleNamespace(uid=name, target=Path("of-another.h5")) if name == "test" else None

    def convert(self, leftover: Leftover, header: ScanHeader, _: Any = None) -> Any:
        self.converted[leftover.path.stem] = header.uid
        return SimpleNamespace(uid=header.uid, target=leftover.target, progress=SimpleNamespace(sent_as=""))


def test_names_of_journals_that_are_still_to_come_are_not_given_away() -> None:
    stored: Any = Stored()
    known = KnownScans(stored, Announcer(lambda _: None))
    journals = {"b": HEADER, "c": replace(HEADER, uid=AGAIN)}
    found = [Leftover(Path(f"{name}.journal"), one, np.ones(3, bool), 0, None) for name, one in journals.items()]
    known.take_in(found, {}, {})
    assert stored.converted == {"b": "test-again-3", "c": AGAIN}
