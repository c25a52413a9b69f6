"""Time without frames: ordinary for a slow scan, a reason for a warning in a fast one."""

import pytest

from ptylive.streamer.frame_pauses import FIRST_S, LEAST_S, PAUSES, PERIOD_S, PERIODS, FramePauses


def arriving(times: list[float], frames: int = 1, dwell_time_us: float | None = None) -> FramePauses:
    pauses = FramePauses(times[0], dwell_time_us)
    for now in times:
        pauses.arrived(frames, now)
    return pauses


def at_rate(rate_hz: float, seconds: float, since: float = 0.0) -> list[float]:
    """Times of messages that arrive steadily."""
    return [since + number / rate_hz for number in range(int(rate_hz * seconds))]


def test_a_fast_scan_is_silent_after_some_seconds() -> None:
    pauses = arriving(at_rate(10, 2.0))
    assert pauses.silent_s(1.8 + LEAST_S) is None
    assert pauses.silent_s(13.9) == pytest.approx(12.0)


def test_rows_that_come_together_do_not_make_a_slow_scan_fast() -> None:
    """A sender that begins with what it has kept: a row of 5 s follows."""
    pauses = arriving([0.0, 0.001])
    assert pauses.silent_s(5.0) is None
    assert pauses.silent_s(FIRST_S + 1) is not None
    for row in range(1, 200):
        pauses.arrived(1, 5.0 * row)
        pauses.arrived(1, 5.0 * row + 0.001)
        assert pauses.usual_s == pytest.approx(PAUSES * 5.0, rel=1e-3)


def test_one_long_pause_is_an_exception() -> None:
    long_s = 2 * PERIOD_S * PERIODS
    pauses = arriving(at_rate(10, long_s))
    pauses.arrived(1, long_s + 600.0)
    assert pauses.usual_s == LEAST_S
    pauses.arrived(1, long_s + 1200.0)
    assert pauses.usual_s == PAUSES * 600.0, "what happens again is usual"
    for now in at_rate(10, long_s, since=long_s + 1200.1):
        pauses.arrived(1, now)
    assert pauses.usual_s == LEAST_S, "but not for ever"


def test_a_pause_counts_until_enough_are_known() -> None:
    pauses = arriving([0.0, 600.0])
    assert pauses.usual_s == PAUSES * 600.0
    for now in at_rate(10, 2 * PERIOD_S * PERIODS, since=600.1):
        pauses.arrived(1, now)
    assert pauses.usual_s == LEAST_S


def test_pauses_between_bursts_are_usual() -> None:
    pauses = FramePauses(0.0, None)
    for burst in range(20):
        for now in at_rate(100, 10.0, since=burst * 15.0):
            pauses.arrived(1, now)
    assert pauses.usual_s == pytest.approx(PAUSES * 5.0, rel=0.01)


def test_frames_that_come_again_end_it() -> None:
    pauses = arriving([0.0, 1.0])
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
