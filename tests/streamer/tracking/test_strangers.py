"""Frames that come before anything shows whose they are, after restarts and reconnects, and reports about them."""

import errno
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stream_tools import (
    connected,
    make_frames,
    make_header,
    messages_of,
    running,
    send,
)
from two_senders import (
    AGAIN,
    FIRST,
    HEADER,
    ONE,
    SECOND,
    TWO,
    Sending,
    digests,
    part,
    recorded,
    said_senders,
    two_senders,
    warned,
)

from ptylive.schema import WireError
from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer
from ptylive.streamer.patience import Patience
from ptylive.streamer.receiver import Receiver
from ptylive.streamer.recording.journal_file import JournalFile
from ptylive.streamer.ring import Ring
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.tracking import senders as senders_module
from ptylive.streamer.tracking.senders import Senders
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, PingMessage


@pytest.mark.slow
def test_after_a_restart_their_frames_are_kept_apart(tmp_path: Path) -> None:
    """Both scans want the frames that come, and nothing shows to which of them they belong."""
    with two_senders(tmp_path) as sending:
        for who, messages in enumerate((ONE, TWO)):
            sending.other(who, ArmMessage(HEADER))
            sending.frames(who, messages[0])
            sending.frames(who, messages[1])
    with two_senders(tmp_path) as sending:
        sending.placed = 14  # the newest scan is reopened: its stored frames come first
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


@pytest.mark.slow
def test_after_a_restart_frames_that_come_before_their_sender_is_known(tmp_path: Path) -> None:
    """Frames under way go into the only known scan; that they belong to another turns out later."""
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


def test_a_sender_that_says_its_number_is_the_same_by_any_connection() -> None:
    senders = Senders()
    one = senders.known(7, 1001)
    other = senders.known(8, 1002)
    assert len({one, other, senders.known(7), senders.known(8)}) == 4
    assert (senders.known(8, 1001), senders.known(-1, 1002)) == (one, other)
    senders.says(one, "test", "test")
    assert senders.count("test", "test") == 1
    senders.lost(7)
    assert senders.count("test", "test") == 1  # it was last heard on the other connection
    senders.lost(8)
    assert senders.count("test", "test") == 0
    assert senders.known(9, 1001) == one
    assert senders.count("test", "test") == 1


def test_a_sender_that_is_gone_stays_gone_while_its_last_messages_come() -> None:
    senders = Senders()
    one = senders.known(7, 1001)
    senders.says(one, "test", "test")
    senders.lost(7)
    assert senders.known(7, 1001) == one  # its end, read after the word of its connection
    assert senders.count("test", "test") == 0
    again = senders.known(8, 1002)
    senders.says(again, "test", AGAIN)
    assert not senders.is_disputed("test")


def test_a_sender_that_comes_back_may_find_its_uid_taken() -> None:
    senders = Senders()
    senders.says(senders.known(7, 1001), "test", "test")
    senders.lost(7)
    senders.says(senders.known(8, 1002), "test", AGAIN)
    assert not senders.is_disputed("test")
    senders.known(9, 1001)
    assert senders.is_disputed("test")


def test_frames_of_a_sender_that_comes_back_are_not_those_of_whoever_took_its_uid(tmp_path: Path) -> None:
    """The connection is gone when the other sender announces a scan of its own under the same uid."""
    other = replace(make_header((6, 8)), uid="test")
    frames = make_frames(other, seed=3)
    theirs = messages_of(other, frames, 8)
    with running(tmp_path) as run, connected(run.address) as second, connected(run.address) as third:
        with connected(run.address) as first:
            send(first, ArmMessage(HEADER, sender=1001), replace(ONE[0], sender=1001))
            run.wait(lambda: len(run.frames.get("test", {})) == 7)
        sending = Sending(run, (second, third))
        sending.placed = 7
        sending.other(0, ArmMessage(other, sender=1002))
        for k in range(2):
            sending.frames(0, replace(theirs[k], sender=1002))
        for k in range(1, 6):
            sending.frames(1, replace(ONE[k], sender=1001))
        for k in range(2, 6):
            sending.frames(0, replace(theirs[k], sender=1002))
        run.wait_for_whole("test")
        run.wait_for_whole(AGAIN)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(frames)}


