"""Scans that arrive packet by packet."""

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.schema import Scan
from ptylive.simulators.timepix3_packets import LineTiming, beat_words, chunk, edge_word, hit_words, line_packets
from ptylive.streamer.timepix3.live import LATE, PAUSE, LineFrames, LivePackets, ScanBegan, ScanEnded
from ptylive.streamer.timepix3.packets import TICK_NS, Place, decode
from ptylive.streamer.timepix3.sensor import Sensor

MS = round(1e6 / TICK_NS)
ONE = Sensor(four=False)


def patterns_of(rng, rows, columns, sensor=ONE):
    """A few dozen counts in each."""
    found = np.zeros((rows * columns, sensor.shape[0] * sensor.shape[1]), dtype="<u2")
    for pattern in found:
        np.add.at(pattern, rng.integers(0, pattern.size, 60), 1)
    found = found.reshape(rows, columns, *sensor.shape)
    found[..., sensor.gap] = 0
    return found


def lines_of(patterns, timing, rng, sensor=ONE):
    return b"".join(line_packets(line, number, timing, sensor, rng) for number, line in enumerate(patterns))


def beat(ticks):
    """A packet that only shows that time passes: a hit in the corner."""
    one = np.array([0])
    return chunk(0, hit_words(one, one, np.array([ticks]), one + 1))


class Feed:
    """Output of live packets for a stream that comes in blocks."""

    def __init__(self, live):
        self.live, self.place, self.said = live, Place(), []

    def __call__(self, data, cuts=()):
        for part in np.split(np.frombuffer(data, "<u8"), cuts):
            packets, self.place = decode(part, self.place)
            self.said += self.live.take(packets)
        return self

    def scans(self, rows, columns):
        """Patterns of each scan (rows, columns, Qy, Qx), with how often each frame came, and how it ended."""
        found = []
        for one in self.said:
            if isinstance(one, ScanBegan):
                shape = one.sensor.shape
                found.append([np.zeros((rows * columns, *shape), "<u2"), np.zeros(rows * columns, int), None])
            elif isinstance(one, LineFrames):
                count = len(one.frames.ends)
                found[-1][0][one.first : one.first + count] += one.frames.dense()
                found[-1][1][one.first : one.first + count] += 1
            else:
                found[-1][2] = one
        return found


def notes_of_whole(feed, sent):
    """Patterns of scans that arrived as they were sent, with each frame once."""
    scans = feed.scans(*sent[0].shape[:2])
    assert len(scans) == len(sent)
    for (found, often, ended), wanted in zip(scans, sent, strict=True):
        assert ended.whole
        assert (often == 1).all()
        np.testing.assert_array_equal(found, wanted.reshape(found.shape))
    return [ended.notes for *_, ended in scans]


def slow_lines(chips, each, begins=0):
    """Lines of eight points of 1 ms with ``each`` hits on the chip of each line, one after the other."""
    rng, timing = np.random.default_rng(len(chips)), LineTiming(MS, 0, begins)
    for line, chip in enumerate(chips):
        first = timing.line(line, 8)
        times = first + np.sort(rng.integers(0, 8 * MS, each))
        row, column = rng.integers(0, 256, (2, each))
        yield chunk(0, np.array([edge_word("1 rise", first, 0)], dtype="<u8"))
        yield chunk(chip, hit_words(row, column, times, row * 0 + 9))


def test_a_chip_that_is_first_hit_in_the_middle_of_a_scan_is_of_the_next_one():
    feed = Feed(LivePackets(Scan(shape=(60, 8), dwell_time_us=1e3)))
    for part in slow_lines([0] * 40 + [2] * 80, 6):
        feed(part)
    (first, times, ended), (second, *_) = feed(beat(960 * MS + 2 * LATE)).scans(60, 8)
    assert first.shape[1:] == ONE.shape
    assert (first.sum(), first[320:].sum(), ended.elsewhere) == (240, 0, 120)
    assert (times == 1).all()
    assert second.shape[1:] == Sensor(four=True).shape
    assert second.sum() == 360


def test_where_few_pixels_are_hit_the_chips_are_waited_for():
    feed = Feed(LivePackets(Scan(shape=(60, 8), dwell_time_us=1e3)))
    for part in slow_lines([0] * 30 + [2] * 30, 1):
        feed(part)
    ((patterns, _, ended),) = feed(beat(480 * MS + 20 * LATE)).scans(60, 8)
    assert patterns.shape[1:] == Sensor(four=True).shape
    assert (patterns.sum(), ended.elsewhere) == (60, 0)


