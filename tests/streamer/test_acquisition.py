"""Ending a scan whose sender is gone, or sends nothing but pings."""

from dataclasses import replace

import numpy as np
import pytest
from stream_tools import LOOPBACK, make_frames, make_header, messages_of, running

from ptylive.streamer.acquisition import Acquisition
from ptylive.streamer.events import Announcer, LogEvent, StreamEvent
from ptylive.streamer.patience import Patience
from ptylive.streamer.receiver import Receiver, ReceiverSettings
from ptylive.streamer.ring import Ring
from ptylive.streamer.wire import ArmMessage, PingMessage

HEADER = replace(make_header(), uid="scan")
MESSAGES = messages_of(HEADER, make_frames(HEADER))


class Stream:
    """An acquisition without sockets or a recording folder, and what it announced."""

    def __init__(self, patience: Patience) -> None:
        self.events: list[StreamEvent] = []
        self.ring = Ring()
        self.acquisition = Acquisition(self.ring, None, patience, Announcer(self.events.append))

    @property
    def warnings(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, LogEvent) and event.level == "warning"]


@pytest.fixture
def stream() -> Stream:
    stream = Stream(Patience(idle_timeout_s=3600.0))
    for message in (ArmMessage(HEADER), *MESSAGES[:2]):
        stream.acquisition.handle(message)
    return stream


def test_a_scan_ends_with_what_has_arrived_when_a_person_says_so(stream: Stream) -> None:
    assert stream.acquisition.end_scan("scan")
    stream.acquisition.tick()
    status = stream.acquisition.status()
    assert (status.state, status.frames) == ("aborted", 10)
    ended = "scan test was ended as requested; 10 of its 42 frames arrived; frames that still come continue it"
    assert stream.warnings == [ended]
    assert not stream.acquisition.end_scan("scan")


@pytest.mark.parametrize(("silent_s", "shown"), [(0.0, "scan"), (1.5, "next")])
def test_a_scan_that_broke_off_is_not_shown_instead_of_the_next_one(
    stream: Stream, silent_s: float, shown: str
) -> None:
    """Regression: whoever broke a scan off and sent a shorter one within 5 s saw that the first was aborted."""
    assert stream.acquisition.open_scan is not None
    stream.acquisition.open_scan.active_at -= silent_s
    after = replace(make_header(), uid="next")
    for message in (ArmMessage(after), *messages_of(after, make_frames(after))):
        stream.acquisition.handle(message)
    assert stream.acquisition.status().uid == shown
    stream.acquisition.end_scan("scan")
    stream.acquisition.tick()
    assert stream.acquisition.status().uid == shown


def test_one_that_pauses_while_another_is_sent_is_shown_again_once_it_goes_on(stream: Stream) -> None:
    """Regression: it was received to its end while the status said that the other one was complete."""
    assert stream.acquisition.open_scan is not None
    stream.acquisition.open_scan.active_at -= 1.5
    other = replace(make_header(), uid="next")
    for message in (ArmMessage(other), *messages_of(other, make_frames(other)), *MESSAGES[2:-1]):
        stream.acquisition.handle(message)
    assert (stream.acquisition.status().uid, stream.acquisition.status().state) == ("scan", "scanning")
    stream.acquisition.handle(MESSAGES[-1])
    assert (stream.acquisition.status().uid, stream.acquisition.status().state) == ("scan", "complete")


def test_of_several_open_scans_one_whose_sender_is_there_is_shown(stream: Stream) -> None:
    """Regression: only the newest of them was considered, which may have broken off."""
    broken, third = (replace(make_header(), uid=uid) for uid in ("broken", "third"))
    for message in (ArmMessage(broken), *messages_of(broken, make_frames(broken))[:2]):
        stream.acquisition.handle(message)
    assert stream.acquisition.open_scan is not None
    stream.acquisition.open_scan.active_at -= 2.0
    for message in (ArmMessage(third), PingMessage("scan", HEADER), *messages_of(third, make_frames(third))):
        stream.acquisition.handle(message)
    assert stream.acquisition.status().uid == "scan"


def test_a_sender_that_only_pings_does_not_open_it_again_but_frames_do(stream: Stream) -> None:
    stream.acquisition.end_scan("scan")
    stream.acquisition.tick()
    stream.acquisition.handle(PingMessage("scan", HEADER))
    stream.acquisition.tick()
    assert stream.acquisition.status().state == "aborted"
    for message in MESSAGES[2:]:
        stream.acquisition.handle(message)
    status = stream.acquisition.status()
    assert status.uid == "scan" and status.state in ("scanning", "complete")


def test_one_that_was_armed_and_never_sent_a_frame_can_be_ended() -> None:
    stream = Stream(Patience(idle_timeout_s=3600.0))
    stream.acquisition.handle(ArmMessage(HEADER))
    stream.acquisition.tick()
    assert stream.acquisition.status().state == "armed"
    stream.acquisition.end_scan("scan")
    stream.acquisition.tick()
    assert stream.acquisition.status().state == "aborted"


def test_a_scan_that_is_closed_for_silence_says_why() -> None:
    stream = Stream(Patience(idle_timeout_s=-1.0))  # every sender has been silent for longer
    for message in (ArmMessage(HEADER), MESSAGES[0]):
        stream.acquisition.handle(message)
    stream.acquisition.tick()
    (warning,) = stream.warnings
    assert "was closed: its sender sent nothing for -1 s; 5 of its 42 frames arrived" in warning
    assert stream.acquisition.status().why_closed == "its sender sent nothing for -1 s"
    for message in MESSAGES[1:]:
        stream.acquisition.handle(message)
    assert stream.acquisition.status().why_closed == "", "frames that came have continued it"


def test_silence_is_told_while_it_lasts(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream.acquisition.status().silent_s is None
    scan = stream.acquisition.open_scan
    assert scan is not None
    later = scan.active_at + 1000.0
    monkeypatch.setattr("ptylive.streamer.tracking.stream_status.time.monotonic", lambda: later)
    assert stream.acquisition.status().silent_s == pytest.approx(1000.0, abs=1.0)
    stream.ring.blocked = True  # frames wait for this program, not the other way round
    assert stream.acquisition.status().silent_s is None
    stream.ring.blocked = False
    scan.place(10, np.ones(1, dtype=bool), now=later)
    assert stream.acquisition.status().silent_s is None


def test_a_receiver_says_that_it_still_reads_what_an_earlier_run_received(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    with running() as run:
        run.wait(lambda: not run.receiver.status().recovering)
    receiver = Receiver(ReceiverSettings(LOOPBACK), on_event=lambda _event: None)
    monkeypatch.setattr(receiver._acquisition, "recover", lambda: told.append(receiver.status().recovering))
    receiver.start()
    receiver.stop()
    assert told == [True]
