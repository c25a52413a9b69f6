"""When a running scan is calibrated: at fixed shares of the scan, with pauses, and not shortly before its end."""

from ptylive.engine.live.fit_times import FIT_AT, REST, SOON_S, FitTimes


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self):
        return self.now


def begun():
    clock = Clock()
    times = FitTimes(clock=clock)
    times.begin()
    return clock, times


def test_at_every_share_once():
    clock, times = begun()
    asked = []
    for k in range(1, 101):
        clock.now += SOON_S
        if times.due(k / 100):
            asked.append(k / 100)
    assert asked == [0.01, *FIT_AT[1:]]


def test_not_when_the_scan_ends_before_anybody_could_see_it():
    clock, times = begun()
    clock.now += 0.5 * SOON_S
    assert not times.due(0.5), "as much again will be all"
    clock.now += 0.6 * SOON_S
    assert times.due(0.5), "it has slowed down"


def test_a_scan_that_is_whole_is_fitted_when_nobody_says_that_it_has_ended():
    clock, times = begun()
    clock.now += 0.5 * SOON_S
    assert not times.due(1.0)
    clock.now += 0.6 * SOON_S
    assert times.due(1.0)


def test_after_a_fit_the_next_one_waits():
    clock, times = begun()
    clock.now += SOON_S
    assert times.due(0.01)
    times.started()
    clock.now += 2.0
    times.ended()
    clock.now += 2.0 * REST - 0.1
    assert not times.due(0.2)
    clock.now += 0.2
    assert times.due(0.2)
    assert not times.due(0.21)


def test_nothing_is_due_once_the_scan_is_over():
    times = FitTimes(clock=None)
    times.end()
    assert not times.due(1.0)


def test_on_the_spot_no_clock_decides():
    times = FitTimes(clock=None)
    times.begin()
    assert [share for share in (0.0, 0.1, 0.2, 0.7) if times.due(share)] == [0.0, 0.2, 0.7]
