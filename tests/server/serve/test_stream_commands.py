"""`end_scan`, and what is said of a scan whose frames stop coming."""

import pytest

from ptylive.schema import CommandError
from ptylive.server.serve.stream_commands import StreamCommands, stream_warning

STATUS = {
    "state": "scanning",
    "why_closed": "",
    "silent_s": 12.3,
    "frames": 4012,
    "expected": 16384,
    "detector_missing": "",
}


def test_silence_is_told_with_what_arrived_and_what_to_do() -> None:
    assert stream_warning(STATUS).startswith(
        "no frames for 12 s (4\u2009012 of 16\u2009384 arrived): wait, or end the scan"
    )
    assert "ptylive call end_scan" in stream_warning(STATUS)


def test_nothing_is_told_while_frames_come_or_once_the_scan_has_ended() -> None:
    assert stream_warning({**STATUS, "silent_s": None}) == ""
    assert stream_warning({**STATUS, "state": "aborted"}) == ""


def test_a_scan_that_was_closed_says_why() -> None:
    closed = {**STATUS, "state": "aborted", "silent_s": None, "why_closed": "its sender sent nothing for 5 s"}
    told = "the scan was closed, because its sender sent nothing for 5 s: frames that still come continue it"
    assert stream_warning(closed) == told


def test_a_missing_detector_is_told_before_what_follows_from_it() -> None:
    missing = {**STATUS, "detector_missing": "no connection to the detector at tcp://eiger:9999: retrying"}
    assert stream_warning(missing).startswith("no connection to the detector at tcp://eiger:9999: retrying; no frames")
    assert stream_warning({**missing, "state": "waiting", "silent_s": None}) == missing["detector_missing"]


def test_the_scan_being_received_is_ended_unless_another_is_named() -> None:
    ended: list[str] = []
    commands = StreamCommands(lambda uid: ended.append(uid) or uid in ("a", "b"), lambda: "a")
    assert commands.command_end_scan() == {"uid": "a"}
    assert commands.command_end_scan("b") == {"uid": "b"}
    with pytest.raises(CommandError, match="scan c is not being received"):
        commands.command_end_scan("c")
    assert ended == ["a", "b", "c"]
    with pytest.raises(CommandError, match="no scan is being received"):
        StreamCommands(lambda _uid: False, lambda: "").command_end_scan()
