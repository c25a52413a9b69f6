"""Patterns as arrays, through the sending end of the native stream (the rest: test_replay.py, test_security.py)."""

import numpy as np
import pytest
from cpp_sender import LossyServer
from stream_tools import make_frames, make_header

import ptylive
from ptylive.streamer.wire import EndMessage, FramesMessage


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


def test_patterns_that_were_not_announced_are_refused():
    header = make_header(pixels=(8, 8))
    with LossyServer() as lossy, ptylive.Sender(lossy.data) as sender:
        with pytest.raises(ValueError, match="announce the scan first"):
            sender.patterns(0, np.zeros((1, 8, 8), "<u2"))
        sender.arm(header)
        with pytest.raises(ValueError, match=r"patterns of \(8, 9\) <u2: announced were \(8, 8\) <u2"):
            sender.patterns(0, np.zeros((1, 8, 9), "<u2"))
        with pytest.raises(ValueError, match="<f4: announced were"):
            sender.patterns(0, np.zeros((1, 8, 8), "<f4"))
