"""Frames of a scan kept until they are safe, and a server's answers about them."""

import numpy as np
import pytest
from cpp_sender import LossyServer
from replay_tools import control_of
from stream_tools import make_header

from ptylive.schema import ServerGoneError
from ptylive.simulators.kept_frames import KeptFrames, SafeFrames
from ptylive.streamer.wire import FramesMessage


def message(first: int, count: int, nbytes: int = 10) -> FramesMessage:
    return FramesMessage("scan", first, count, "none", (bytes(count * nbytes),))


def safe(*numbers: int) -> np.ndarray:
    found = np.zeros(20, dtype=bool)
    found[list(numbers)] = True
    return found


def test_what_is_safe_is_kept_no_longer() -> None:
    kept = KeptFrames()
    kept.keep(message(0, 3))
    kept.keep(message(8, 2))
    assert (kept.frames, kept.nbytes) == (5, 50)
    assert not kept.drop(safe(0, 1, 9))
    assert kept.drop(safe(0, 1, 2, 9))
    assert [(one.first, one.count) for one in kept] == [(8, 2)]
    assert kept.nbytes == 20


def test_of_frames_that_are_sent_twice_the_longer_message_is_kept() -> None:
    kept = KeptFrames()
    for count in (2, 3, 1):
        kept.keep(message(4, count))
    assert [(one.first, one.count) for one in kept] == [(4, 3)]
    assert kept.nbytes == 30


def test_a_server_says_what_it_has_and_what_it_refused() -> None:
    with LossyServer(refuses="truncated") as lossy, SafeFrames(lossy.control) as server:
        lossy.frames.update({3: b"", 4: b""})
        assert np.flatnonzero(server.ask(make_header(scan=(2, 4)))).tolist() == [3, 4]
        assert server.rejected() == {}


def test_a_server_says_why_it_does_not_record_a_scan_and_nothing_of_another() -> None:
    header = make_header()
    with control_of(lambda uid: [], trouble="the disk is full") as control, SafeFrames(control) as server:
        assert server.trouble(header) == "", "it has not been asked about this scan"
        server.ask(header)
        assert server.trouble(header) == "the disk is full"


def test_what_is_no_address_is_said() -> None:
    with SafeFrames("nowhere") as server, pytest.raises(ServerGoneError, match="'nowhere' is not a control address"):
        server.rejected()
