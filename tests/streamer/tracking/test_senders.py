"""Two senders that say the same uid at the same time: their connections tell their frames apart."""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
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

from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer, LogEvent
from ptylive.streamer.patience import Patience
from ptylive.streamer.recording.journal_file import JournalFile
from ptylive.streamer.ring import Ring
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.tracking import senders as senders_module
from ptylive.streamer.tracking.senders import Senders
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, PingMessage

HEADER = replace(make_header(), uid="test")
FIRST, SECOND = make_frames(HEADER, seed=1), make_frames(HEADER, seed=2)
ONE, TWO = messages_of(HEADER, FIRST, 7), messages_of(HEADER, SECOND, 7)
AGAIN = "test-again-2"


def digests(frames: Any, first: int = 0) -> dict[int, bytes]:
    return {first + number: digest(frame) for number, frame in enumerate(frames)}


def part(frames: Any, first: int, stop: int) -> FramesMessage:
    return FramesMessage(HEADER.uid, first, stop - first, "none", (frames[first:stop].tobytes(),))


def recorded(folder: Path) -> dict[str, dict[int, bytes]]:
    """Frames of every recording in a folder, by the name of its scan."""
    return {_uid(path): digests_of_file(path) for path in folder.glob("*.h5")}


def _uid(path: Path) -> str:
    with h5py.File(path) as file:
        return str(file["metadata"].attrs["uid"])


def said_senders(folder: Path) -> dict[str, int]:
    """How many senders each recording tells of, by the name of its scan."""
    found = {}
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            found[_uid(path)] = int(file.attrs.get("senders", 1))
    return found


def warned(run: Running) -> list[str]:
    return [event.text for event in run.events if isinstance(event, LogEvent) and event.level == "warning"]


class Sending:
    """Two connections whose messages are taken in one after the other."""

    def __init__(self, run: Running, sockets: tuple[Any, Any]) -> None:
        self.run, self.sockets, self.placed = run, sockets, 0

    def frames(self, who: int, message: Any, new: int | None = None) -> None:
        send(self.sockets[who], message)
        self.placed += message.count if new is None else new
        self.run.wait(lambda: sum(map(len, self.run.frames.values())) == self.placed)

    def other(self, who: int, *messages: Message) -> None:
        """Messages that leave no trace of their own; the refused one behind them does."""
        before = self.run.receiver.status().rejected.get("unknown_scan", 0)
        send(self.sockets[who], *messages, replace(ONE[0], uid="nobody"))
        self.run.wait(lambda: self.run.receiver.status().rejected.get("unknown_scan", 0) == before + 1)


@contextmanager
def two_senders(folder: Path) -> Iterator[Sending]:
    with running(folder) as run, connected(run.address) as one, connected(run.address) as two:
        yield Sending(run, (one, two))


def test_both_announced_the_same_scan_before_its_first_frame(tmp_path: Path) -> None:
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(HEADER))
        sending.other(1, ArmMessage(HEADER))
        for mine, theirs in zip(ONE, TWO, strict=True):
            sending.frames(0, mine)
            sending.frames(1, theirs)
        sending.run.wait_for_ends(2)
        said = warned(sending.run)
        assert sum("two senders at the same time" in text and "uid test" in text for text in said) == 1
        assert sum("other data" in text and AGAIN in text for text in said) == 1
        assert set(sending.run.receiver.status().rejected) == {"unknown_scan"}
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND)}
    assert said_senders(tmp_path) == {"test": 2, AGAIN: 1}


def test_their_headers_differ_and_both_go_on_pinging(tmp_path: Path) -> None:
    other = replace(make_header((6, 8)), uid="test")
    frames = make_frames(other, seed=3)
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(HEADER))
        sending.frames(0, ONE[0])
        sending.other(1, ArmMessage(other))
        for mine, theirs in zip(ONE[1:], messages_of(other, frames, 7), strict=False):
            sending.other(1, PingMessage("test", other))
            sending.frames(0, mine)
            sending.other(0, PingMessage("test", HEADER))
            sending.frames(1, theirs)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(frames[:35])}


def test_the_end_of_one_does_not_end_the_other(tmp_path: Path) -> None:
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(HEADER))
        sending.other(1, ArmMessage(HEADER))
        for k in range(3):
            sending.frames(0, ONE[k])
            sending.frames(1, TWO[k])
        sending.other(1, EndMessage("test", 42, "aborted"))
        for message in ONE[3:]:
            sending.frames(0, message)
        sending.run.wait_for_whole("test")
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND[:21])}