@pytest.mark.parametrize("number", [1002, 0])
def test_only_senders_that_mean_the_open_scan_are_left_to_the_compiled_loop(tmp_path: Path, number: int) -> None:
    other = make_header((6, 8))
    theirs = messages_of(other, make_frames(other, seed=3), 8)
    with two_senders(tmp_path) as sending:
        receiver = sending.run.receiver
        if not receiver.accelerated:
            pytest.skip("of the compiled loop")
        sending.other(0, ArmMessage(HEADER, sender=1001))
        sending.frames(0, replace(ONE[0], sender=1001))
        sending.frames(0, replace(ONE[1], sender=1001))
        sending.other(1, ArmMessage(other, sender=number))
        sending.frames(0, replace(ONE[2], sender=1001))
        sending.frames(1, replace(theirs[0], sender=number))
        sending.frames(0, replace(ONE[3], sender=1001))
        followed = receiver._acquisition.open_scan
        assert followed is not None
        assert receiver._loop is not None
        means = {"test": [1001], other.uid: [number]}
        assert receiver._loop._senders.tolist() in ([], means[followed.header.uid])


@pytest.mark.parametrize(("one_sender", "told"), [(True, 1), (False, 2)])
def test_a_detector_that_repeats_itself_is_no_second_sender(tmp_path: Path, one_sender: bool, told: int) -> None:
    announcer = Announcer(lambda event: None)
    acquisition = Acquisition(Ring(10**7), tmp_path, Patience(), announcer, one_sender=one_sender)
    for message in (ArmMessage(HEADER), *ONE[:2]):
        acquisition.handle(message)
    with pytest.raises(WireError, match="arrived again with different data"):
        acquisition.handle(TWO[1])
    scan = acquisition.open_scan
    acquisition.stop(60)
    assert scan is not None
    assert scan.senders == told


def test_senders_of_long_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders_module, "_REMEMBERED", 2)
    senders = Senders()
    first = [senders.known(7, number) for number in (1, 2, 3)]
    assert len({*first, senders.known(7, 1)}) == 4
    assert len(senders._number_of) == 2


def test_frames_that_come_by_the_connection_of_another_sender_are_of_who_says_so(tmp_path: Path) -> None:
    """As after both have reconnected: the descriptor of one is now the other's, of which messages still wait."""
    other = replace(make_header((6, 8)), uid="test")
    frames = make_frames(other, seed=3)
    theirs = messages_of(other, frames, 8)
    with two_senders(tmp_path) as sending:
        sending.other(0, ArmMessage(HEADER, sender=1001))
        sending.frames(0, replace(ONE[0], sender=1001))
        sending.other(1, ArmMessage(other, sender=1002))
        for k in range(1, 6):
            sending.frames(k % 2, replace(ONE[k], sender=1001))
            sending.frames(k % 2, replace(theirs[k], sender=1002))
        sending.other(0, EndMessage("test", 48, "aborted", sender=1002))
        sending.frames(1, replace(theirs[0], sender=1002))
        sending.run.wait_for_whole("test")
        assert set(sending.run.receiver.status().rejected) == {"unknown_scan"}
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(frames)}
    assert said_senders(tmp_path) == {"test": 1, AGAIN: 1}


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


