"""Waiting messages are bounded in memory, even if they hold nothing, and nothing overtakes them."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quick_first import quick_first
from stream_tools import PATIENCE_S, make_frames, messages_of
from two_senders import AGAIN, FIRST, HEADER, ONE, SECOND, TWO, digests, recorded, said_senders

from ptylive.schema import ScanHeader, WireError
from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer
from ptylive.streamer.patience import Patience
from ptylive.streamer.ring import Ring
from ptylive.streamer.tracking.held import HeldMessages
from ptylive.streamer.tracking.stored_marks import StoredMarks
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, Message, PingMessage

THIRD = make_frames(HEADER, seed=3)


def test_messages_without_content_are_bounded_too() -> None:
    held = HeldMessages(10_000)
    kept = [held.add(FramesMessage("u", n, 1, "bslz4", (b"",)), "u") for n in range(100)]
    assert kept[0]
    assert not all(kept)
    assert len(held.take("u")) == sum(kept)
    assert held.add(FramesMessage("u", 0, 1, "bslz4", (b"",)), "u"), "what was taken counts no more"


def test_what_an_arm_message_brings_is_bounded_too() -> None:
    held, header = HeldMessages(12_000), replace(HEADER, arrays={"dark": np.zeros((64, 64), np.uint8)})
    assert [held.add(message, "u") for message in (ArmMessage(header), PingMessage("u", header))] == [True, True]
    assert not held.add(ArmMessage(header), "u")
    assert held.take("u") == [(ArmMessage(header), None), (PingMessage("u", header), None)]


def acquisition_in(folder: Path) -> Acquisition:
    return Acquisition(Ring(10**7), folder, Patience(), Announcer(lambda event: None))


def record_first(folder: Path) -> None:
    """An earlier run that has recorded the first scan."""
    earlier = acquisition_in(folder)
    for message in (ArmMessage(HEADER), *ONE):
        earlier.handle(message)
    earlier.stop(60)


@pytest.mark.parametrize("held", quick_first([1, 3, 2], 2))
def test_frames_that_come_once_marks_are_known_do_not_overtake_those_that_waited_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """The start of another scan waits; what is sent after it comes once the marks have, and before the next look."""
    record_first(tmp_path)
    is_ready, may_be = StoredMarks.ready, list[bool]()
    monkeypatch.setattr(StoredMarks, "ready", lambda marks, uid: bool(may_be) and is_ready(marks, uid))
    acquisition = acquisition_in(tmp_path)
    acquisition.recover()
    acquisition.handle(ArmMessage(HEADER))
    sent = [TWO[0], *ONE[4:], TWO[4]]
    for message in sent[:held]:
        acquisition.handle(message)
    give_up = time.monotonic() + PATIENCE_S
    while not is_ready(acquisition._known._marks, "test"):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    may_be.append(True)
    for message in sent[held:-1]:
        acquisition.handle(message)
    try:
        acquisition.handle(sent[-1])
    except WireError as error:
        acquisition.reject(error)
    acquisition.tick()
    assert acquisition.status().rejected == {"other_data": 1}
    acquisition.stop(60)
    assert said_senders(tmp_path) == {"test": 1, AGAIN: 2}
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND[:7]) | digests(FIRST[28:], 28)}


def test_frames_there_is_no_room_for_do_not_overtake_those_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_first(tmp_path)
    monkeypatch.setattr(StoredMarks, "ready", lambda *_: False)
    acquisition = acquisition_in(tmp_path)
    acquisition._known.held = HeldMessages(3000)
    acquisition.recover()
    acquisition.handle(ArmMessage(HEADER))
    for message in TWO:
        acquisition.handle(message)
    assert not acquisition.status().rejected
    acquisition.stop(60)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND)}
    assert said_senders(tmp_path) == {"test": 1, AGAIN: 1}


def three_scans(header: ScanHeader) -> list[Message]:
    """The scans behind the recorded one: a second with its header, and a third one."""
    return [
        ArmMessage(HEADER),
        *TWO,
        EndMessage(HEADER.uid, HEADER.frames, "complete"),
        ArmMessage(header),
        *messages_of(header, THIRD),
    ]


@pytest.mark.parametrize("sources", [(None, None), (1, 1), (1, 2)], ids=["unknown", "one", "two"])
@pytest.mark.parametrize("header", quick_first([HEADER, replace(HEADER, series="third")]), ids=["same", "other"])
@pytest.mark.parametrize("waits", quick_first([8, 20, 9, 12], 2))
def test_a_third_scan_armed_while_frames_of_the_second_wait_begins_behind_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    header: ScanHeader,
    waits: int,
    sources: tuple[int | None, int | None],
) -> None:
    record_first(tmp_path)
    is_ready, may_be = StoredMarks.ready, list[bool]()
    monkeypatch.setattr(StoredMarks, "ready", lambda marks, uid: bool(may_be) and is_ready(marks, uid))
    acquisition = acquisition_in(tmp_path)
    acquisition.recover()
    sent = [(message, sources[k > len(TWO) + 1]) for k, message in enumerate(three_scans(header))]
    for message, source in sent[:waits]:
        acquisition.handle(message, source)
    give_up = time.monotonic() + PATIENCE_S
    while not is_ready(acquisition._known._marks, "test"):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    may_be.append(True)
    acquisition.tick()
    for message, source in sent[waits:]:
        acquisition.handle(message, source)
    assert not acquisition.status().rejected
    acquisition.stop(60)
    assert recorded(tmp_path) == {"test": digests(FIRST), AGAIN: digests(SECOND), "test-again-3": digests(THIRD)}


def test_a_scan_of_another_uid_does_not_wait_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does the sign of life of their sender, but a pinged header has its turn."""
    record_first(tmp_path)
    monkeypatch.setattr(StoredMarks, "ready", lambda *_: False)
    acquisition = acquisition_in(tmp_path)
    acquisition.recover()
    for message in (ArmMessage(HEADER), TWO[0], PingMessage("test"), ArmMessage(replace(HEADER, uid="other"))):
        acquisition.handle(message)
    assert acquisition.open_scan is not None and acquisition.open_scan.header.uid == "other"
    acquisition.handle(PingMessage("test", replace(HEADER, series="third")))
    assert len(acquisition._known.held.take("test")) == 2
    acquisition.stop(60)