def test_a_connection_that_has_announced_nothing_is_asked_to(tmp_path: Path) -> None:
    """After a reconnect frames come before the first ping: nothing tells whose they are."""
    with two_senders(tmp_path) as sending, connected(sending.run.address) as new:
        for who, messages in enumerate((ONE, TWO)):
            sending.other(who, ArmMessage(HEADER))
            sending.frames(who, messages[0])
        send(new, TWO[1])
        sending.run.wait(lambda: sending.run.receiver.status().rejected.get("unannounced") == 1)
        sending.frames(1, TWO[1])
        sending.frames(0, ONE[1])
    found = recorded(tmp_path)
    assert {name: sorted(frames) for name, frames in found.items()} == {"test": [*range(14)], AGAIN: [*range(14)]}
    assert found == {"test": digests(FIRST[:14]), AGAIN: digests(SECOND[:14])}


def test_only_what_both_have_is_safe_while_both_are_sent(tmp_path: Path) -> None:
    with two_senders(tmp_path) as sending:
        for who, messages in enumerate((ONE, TWO)):
            sending.other(who, ArmMessage(HEADER))
            sending.frames(who, messages[0])
        sending.frames(1, TWO[1])
        sending.run.wait(lambda: sending.run.receiver.safe_ranges("test") == [(0, 7)])
        sending.frames(0, ONE[1])
        sending.run.wait(lambda: sending.run.receiver.safe_ranges("test") == [(0, 14)])


def test_after_a_restart_their_frames_are_kept_apart(tmp_path: Path) -> None:
    """Both scans want the frames that come, and nothing tells which of them they belong to."""
    with two_senders(tmp_path) as sending:
        for who, messages in enumerate((ONE, TWO)):
            sending.other(who, ArmMessage(HEADER))
            sending.frames(who, messages[0])
            sending.frames(who, messages[1])
    with two_senders(tmp_path) as sending:
        sending.placed = 14  # the newest scan is opened again: what is stored of it comes first
        for who, messages in enumerate((ONE, TWO)):
            sending.other(who, ArmMessage(HEADER))
            sending.frames(who, messages[2])
        for who, messages in enumerate((ONE, TWO)):
            sending.frames(who, messages[3])
        assert sum("may belong to any of" in text and "uid test" in text for text in warned(sending.run)) == 2
    assert recorded(tmp_path) == {
        "test": digests(FIRST[:14]),
        AGAIN: digests(SECOND[:14]),
        "test-again-3": digests(FIRST[14:28], 14),
        "test-again-4": digests(SECOND[14:28], 14),
    }


def test_after_a_restart_frames_that_come_before_their_sender_is_known(tmp_path: Path) -> None:
    """What was under way goes into the only scan that is known; that it belongs to another one turns out later."""
    other = replace(make_header((6, 8)), uid="test")
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), ONE[0])
        run.wait_for_state("scanning")
    with two_senders(tmp_path) as sending:
        sending.placed = 7
        sending.frames(1, TWO[1])
        sending.other(1, PingMessage("test", other))
        sending.other(0, PingMessage("test", HEADER))
        sending.frames(0, ONE[2])
        assert sum("holds frames of two senders" in text for text in warned(sending.run)) == 1
    assert said_senders(tmp_path) == {"test": 2}


def test_after_a_reconnect_frames_that_are_repeated_tell_the_scan(tmp_path: Path) -> None:
    with two_senders(tmp_path) as sending:
        for who, messages in enumerate((ONE, TWO)):
            sending.other(who, ArmMessage(HEADER))
            sending.frames(who, messages[0])
        with connected(sending.run.address) as back:
            sending.sockets = (back, sending.sockets[1])
            sending.other(0, ArmMessage(HEADER))
            sending.frames(0, ONE[0], new=0)
            sending.frames(0, ONE[1])
            sending.frames(1, TWO[1])
    found = recorded(tmp_path)
    assert {name: sorted(frames) for name, frames in found.items()} == {"test": [*range(14)], AGAIN: [*range(14)]}
    assert found == {"test": digests(FIRST[:14]), AGAIN: digests(SECOND[:14])}


def test_a_sender_that_comes_back_is_the_same_one(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        for messages in (ONE[:2], ONE[2:]):
            with connected(run.address) as socket:
                send(socket, ArmMessage(HEADER), *messages)
        run.wait_for_whole("test")
        assert warned(run) == []
    assert recorded(tmp_path) == {"test": digests(FIRST)}
    assert said_senders(tmp_path) == {"test": 1}


def test_two_senders_of_one_scan_are_one_scan(tmp_path: Path) -> None:
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(HEADER))
        sending.other(1, ArmMessage(HEADER))
        for k in range(3):
            sending.frames(0, ONE[k])
            sending.frames(1, ONE[3 + k])
        sending.run.wait_for_whole("test")
    assert recorded(tmp_path) == {"test": digests(FIRST)}
    assert said_senders(tmp_path) == {"test": 2}