@pytest.mark.parametrize("seed", quick_first(range(1, 5), 2))
def test_scans_one_after_the_other(seed):
    rng = np.random.default_rng(seed)
    print("seed", seed)
    sensor = Sensor(four=bool(seed % 2 == 0))
    rows, columns = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    dwell, flyback = 2 * int(rng.integers(0.2 * MS, 4 * MS)), 2 * int(rng.integers(0, 2 * MS))
    begins, sent, data = int(rng.integers(0, 2**34)) // 16 * 16, [], b""
    for _ in range(3):
        sent.append(patterns_of(rng, rows, columns, sensor))
        timing = LineTiming(dwell, flyback, begins)
        data += lines_of(sent[-1], timing, rng, sensor)
        begins += rows * (columns * dwell + flyback) + int(rng.integers(0, 3)) * 2 * MS
    known = {} if seed % 3 else {"dwell_time_us": dwell * TICK_NS / 1e3}
    feed = Feed(LivePackets(Scan(shape=(rows, columns), **known)))
    feed(data, np.sort(rng.choice(len(data) // 8, 40)))(beat(begins + 2 * LATE))
    scans = feed.scans(rows, columns)
    assert len(scans) == 3
    for (found, often, ended), wanted in zip(scans, sent, strict=True):
        assert (often == 1).all()
        assert ended == ScanEnded(whole=True, late=0, dropped=0)
        np.testing.assert_array_equal(found, wanted.reshape(found.shape))


def without(data, line, timing, columns):
    """The stream without the edges of a line."""
    begins = timing.line(line, columns)
    words = np.frombuffer(data, "<u8")
    gone = [edge_word("1 rise", begins, 0), edge_word("1 fall", begins + columns * timing.dwell, 0)]
    empty = np.uint64(0x5A << 56)  # a closing shutter has no effect here
    assert np.isin(words, np.array(gone, "<u8")).sum() == 2
    filler = empty | np.uint64((begins // 16 & 0x3FFFFFFF) << 12)
    return np.where(np.isin(words, np.array(gone, "<u8")), filler, words).astype("<u8").tobytes()


@pytest.mark.parametrize("lines_apart", quick_first([2, 0, 30]))
def test_a_lost_edge_moves_no_line_and_no_scan(lines_apart):
    rng = np.random.default_rng(3)
    timing, sent, data = LineTiming(MS, MS), [], b""
    for scan in range(2):
        sent.append(patterns_of(rng, 12, 4))
        timing = LineTiming(MS, MS, (12 + lines_apart) * scan * 5 * MS)
        lines = lines_of(sent[-1], timing, rng)
        data += without(lines, 7, timing, 4) if not scan else lines
    feed = Feed(LivePackets(Scan(shape=(12, 4), dwell_time_us=1e3)))
    feed(data, range(50, len(data) // 8, 50))(beat((26 + lines_apart) * 5 * MS + 2 * LATE))
    assert notes_of_whole(feed, sent)[0] == ("lines inserted where an edge is missing: 1: check it",)


@pytest.mark.parametrize("apart", quick_first([0, 3.4, 0.4, 3], 2))
def test_where_the_last_edge_is_lost_the_next_scans_keep_their_lines(apart):
    """The next scans may begin after a whole number of lines, or not. ``apart``: periods between the scans."""
    rng = np.random.default_rng(5)
    sent, data = [], b""
    for scan in range(3):
        sent.append(patterns_of(rng, 12, 4))
        timing = LineTiming(MS, MS, round((12 + apart) * scan * 5 * MS) // 16 * 16)
        lines = lines_of(sent[-1], timing, rng)
        data += without(lines, 11, timing, 4) if not scan else lines
    feed = Feed(LivePackets(Scan(shape=(12, 4), dwell_time_us=1e3)))
    feed(data, np.arange(200, len(data) // 8, 200))(beat(3 * (12 + 4) * 5 * MS + 2 * LATE + 100 * MS))
    notes_of_whole(feed, sent)


@pytest.mark.parametrize("pause", quick_first([8.7, 1, 2.4, 5]))
@pytest.mark.parametrize("apart", quick_first([0.4, 30, 3], 2))
def test_a_pause_before_the_last_line_costs_no_line_and_no_scan(pause, apart):
    """``pause``, ``apart``: periods in addition to the usual ones, before the last line and between scans."""
    rng, sent, data, begins = np.random.default_rng(6), [], b"", 0
    for _ in range(3):
        sent.append(patterns_of(rng, 12, 4))
        data += lines_of(sent[-1][:11], LineTiming(MS, MS, begins), rng)
        begins += round((11 + pause) * 5 * MS) // 16 * 16
        data += line_packets(sent[-1][11], 0, LineTiming(MS, MS, begins), ONE, rng)
        begins += round((1 + apart) * 5 * MS) // 16 * 16
    feed = Feed(LivePackets(Scan(shape=(12, 4), dwell_time_us=1e3)))
    feed(data, np.arange(200, len(data) // 8, 200))(beat(begins + 2 * LATE + 100 * MS))
    assert not any(notes_of_whole(feed, sent))


@pytest.mark.parametrize("line", [8, 11])
def test_an_edge_that_comes_twice_begins_no_line(line):
    rng = np.random.default_rng(4)
    timing, sent, data = LineTiming(100 * MS, 0), [], b""
    for scan in range(2):
        sent.append(patterns_of(rng, 12, 2))
        timing = LineTiming(100 * MS, 0, 12 * scan * 200 * MS)
        data += lines_of(sent[-1], timing, rng)
        if not scan:
            again = chunk(0, np.array([edge_word("1 rise", timing.line(line, 2) + 40, 0)], dtype="<u8"))
            whole = [line_packets(one, n, timing, ONE, np.random.default_rng(n)) for n, one in enumerate(sent[0])]
            data = b"".join([*whole[: line + 1], again, *whole[line + 1 :]])
    feed = Feed(LivePackets(Scan(shape=(12, 2), dwell_time_us=1e5)))
    feed(data, range(50, len(data) // 8, 50))(beat(26 * 200 * MS + 2 * LATE))
    notes_of_whole(feed, sent)


def test_a_line_is_handed_on_before_the_scan_is_over():
    rng = np.random.default_rng(7)
    patterns, timing = patterns_of(rng, 4, 3), LineTiming(100 * MS, 0)
    lines = [line_packets(line, number, timing, ONE, rng) for number, line in enumerate(patterns)]
    feed = Feed(LivePackets(Scan(shape=(4, 3))))
    feed(lines[0])(lines[1])(lines[2])
    ((found, often, ended),) = feed.scans(4, 3)
    assert often.tolist() == [1] * 6 + [0] * 6
    assert ended is None
    feed.said += feed.live.wait(0.05)
    assert feed.scans(4, 3)[0][1].sum() == 6
    feed.said += feed.live.wait(0.1)
    ((found, often, ended),) = feed.scans(4, 3)
    np.testing.assert_array_equal(found[:9], patterns[:3].reshape(9, 256, 256))


def test_a_scan_that_was_left_ends_when_another_begins():
    rng = np.random.default_rng(8)
    first, second = patterns_of(rng, 3, 3), patterns_of(rng, 5, 3)
    timing = LineTiming(2 * MS, MS)
    again = LineTiming(2 * MS, MS, 3000 * MS)
    feed = Feed(LivePackets(Scan(shape=(5, 3))))
    feed(lines_of(first, timing, rng))(lines_of(second, again, rng))(beat(5000 * MS))
    (one, two) = feed.scans(5, 3)
    assert (one[2].whole, one[2].late, "line 3 of 5" in one[2].notes[0]) == (False, 0, True)
    assert one[1].tolist() == [1] * 9 + [0] * 6
    assert two[2].whole
    np.testing.assert_array_equal(two[0], second.reshape(15, 256, 256))


def test_a_scan_that_was_left_ends_though_the_beam_stays_on():
    rng = np.random.default_rng(16)
    timing = LineTiming(2 * MS, MS)
    feed = Feed(LivePackets(Scan(shape=(5, 3))))
    feed(lines_of(patterns_of(rng, 3, 3), timing, rng))
    for n in range(100):
        feed(free_packets(patterns_of(rng, 1, 1), 10 * MS, (25 + 10 * n) * MS, rng))
    assert not feed.scans(5, 3)[0][2].whole
    assert feed.live.held < 20 * 80


def test_of_scans_that_come_at_once_one_was_left_in_its_first_line():
    rng = np.random.default_rng(18)
    first, second = patterns_of(rng, 1, 3), patterns_of(rng, 4, 3)
    data = lines_of(first, LineTiming(2 * MS, MS), rng) + lines_of(second, LineTiming(2 * MS, MS, 500 * MS), rng)
    feed = Feed(LivePackets(Scan(shape=(4, 3))))
    feed(data)(beat(5000 * MS))
    one, two = feed.scans(4, 3)
    assert (one[2].whole, two[2].whole) == (False, True)
    np.testing.assert_array_equal(one[0][:3], first.reshape(3, 256, 256))
    np.testing.assert_array_equal(two[0], second.reshape(12, 256, 256))


def test_each_frame_comes_once_where_lines_are_told_to_last_longer_than_they_do():
    rng = np.random.default_rng(19)
    patterns, timing = patterns_of(rng, 4, 3), LineTiming(200 * MS, 0)
    lines = [line_packets(line, number, timing, ONE, rng) for number, line in enumerate(patterns)]
    feed = Feed(LivePackets(Scan(shape=(4, 3), dwell_time_us=1.2 * 200e3)))
    for line in lines:
        feed(line)
    feed(beat(6000 * MS))
    assert "next one begins after 600000 µs" in feed.said[0].doubt
    ((found, often, ended),) = feed.scans(4, 3)
    assert (often == 1).all()
    assert (ended.whole, ended.late) == (True, 0)
    np.testing.assert_array_equal(found.reshape(patterns.shape).sum(axis=1)[:3], patterns.sum(axis=1)[:3])


def test_an_edge_that_nothing_follows_keeps_no_hits_for_ever():
    rng = np.random.default_rng(17)
    feed = Feed(LivePackets(Scan(shape=(5, 3))))
    feed(chunk(0, np.array([edge_word("1 rise", 16 * MS, 0)], dtype="<u8")))
    for n in range(1, 40):
        feed(free_packets(patterns_of(rng, 1, 1), 10 * MS, 2000 * n * MS, rng))
    assert feed.live.held < 5 * 80
    assert not feed.said


def point_packets(patterns, dwell, begins, flyback, rng):
    """Each point begins with a pulse at input 2."""
    parts, at, number = [], begins, 0
    for row in patterns:
        for pattern in row:
            y, x = np.nonzero(pattern)
            y, x = np.repeat(y, pattern[y, x]), np.repeat(x, pattern[y, x])
            times = at + np.sort(rng.integers(0, dwell, len(y)))
            words = hit_words(y, x, times, np.full(len(y), 9))
            pulse = np.array([edge_word("2 rise", at, number), edge_word("2 fall", at + 64, number)], dtype="<u8")
            parts += [chunk(0, pulse), chunk(0, words)]
            at, number = at + dwell, number + 1
        at += flyback
    return b"".join(parts), at


@pytest.mark.parametrize("given", quick_first([False, True]))
def test_points_with_a_long_flyback(given):
    rng = np.random.default_rng(9)
    patterns, dwell = patterns_of(rng, 4, 60), 32 * 64  # 3.2 µs; a line of that would have points of 53 ns
    data, at = point_packets(patterns, dwell, 16 * MS, 20 * dwell, rng)
    known = {"dwell_time_us": dwell * TICK_NS / 1e3} if given else {}
    feed = Feed(LivePackets(Scan(shape=(4, 60), **known)))
    feed(data, np.sort(rng.choice(len(data) // 8, 9)))(beat(at + 2 * LATE))
    ((found, often, ended),) = feed.scans(4, 60)
    assert ended.whole
    assert (often == 1).all()
    np.testing.assert_array_equal(found, patterns.reshape(found.shape))


def free_packets(patterns, dwell, begins, rng):
    """Neither edges nor pulses; the first hit comes with the first point."""
    parts = []
    for number, pattern in enumerate(patterns.reshape(-1, *patterns.shape[-2:])):
        y, x = np.nonzero(pattern)
        times = begins + number * dwell + np.sort(rng.integers(0, dwell, len(y)))
        times[:1] = begins + number * dwell
        parts.append(chunk(0, hit_words(y, x, times, np.full(len(y), 9))))
    return b"".join(parts)


def test_without_triggers_scans_begin_after_pauses():
    rng = np.random.default_rng(10)
    dwell = 20 * MS
    sent = [np.minimum(patterns_of(rng, 3, 4), 1) for _ in range(2)]
    feed = Feed(LivePackets(Scan(shape=(3, 4), dwell_time_us=dwell * TICK_NS / 1e3)))
    begins = 16 * MS
    for patterns in sent:
        feed(free_packets(patterns, dwell, begins, rng), [100, 200, 300])
        begins += 12 * dwell + 2 * PAUSE
    feed.said += feed.live.wait(5.0)
    scans = feed.scans(3, 4)
    assert [ended.whole for *_, ended in scans] == [True, True]
    for (found, often, _), wanted in zip(scans, sent, strict=True):
        assert (often == 1).all()
        np.testing.assert_array_equal(found, wanted.reshape(found.shape))


def test_a_clock_that_is_set_to_zero_begins_anew():
    rng = np.random.default_rng(11)
    first, second = patterns_of(rng, 2, 3), patterns_of(rng, 3, 3)
    feed = Feed(LivePackets(Scan(shape=(3, 3))))
    feed(lines_of(first, LineTiming(2 * MS, 0, 8000 * MS), rng))(lines_of(second, LineTiming(2 * MS, 0), rng))
    feed(beat(1000 * MS))
    one, two = feed.scans(3, 3)
    assert (one[2].whole, two[2].whole) == (False, True)
    np.testing.assert_array_equal(two[0], second.reshape(9, 256, 256))


def test_a_damaged_time_far_ahead_costs_one_hit():
    rng = np.random.default_rng(15)
    patterns = patterns_of(rng, 3, 4)
    timing = LineTiming(2 * MS, MS)
    data = np.frombuffer(lines_of(patterns, timing, rng), "<u8").copy()
    hits = np.flatnonzero(data >> np.uint64(60) == 0xB)
    data[hits[len(hits) // 2]] ^= np.uint64(1 << 14)  # 6.7 s
    feed = Feed(LivePackets(Scan(shape=(3, 4))))
    feed(data.tobytes(), [len(data) // 3, 2 * len(data) // 3])(beat(1000 * MS))
    ((found, _, ended),) = feed.scans(3, 4)
    assert ended.whole
    assert np.abs(found.astype(int) - patterns.reshape(found.shape)).sum() == 1


def test_hits_that_come_too_late_are_counted():
    rng = np.random.default_rng(12)
    patterns, timing = patterns_of(rng, 3, 3), LineTiming(200 * MS, 0)
    lines = [line_packets(line, number, timing, ONE, rng) for number, line in enumerate(patterns)]
    feed = Feed(LivePackets(Scan(shape=(3, 3))))
    feed(lines[0])(lines[1])(beat(100 * MS))(beat(150 * MS))(lines[2])(beat(2500 * MS))
    ended = feed.scans(3, 3)[0][2]
    assert (ended.whole, ended.late) == (True, 2)


def test_what_waits_is_bounded(monkeypatch):
    monkeypatch.setattr("ptylive.streamer.timepix3.live.MOST_HELD", 100)
    rng = np.random.default_rng(13)
    patterns, timing = patterns_of(rng, 2, 4), LineTiming(20 * MS, 0)
    feed = Feed(LivePackets(Scan(shape=(2, 4))))
    feed(lines_of(patterns, timing, rng), [150, 300])
    assert feed.live.held <= 100
    feed(beat(3000 * MS))
    assert feed.scans(2, 4)[0][2].dropped > 0


def test_hits_without_a_scan_are_not_kept():
    rng = np.random.default_rng(14)
    feed = Feed(LivePackets(Scan(shape=(2, 4))))
    for n in range(20):
        feed(free_packets(patterns_of(rng, 1, 1), 10 * MS, 60 * n * MS, rng))
        assert feed.live.held < 5 * 80
    assert not feed.said


def test_a_heartbeat_is_no_hit():
    feed = Feed(LivePackets(Scan(shape=(2, 4))))
    feed(chunk(0, np.array(beat_words(16 * MS), dtype="<u8")))
    feed.said += feed.live.end()
    assert not feed.said
