"""Patterns as arrays, through the sending end of the native stream (the rest: test_replay.py, test_security.py)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cpp_sender import LossyServer
from stream_tools import make_frames, make_header

import ptylive
from ptylive.schema import MetadataError, ServerGoneError
from ptylive.simulators import sender as sender_module
from ptylive.simulators.outlet import SendPatience
from ptylive.streamer.wire import EndMessage, FramesMessage, PingMessage

IMPATIENT = SendPatience(0.05, 0.05, 0.05)
FRAMES = np.random.default_rng(7).poisson(4.0, (12, 8, 6)).astype("<u2")
AS_BYTES = [frame.tobytes() for frame in FRAMES]


def test_patterns_go_in_messages_of_a_megabyte_and_arrive():
    header = make_header(scan=(3, 4), pixels=(512, 512))
    frames = make_frames(header)
    with LossyServer() as lossy:
        with ptylive.Sender(lossy.data) as sender:
            sender.arm(header)
            sender.patterns(2, frames[2:])
            sender.patterns(0, frames[:2, :, ::-1][:, :, ::-1])  # a view that is not contiguous
            sender.end(EndMessage(header.uid, 12, "complete"))
        lossy.wait_for_end()
        assert lossy.patterns() == [frame.tobytes() for frame in frames]
        assert {m.count for m in lossy.messages if isinstance(m, FramesMessage)} == {2}


@pytest.mark.parametrize(("name", "value"), [("patience", 0.3), ("safe_s", "x"), ("safe_s", 0), ("keep_bytes", -1)])
def test_impossible_arguments_are_refused_before_anything_is_sent(name: str, value: Any):
    with pytest.raises(MetadataError, match=f"^{name} = "):
        ptylive.Sender("tcp://127.0.0.1:9", **{name: value})


def test_patterns_that_were_not_announced_are_refused():
    header = make_header(scan=(3, 4), pixels=(8, 8))
    with LossyServer() as lossy, ptylive.Sender(lossy.data) as sender:
        with pytest.raises(ValueError, match="announce the scan first"):
            sender.patterns(0, np.zeros((1, 8, 8), "<u2"))
        sender.arm(header)
        with pytest.raises(ValueError, match=r"patterns of \(8, 9\) <u2, but \(8, 8\) <u2"):
            sender.patterns(0, np.zeros((1, 8, 9), "<u2"))
        with pytest.raises(ValueError, match="<f4, but"):
            sender.patterns(0, np.zeros((1, 8, 8), "<f4"))
        with pytest.raises(ValueError, match="frames 10 to 13 of a scan of 12"):
            sender.patterns(10, np.zeros((3, 8, 8), "<u2"))
        with pytest.raises(ValueError, match="frames -1 to 0 of"):
            sender.patterns(-1, np.zeros((1, 8, 8), "<u2"))


def test_numbers_of_numpy_are_numbers_and_others_are_refused_by_name():
    with LossyServer() as lossy:
        with ptylive.Sender(lossy.data) as sender:
            sender.open(np.array([3, 4]), FRAMES.shape[1:], FRAMES.dtype)
            for number in np.arange(4, 12):
                sender.send(number, FRAMES[number])
            sender.send_row(np.int16(0), FRAMES[:4])
            for first in (2.5, "0", None):
                with pytest.raises(ValueError, match=r"^first = .* is not a whole number"):
                    sender.send(first, FRAMES[:1])
            with pytest.raises(ValueError, match="row = '1' is not a whole number"):
                sender.send_row("1", FRAMES[:4])
        lossy.wait_for_end()
        assert lossy.patterns() == AS_BYTES
        with (
            ptylive.Sender(lossy.data) as sender,
            pytest.raises(MetadataError, match="sent = 'x' is not a table of texts"),
        ):
            sender.open((3, 4), (8, 6), "<u2", sent="x")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "_ASK_INTERVAL_S", 0.01)
    monkeypatch.setattr(sender_module, "_FIRST_RESEND_S", 0.05)


def test_a_scan_in_a_few_lines_of_rows_in_any_order():
    with LossyServer() as lossy:
        with ptylive.Sender(lossy.data) as sender:
            sender.open((3, 4), (8, 6), np.uint16, series="gold", energy_eV="300 keV", scan_step_A=0.4)
            sender.send_row(2, FRAMES[8:])
            sender.send(0, FRAMES[0])
            sender.send(1, FRAMES[1:8].astype(">u2"))
            sender.send(1, FRAMES[1:8])
        end = lossy.wait_for_end()
        assert lossy.patterns() == AS_BYTES
        header = lossy.arm.header
    assert (header.series, header.scan.shape, header.scan.step_A) == ("gold", (3, 4), (0.4, 0.4))
    assert (header.optics.energy_eV, header.detector_shape) == (300e3, (8, 6))
    assert (end.frames, end.reason) == (12, "complete")


def test_a_row_has_its_flyback_and_what_was_skipped_before():
    with LossyServer() as lossy:
        with ptylive.Sender(lossy.data) as sender:
            sender.open((2, 3), (8, 6), "<u2", flyback_frames=1, skip_first=4)
            sender.send_row(1, FRAMES[8:])
            with pytest.raises(ValueError, match="a row of 3 patterns: rows of this scan have 4"):
                sender.send_row(1, FRAMES[:3])
        lossy.wait_for_end()
        assert sorted(lossy.frames) == [8, 9, 10, 11]
        assert lossy.arm.header.frames == 12


def test_memory_may_be_filled_anew_at_once():
    big = np.zeros((1, 512, 512), "<u2")
    sent = []
    with LossyServer() as lossy, ptylive.Sender(lossy.data) as sender:
        sender.arm(make_header(scan=(3, 4), pixels=(512, 512)))
        sender.frames = sent.append  # as if they waited in ZeroMQ
        sender.patterns(0, big)
        big[:] = 7
    assert not any(sent[0].parts[0])


def test_what_a_server_has_lost_is_sent_again(hurried: None):
    with LossyServer(loses=lambda message, time: message.first % 3 == 0 and time < 3) as lossy:
        with ptylive.Sender(lossy.data, control=lossy.control) as sender:
            sender.open((3, 4), (8, 6), "<u2")
            for number, frame in enumerate(FRAMES):
                sender.send(number, frame)
            sender.finish()
            assert lossy.patterns() == AS_BYTES
            assert sender.resent >= 8
        kinds = [type(message) for message in lossy.messages]
        assert PingMessage in kinds  # without it a restarted server would not know the scan
        assert lossy.wait_for_end().reason == "complete"


def test_no_more_is_kept_than_was_said(hurried: None):
    with LossyServer(loses=lambda message, time: time < 2) as lossy:
        with ptylive.Sender(lossy.data, control=lossy.control, keep_bytes=3 * 96) as sender:
            sender.open((3, 4), (8, 6), "<u2")
            for number, frame in enumerate(FRAMES):
                sender.send(number, frame)
                assert len(lossy.frames) >= number - 2
        lossy.wait_for_end()
        assert lossy.patterns() == AS_BYTES


def test_what_does_not_become_safe_is_told_with_what_was_refused(hurried: None):
    with LossyServer(loses=lambda message, time: True, refuses="truncated") as lossy:
        sender = ptylive.Sender(lossy.data, control=lossy.control, safe_s=0.4)
        sender.open((3, 4), (8, 6), "<u2")
        sender.send(0, FRAMES)
        with pytest.raises(ServerGoneError, match=r"^12 frames did not become safe within 0.4 s .*: truncated \d"):
            sender.close()
        sender.close()  # closing twice has no further effect


def test_an_exception_breaks_the_scan_off():
    with LossyServer() as lossy:
        with pytest.raises(ZeroDivisionError), ptylive.Sender(lossy.data) as sender:
            sender.open((3, 4), (8, 6), "<u2")
            sender.send(0, FRAMES[:5])
            raise ZeroDivisionError
        end = lossy.wait_for_end()
    assert (end.frames, end.reason) == (5, "aborted")


def test_one_scan_after_the_other_and_nothing_without():
    with LossyServer() as lossy, ptylive.Sender(lossy.data) as sender:
        for misuse in (sender.finish, lambda: sender.send(0, FRAMES), lambda: sender.send_row(0, FRAMES[:4])):
            with pytest.raises(ValueError, match="scan"):
                misuse()
        uid = sender.open((3, 4), (8, 6), "<u2")
        with pytest.raises(ValueError, match="a scan is open: finish"):
            sender.open((3, 4), (8, 6), "<u2")
        sender.finish(complete=False)
        assert sender.open((3, 4), (8, 6), "<u2", uid="another") == "another" != uid
        sender.close()
        for misuse in (lambda: sender.open((3, 4), (8, 6), "<u2"), lambda: sender.arm(lossy.arm.header)):
            with pytest.raises(ValueError, match="this sender is closed"):
                misuse()


@pytest.mark.parametrize(
    ("open_", "words"),
    [
        (lambda sender: sender.open((0, 4), (8, 6), "<u2"), "open: scan: impossible scan shape 0 x 4"),
        (lambda sender: sender.open((3, 4), (9000, 6), "<u2"), "detector.shape 9000 x 6 is impossible"),
        (lambda sender: sender.open((3, 4), (8, 6), complex), "pixel type '<c16' is not supported"),
        (lambda sender: sender.open((3, 4), (8, 6), "hello"), "dtype: 'hello' is not a pixel type"),
        (lambda sender: sender.open((3, 4), (8, 6), "<u2", energy=3), "unknown setting 'energy'"),
        (
            lambda sender: sender.open((3, 4), (8, 6), "<u2", uid="a b"),
            "a server refuses such a scan: arm message: uid",
        ),
        (lambda sender: sender.open((3, 4), (8, 6), "<u2", series="x" * 201), "a server refuses such a scan"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_sent(open_: Callable[[ptylive.Sender], str], words: str):
    with ptylive.Sender("tcp://127.0.0.1:9", IMPATIENT) as sender:
        with pytest.raises(MetadataError) as refused:
            open_(sender)
        assert words in str(refused.value)


def test_a_control_address_where_nobody_answers_is_said_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ptylive.simulators.kept_frames._QUESTION_TIMEOUT_S", 0.05)
    with ptylive.Sender("tcp://127.0.0.1:9", IMPATIENT, control="tcp://127.0.0.1:9") as sender:
        with pytest.raises(ServerGoneError, match=r"no server answers at tcp://127\.0\.0\.1:9"):
            sender.open((3, 4), (8, 6), "<u2")
