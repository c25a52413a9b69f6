"""Scans to which images of their detector are added on arrival."""

from dataclasses import replace

import numpy as np
from stream_tools import make_frames, make_header, messages_of

from ptylive.schema import Basis
from ptylive.streamer.describing import DescribingInlet
from ptylive.streamer.protocols.inlet import NativeInlet
from ptylive.streamer.wire import ArmMessage, EndMessage, PingMessage, encode

DARK = np.full((8, 8), 3.0, np.float32)


def taken(inlet, message):
    [got] = inlet.take(encode(message))
    return got


def test_arms_and_pings_carry_them_and_frames_pass():
    header, notes = make_header(), []
    mask = np.eye(8) > 0
    header = replace(header, arrays={"bad_pixel_mask": mask})
    inlet = DescribingInlet(NativeInlet(), {"dark_reference": DARK, "bad_pixel_mask": ~mask}, notes.append)
    for message in (ArmMessage(header), PingMessage(header.uid, header)):
        got = taken(inlet, message).header
        np.testing.assert_array_equal(got.arrays["dark_reference"], DARK)
        assert got.arrays["bad_pixel_mask"].all()
    assert taken(inlet, PingMessage(header.uid)).header is None
    frames = messages_of(header, make_frames(header))[0]
    assert taken(inlet, frames).first == frames.first
    assert taken(inlet, EndMessage(header.uid, header.frames, "complete")).frames == header.frames
    assert (inlet.holding, inlet.template(), list(inlet.flush()), notes) == (False, None, [], [])
    inlet.advance(3)


def test_a_scan_of_another_detector_is_taken_without_and_said_once():
    notes = []
    inlet = DescribingInlet(NativeInlet(), {"dark_reference": DARK}, notes.append)
    other = make_header(pixels=(4, 4))
    for _ in range(3):
        assert taken(inlet, ArmMessage(other)).header.arrays == {}
    assert len(notes) == 1
    assert "dark_reference is 8 x 8, a frame 4 x 4 pixels" in notes[0]
    masks = {"masks": np.ones((1, 8, 8), np.float32)}
    compressed = replace(make_header(), basis=Basis(kind="data", n_bright=1), arrays=masks)
    assert set(taken(inlet, ArmMessage(compressed)).header.arrays) == {"masks"}
    assert len(notes) == 2
