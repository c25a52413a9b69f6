"""Time without frames: ordinary for a slow scan, a reason for a warning in a fast one."""

import pytest

from ptylive.streamer.frame_pauses import FIRST_S, LEAST_S, PAUSES, FramePauses


def arriving(times: list[float], frames: int = 1, dwell_time_us: float | None = None) -> FramePauses:
    pauses = FramePauses(times[0], dwell_time_us)
    for now in times:
        pauses.arrived(frames, now)
    return pauses


def test_a_fast_scan_is_silent_after_some_seconds() -> None:
    pauses = arriving([0.0, 0.1, 0.2])
    assert pauses.silent_s(0.2 + LEAST_S) is None
    assert pauses.silent_s(12.2) == pytest.approx(12.0)


def test_frames_that_come_again_end_it() -> None:
    pauses = arriving([0.0, 0.1])
    assert pauses.silent_s(12.0) is not None
    pauses.arrived(1, 12.0)
    assert pauses.silent_s(12.5) is None


def test_a_scan_with_long_pauses_gets_more_time() -> None:
    pauses = arriving([0.0, 20.0])
    assert pauses.silent_s(20.0 + 20.0 * PAUSES) is None
    assert pauses.silent_s(21.0 + 20.0 * PAUSES) is not None


def test_before_the_second_message_the_speed_is_unknown_unless_the_dwell_time_is_given() -> None:
    assert arriving([0.0]).silent_s(FIRST_S) is None
    assert arriving([0.0]).silent_s(FIRST_S + 1) is not None
    assert arriving([0.0], dwell_time_us=100.0).silent_s(LEAST_S + 1) is not None


def test_rows_of_a_slow_scan_that_come_at_once_count_whole() -> None:
    pauses = arriving([0.0], frames=64, dwell_time_us=1e6)
    assert pauses.silent_s(64.0) is None
    assert pauses.silent_s(64.0 * PAUSES + 1) is not None


def test_time_in_which_this_program_took_no_frames_does_not_count() -> None:
    pauses = arriving([0.0, 0.1])
    pauses.not_counted(100.0)
    assert pauses.silent_s(101.0) is None
    pauses.arrived(1, 101.0)
    assert pauses.usual_s == PAUSES * 1.0