@pytest.mark.slow
def test_a_scan_taken_up_again_that_gets_other_data_says_that_it_may_have_two_senders(tmp_path: Path) -> None:
    """Some frames sent by the other one are new there, and nothing distinguishes them from the rest of the scan."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE[:1])
        run.wait(lambda: run.receiver.status().received > 0)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, *TWO[1:], TWO[0])
        run.wait(lambda: run.receiver.status().rejected == {"other_data": 1})
    assert set(said_senders(tmp_path).values()) == {2}


def test_a_sender_that_is_taken_for_that_of_an_unfinished_scan_is_noted_in_it(tmp_path: Path) -> None:
    """Unaware that its own scan is complete, a sender repeats the frames not yet reported to it as safe."""
    with two_senders(tmp_path) as sending:
        for who, messages in enumerate((ONE, TWO)):
            sending.other(who, ArmMessage(HEADER))
            sending.frames(who, messages[0])
        for message in ONE[1:]:
            sending.frames(0, message)
    with two_senders(tmp_path) as sending:
        sending.placed = 7
        sending.other(0, ArmMessage(HEADER))
        sending.frames(0, ONE[3])
    assert recorded(tmp_path) == {
        "test": digests(FIRST),
        AGAIN: digests(SECOND[:7]) | digests(FIRST[21:28], 21),
    }
    assert said_senders(tmp_path)[AGAIN] == 2


def test_a_sender_that_comes_back_to_its_unfinished_scan_is_no_stranger(tmp_path: Path) -> None:
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE[:2])
        run.wait(lambda: run.receiver.status().received == 14)
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE[2:])
        run.wait(lambda: sum(map(len, run.frames.values())) == len(FIRST))
    assert said_senders(tmp_path) == {"test": 1}


def test_another_scan_of_a_uid_that_gets_other_data_says_that_it_may_have_two_senders(tmp_path: Path) -> None:
    """After a restart, before anybody has announced anything: what the first one still sends goes to the newer scan."""
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), *ONE)
        run.wait_for_whole("test")
    with running(tmp_path) as run, connected(run.address) as socket:
        send(socket, ArmMessage(HEADER), TWO[0], *ONE[4:], TWO[4])
        run.wait(lambda: run.receiver.status().rejected == {"other_data": 1})
    assert said_senders(tmp_path) == {"test": 1, AGAIN: 2}


@pytest.mark.slow
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


def test_what_a_full_disk_took_of_two_senders_is_written_when_the_scan_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquisition = Acquisition(Ring(10**7), tmp_path, Patience(), Announcer(lambda event: None))
    senders = acquisition.senders
    acquisition.handle(ArmMessage(HEADER), senders.known(20))
    acquisition.handle(ONE[0], senders.known(20))
    scan = acquisition._open["test"]
    while not scan.safe.any():
        time.sleep(0.01)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as while_full:
        while_full.setattr(JournalFile, "write", full)
        acquisition.handle(ArmMessage(HEADER), senders.known(21))
        while scan.journal is not None and scan.journal.error is None:
            time.sleep(0.01)
        acquisition.tick()
    assert scan.recording_state == "failed"
    for descriptor in (20, 21):
        senders.lost(descriptor)
    acquisition._close(scan, "aborted")
    while acquisition._recordings.is_converting("test"):
        time.sleep(0.01)
    acquisition.handle(ONE[1], senders.known(22))
    while not acquisition._open["test"].safe[ONE[1].first]:
        time.sleep(0.01)
    with JournalReader(next(tmp_path.glob("*.journal"))) as reader:  # as left behind if the process is killed now
        assert len(list(reader.messages())) == 2
        assert reader.senders == 2
    acquisition.stop(60)
    assert said_senders(tmp_path) == {"test": 2}


def test_by_itself_the_compiled_loop_takes_what_is_known_to_be_of_the_open_scan() -> None:
    expected = list[tuple[str, int]]()
    loop: Any = SimpleNamespace(expect=lambda codec, sender: expected.append((codec, sender)))
    meant = {1: "this", 2: "another"}
    senders = SimpleNamespace(known=lambda source, sender: source, of=lambda known, uid: meant[known])
    scan = SimpleNamespace(sent_as="uid", header=SimpleNamespace(uid="this"))
    receiver: Any = SimpleNamespace(_acquisition=SimpleNamespace(open_scan=scan, senders=senders))
    for source, sender in ((1, 7), (2, 8), (2, 0)):
        Receiver._note(receiver, loop, FramesMessage("uid", 0, 1, "none", (b"",), sender=sender), source)
    assert expected == [("none", 7), ("none", 0)]
