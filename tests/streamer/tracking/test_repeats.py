"""Frames that come again: the same are repeats, others belong to another scan, and undecidable ones are counted."""

import numpy as np
import pytest
from stream_tools import compressed, make_frames, make_header

from ptylive.schema import WireError
from ptylive.streamer.marks import marks_of
from ptylive.streamer.recording.scan_record import ScanRecord
from ptylive.streamer.tracking.repeats import Arrival, OtherDataError
from ptylive.streamer.wire import FramesMessage

HEADER = make_header()
FRAMES = make_frames(HEADER)
EVERY = np.ones(4, bool)


def message(frames, codec="none", first=3):
    parts = (frames.tobytes(),) if codec == "none" else tuple(compressed(frame, codec) for frame in frames)
    return FramesMessage(HEADER.uid, first, len(frames), codec, parts)


def scan_with(*messages, exact=True):
    """A scan in which these frames have arrived."""
    scan = ScanRecord.new(HEADER)
    for one in messages:
        scan.progress.marks[one.first : one.first + one.count] = marks_of(one, scan.progress.layout, exact=exact)
    return scan


@pytest.mark.parametrize("codec", ["none", "bslz4", "lz4"])
def test_the_same_frames_are_repeats(codec):
    sent = message(FRAMES[3:7], codec)
    arrival = Arrival(sent, scan_with(sent), exact=True)
    assert arrival.repeated(EVERY).tolist() == [True] * 4
    assert arrival.unchecked == 0
    nothing = np.zeros(4, bool)
    assert arrival.repeated(nothing) is nothing


@pytest.mark.parametrize("codec", ["none", "bslz4"])
def test_a_frame_with_other_data_is_another_scans(codec):
    other = FRAMES[3:7].copy()
    other[2] = other[2].T + 1
    arrival = Arrival(message(other, codec), scan_with(message(FRAMES[3:7], codec)), exact=True)
    with pytest.raises(OtherDataError, match=r"frame 5 of scan .* arrived again with different data"):
        arrival.repeated(EVERY)
    assert arrival.repeated(np.array([True, True, False, True])).tolist() == [True, True, False, True], (
        "one of them is new"
    )


def test_frames_that_were_there_plain_are_compared_decoded():
    scan = scan_with(message(FRAMES[3:7]))
    assert Arrival(message(FRAMES[3:7], "bslz4"), scan, exact=True).repeated(EVERY).all()
    with pytest.raises(OtherDataError):
        Arrival(message(FRAMES[7:11], "bslz4"), scan, exact=True).repeated(EVERY)


@pytest.mark.parametrize("again", ["none", "lz4"])
def test_frames_that_were_there_coded_and_come_otherwise_are_counted_as_unchecked(again):
    arrival = Arrival(message(FRAMES[7:11], again), scan_with(message(FRAMES[3:7], "bslz4")), exact=True)
    assert arrival.repeated(EVERY).all()
    assert arrival.unchecked == 4


def test_of_frames_that_nothing_is_known_of_an_arm_message_decides():
    scan = ScanRecord.new(HEADER)
    arrival = Arrival(message(FRAMES[3:7]), scan, exact=True)
    assert arrival.repeated(EVERY).all()
    scan.armed_with = 1
    with pytest.raises(OtherDataError):
        Arrival(message(FRAMES[3:7]), scan, exact=True).repeated(EVERY)


def test_a_frame_that_does_not_decode_is_no_proof_of_another_scan():
    sent = message(FRAMES[3:7], "bslz4")
    damaged = FramesMessage(sent.uid, sent.first, 4, "bslz4", (*sent.parts[:2], sent.parts[2][:-3], sent.parts[3]))
    arrival = Arrival(damaged, scan_with(sent), exact=True)
    arrival.repeated(EVERY)
    assert arrival.good.tolist() == [True, True, False, True]
    assert [problem.reason for problem in arrival.problems] == ["corrupt"]


def test_sums_are_compared_with_a_tolerance():
    """For coefficients, whose last bits depend on how they were computed."""
    scan = scan_with(message(FRAMES[3:7]), exact=False)
    assert Arrival(message(FRAMES[3:7]), scan, exact=False).repeated(EVERY).all()
    with pytest.raises(OtherDataError):
        Arrival(message(FRAMES[7:11]), scan, exact=False).repeated(EVERY)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (message(FRAMES[:4], first=40), "beyond_scan"),
        (FramesMessage(HEADER.uid, 0, 1, "none", (b"short",)), "truncated"),
    ],
)
def test_what_cannot_be_of_the_scan_is_refused_and_counted(sent, reason):
    scan = ScanRecord.new(HEADER)
    with pytest.raises(WireError) as caught:
        Arrival(sent, scan, exact=True).check()
    assert (caught.value.reason, scan.progress.refused) == (reason, 1)
    Arrival(message(FRAMES[:2], first=40), scan, exact=True).check()
    assert scan.progress.refused == 1