def test_descriptors_are_used_again_and_numbers_of_connections_are_not() -> None:
    senders = Senders()
    one, other = senders.connection(7), senders.connection(8)
    senders.says(one, "test", "test")
    senders.lost(7)
    senders.says(other, "test", "test")
    assert not senders.share(other, "test")
    senders.accepted(7)
    again = senders.connection(7)
    assert senders.of(one, "test") == "test"  # some of its messages are still in the socket, or wait for their scan
    assert senders.of(again, "test") is None
    senders.says(again, "test", "test")
    assert senders.share(other, "test")
    assert not senders.is_disputed("test")
    senders.says(again, "test", AGAIN)
    assert senders.is_disputed("test")
    assert senders.count("test", AGAIN) == 1
    assert senders.connection(-1) is None


def test_what_waits_for_its_scan_keeps_its_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two senders are gone when their frames can be taken in, and one's descriptor is that of the other's next try."""
    acquisition = Acquisition(Ring(10**7), tmp_path, Patience(), Announcer(lambda event: None))
    senders, recordings = acquisition.senders, acquisition._recordings
    one, other = senders.connection(20), senders.connection(21)
    for source, messages in ((one, ONE), (other, TWO)):
        acquisition.handle(ArmMessage(HEADER), source)
        acquisition.handle(messages[0], source)
    assert sorted(acquisition._open) == ["test", AGAIN]
    for scan in list(acquisition._open.values()):
        acquisition._close(scan, "aborted")
    converting = recordings.is_converting
    monkeypatch.setattr(recordings, "is_converting", lambda uid: True)
    for source, messages in ((one, ONE), (other, TWO)):
        acquisition.handle(messages[1], source)
    for descriptor in (20, 21):
        senders.lost(descriptor)
    senders.accepted(20)
    senders.says(senders.connection(20), "test", AGAIN)
    while converting("test") or converting(AGAIN):
        time.sleep(0.01)
    monkeypatch.setattr(recordings, "is_converting", converting)
    acquisition.tick()
    acquisition.stop(60)
    found = recorded(tmp_path)
    assert {name: sorted(frames) for name, frames in found.items()} == {"test": [*range(14)], AGAIN: [*range(14)]}
    assert found == {"test": digests(FIRST[:14]), AGAIN: digests(SECOND[:14])}


def test_connections_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders_module, "_REMEMBERED", 2)
    senders = Senders()
    for source in range(4):
        senders.says(source, "test", f"test-{source}", doubtful=True)
        senders.took(source, "test", f"early-{source}")
        senders.says(source, f"uid-{source}", "a")
        senders.says(source + 100, f"uid-{source}", "b")
    assert [senders.took_early(source, "test") for source in range(4)] == [None, None, "early-2", "early-3"]
    assert len(senders._meant) == len(senders._disputed) == 2
    assert senders._doubtful <= senders._meant.keys()


def test_both_announced_a_scan_that_is_not_open(tmp_path: Path) -> None:
    """While another scan is received, and after it was closed for others: it is told of when it is opened."""
    other = make_header()
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(other))
        sending.frames(0, messages_of(other, make_frames(other), 7)[0])
        sending.other(0, ArmMessage(HEADER))
        sending.other(1, ArmMessage(HEADER))
        sending.frames(0, ONE[0])
        sending.frames(1, TWO[1])
        assert sum("two senders at the same time" in text for text in warned(sending.run)) == 1
    assert said_senders(tmp_path)["test"] == 2


def test_strangers_in_a_finished_recording_are_noted_in_it(tmp_path: Path) -> None:
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE)
        run.wait_for_whole("test")
        run.wait(lambda: run.receiver.status().state == "complete")
        known = run.receiver._acquisition._known
        scan = known.closed["test"]
        assert said_senders(tmp_path) == {"test": 1}
        known.refused(scan)
        run.wait(lambda: said_senders(tmp_path) == {"test": 2})
    assert recorded(tmp_path) == {"test": digests(FIRST)}
    assert not list(tmp_path.glob("*.journal"))


def test_a_scan_taken_up_again_that_gets_other_data_says_that_it_may_have_two_senders(tmp_path: Path) -> None:
    """Some of what the other one sends is new there, and nothing tells it from the rest of the scan."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE[:1])
        run.wait(lambda: run.receiver.status().received > 0)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, *TWO[1:], TWO[0])
        run.wait(lambda: run.receiver.status().rejected == {"other_data": 1})
    assert set(said_senders(tmp_path).values()) == {2}


