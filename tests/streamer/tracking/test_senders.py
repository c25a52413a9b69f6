"""Two senders that use the same uid at the same time: their connections distinguish their frames."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from stream_tools import (
    connected,
    make_frames,
    make_header,
    messages_of,
    running,
    send,
)
from two_senders import AGAIN, FIRST, HEADER, ONE, SECOND, TWO, digests, recorded, said_senders, two_senders, warned

from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer
from ptylive.streamer.patience import Patience
from ptylive.streamer.ring import Ring
from ptylive.streamer.tracking import senders as senders_module
from ptylive.streamer.tracking.senders import Senders
from ptylive.streamer.wire import ArmMessage, EndMessage, PingMessage


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
        assert sum("different data" in text and AGAIN in text for text in said) == 1
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
    """After a reconnect frames come before the first ping: nothing shows whose they are."""
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
    one, other = senders.known(7), senders.known(8)
    senders.says(one, "test", "test")
    senders.lost(7)
    senders.says(other, "test", "test")
    assert not senders.share(other, "test")
    senders.accepted(7)
    again = senders.known(7)
    assert senders.of(one, "test") == "test"  # some of its messages are still in the socket, or wait for their scan
    assert senders.of(again, "test") is None
    senders.says(again, "test", "test")
    assert senders.share(other, "test")
    assert not senders.is_disputed("test")
    senders.says(again, "test", AGAIN)
    assert senders.is_disputed("test")
    assert senders.count("test", AGAIN) == 1
    assert senders.known(-1) is None


def test_what_waits_for_its_scan_keeps_its_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two senders are gone when their frames can be handled, and one's descriptor is reused by the other's next try."""
    acquisition = Acquisition(Ring(10**7), tmp_path, Patience(), Announcer(lambda event: None))
    senders, recordings = acquisition.senders, acquisition._recordings
    one, other = senders.known(20), senders.known(21)
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
    senders.says(senders.known(20), "test", AGAIN)
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
    assert len(senders._scan_meant) == len(senders._disputed) == 2
    assert senders._doubtful <= senders._scan_meant.keys()


def test_both_announced_a_scan_that_is_not_open(tmp_path: Path) -> None:
    """While another scan is received, and after it was closed for others: it is reported when it is opened."""
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