def test_another_scan_of_a_uid_that_gets_other_data_says_that_it_may_have_two_senders(tmp_path: Path) -> None:
    """After a restart, before anybody has announced anything: what the first one still sends goes to the newer scan."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE)
        run.wait_for_whole("test")
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), TWO[0], *ONE[4:], TWO[4])
        run.wait(lambda: run.receiver.status().rejected == {"other_data": 1})
    assert said_senders(tmp_path) == {"test": 1, AGAIN: 2}


@pytest.mark.parametrize(
    ("gap", "resent", "armed"),
    [((21, 28), (21, 28), True), ((1, 7), (0, 7), False)],
    ids=["middle, armed again", "beginning"],
)
def test_what_a_stranger_put_into_a_scan_of_a_used_uid_shows_when_its_own_frames_come(
    tmp_path: Path, gap: tuple[int, int], resent: tuple[int, int], armed: bool
) -> None:
    """After a restart a connection that has announced nothing fills a gap; the scan's own frames for it come later."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE)
        run.wait_for_whole("test")
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(HEADER))
        sending.frames(0, part(SECOND, 0, gap[0]))
        sending.other(0, ArmMessage(HEADER))
        sending.frames(0, part(SECOND, gap[1], len(SECOND)))
        sending.frames(1, part(FIRST, *gap))
        sending.run.wait(lambda: said_senders(tmp_path) == {"test": 1, AGAIN: 1})
        sending.other(0, *[ArmMessage(HEADER)] * armed)
        sending.frames(0, part(SECOND, *resent))
        sending.run.wait(lambda: said_senders(tmp_path).get(AGAIN) == 2)


def test_what_a_stranger_put_into_a_new_scan_shows_when_its_own_frames_come(tmp_path: Path) -> None:
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(HEADER))
        sending.frames(0, part(SECOND, 0, 21))
        sending.frames(1, part(FIRST, 21, 28))
        send(sending.sockets[0], part(SECOND, 21, 28))
        sending.run.wait(lambda: sending.run.receiver.status().rejected.get("other_data") == 1)
    assert said_senders(tmp_path) == {"test": 2}


def test_each_further_scan_of_a_uid_has_one_sender(tmp_path: Path) -> None:
    third = make_frames(HEADER, seed=3)
    with running(tmp_path) as run, connected(run.address) as socket:
        for n, frames in enumerate((FIRST, SECOND, third), start=1):
            send(socket, ArmMessage(HEADER), *messages_of(HEADER, frames, 7))
            run.wait(lambda n=n: len(recorded(tmp_path)) == n)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND), "test-again-3": digests(third)}
    assert set(said_senders(tmp_path).values()) == {1}


def test_the_name_of_an_open_scan_is_taken(tmp_path: Path) -> None:
    """Two connections send a scan of another header; one of them brings other data, after the first scan came again."""
    other = replace(HEADER, series="other")
    with two_senders(tmp_path) as sending, connected(sending.run.address) as third:
        sending.other(0, ArmMessage(HEADER))
        sending.frames(0, ONE[0])
        sending.other(1, ArmMessage(other))
        sending.frames(1, ONE[0])
        sending.frames(1, ONE[1])
        send(third, ArmMessage(other))
        sending.run.wait(lambda: sending.run.receiver._acquisition.senders.count("test", AGAIN) == 2)
        sending.other(0, ArmMessage(HEADER))
        sending.run.wait(lambda: sending.run.receiver._acquisition._known.names.of("test") == "test")
        send(third, TWO[0])
        sending.placed += 7
        sending.frames(1, ONE[2])
    got = recorded(tmp_path)
    assert {name: len(frames) for name, frames in got.items()} == {"test": 7, AGAIN: 21, "test-again-3": 7}
    assert got[AGAIN] == digests(FIRST[:21])


def test_what_a_full_disk_took_of_two_senders_is_written_when_the_scan_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquisition = Acquisition(Ring(10**7), tmp_path, Patience(), Announcer(lambda event: None))
    senders = acquisition.senders
    acquisition.handle(ArmMessage(HEADER), senders.connection(20))
    acquisition.handle(ONE[0], senders.connection(20))
    scan = acquisition._open["test"]
    while not scan.safe.any():
        time.sleep(0.01)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as while_full:
        while_full.setattr(JournalFile, "write", full)
        acquisition.handle(ArmMessage(HEADER), senders.connection(21))
        while scan.journal is not None and scan.journal.error is None:
            time.sleep(0.01)
        acquisition.tick()
    assert scan.recording_state == "failed"
    for descriptor in (20, 21):
        senders.lost(descriptor)
    acquisition._close(scan, "aborted")
    while acquisition._recordings.is_converting("test"):
        time.sleep(0.01)
    acquisition.handle(ONE[1], senders.connection(22))
    while not acquisition._open["test"].safe[ONE[1].first]:
        time.sleep(0.01)
    with JournalReader(next(tmp_path.glob("*.journal"))) as reader:  # as it is left behind if the process is killed now
        assert len(list(reader.messages())) == 2
        assert reader.senders == 2
    acquisition.stop(60)
    assert said_senders(tmp_path) == {"test": 2}
