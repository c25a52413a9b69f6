"""Raw packets become scans according to the configuration."""

import numpy as np
import pytest
from dectris_tools import inlet
from quick_first import quick_first

from ptylive.schema import WireError
from ptylive.simulators.timepix3_packets import LineTiming, chunk, edge_word, line_packets
from ptylive.streamer.protocols.tpx3_raw.splitter import SILENCE
from ptylive.streamer.timepix3.sensor import Sensor
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage
from ptylive.streamer.wire.events import event_frames

SCAN = {"scan.shape": [3, 4], "scan.step_A": 0.4, "optics.energy_eV": 200e3}
TIMING = LineTiming.of(10, 50)
LATER = chunk(0, np.array([edge_word("2 fall", 10**9, 0)], dtype="<u8"))


def patterns_of(seed, sensor):
    rng = np.random.default_rng(seed)
    found = np.zeros((12, sensor.shape[0] * sensor.shape[1]), dtype="<u2")
    for pattern in found:
        np.add.at(pattern, rng.integers(0, pattern.size, 40), 1)
    found = found.reshape(3, 4, *sensor.shape)
    found[..., sensor.gap] = 0
    return found


def stream(patterns, sensor):
    rng = np.random.default_rng(0)
    return b"".join(line_packets(line, number, TIMING, sensor, rng) for number, line in enumerate(patterns))


def frames_of(messages, shape):
    found = np.zeros((12, *shape), dtype="<u2")
    for message in messages:
        events, good, problems = event_frames(message.parts, shape, np.dtype("<u2"))
        assert good.all() and not problems
        found[message.first : message.first + message.count] = events.dense()
    return found


@pytest.mark.parametrize("four", [False, True])
def test_a_scan_of_raw_packets_arrives_whole(four):
    sensor, notes = Sensor(four), []
    patterns = patterns_of(1, sensor)
    arm, *frames, end = inlet("tpx3-raw", notes, SCAN).take([stream(patterns, sensor), LATER])
    assert isinstance(arm, ArmMessage) and isinstance(end, EndMessage)
    header = arm.header
    assert (header.scan.shape, header.scan.step_A, header.detector_shape) == ((3, 4), (0.4, 0.4), sensor.shape)
    assert header.scan.dwell_time_us == pytest.approx(10)
    assert (header.frames, end.frames, end.reason) == (12, 12, "complete")
    assert ("bad_pixel_mask" in header.arrays) == four
    assert all(isinstance(one, FramesMessage) and one.uid == header.uid for one in frames)
    np.testing.assert_array_equal(frames_of(frames, sensor.shape), patterns.reshape(12, *sensor.shape))
    assert notes == []


def test_without_a_shape_it_is_said_once():
    sensor, notes = Sensor(four=False), []
    raw = inlet("tpx3-raw", notes, {})
    data = stream(patterns_of(2, sensor), sensor)
    assert list(raw.take([data])) == list(raw.take([LATER])) == []
    assert len(notes) == 1
    assert "scan.shape" in notes[0]


def test_a_dwell_time_that_does_not_fit_is_told():
    sensor, notes = Sensor(four=False), []
    raw = inlet("tpx3-raw", notes, SCAN | {"scan.dwell_time_us": 40.0})
    list(raw.take([stream(patterns_of(2, sensor), sensor), LATER]))
    assert notes == [
        "scan 1: a line of 4 points lasts 160 µs, but the next one begins after 90 µs: correct scan_shape or "
        "dwell_time_us"
    ]


def test_silence_completes_what_has_come():
    sensor = Sensor(four=False)
    raw = inlet("tpx3-raw", [], SCAN)
    said = [*raw.take([stream(patterns_of(3, sensor), sensor)])]
    for _ in range(3):
        said += raw.take([SILENCE])
    assert isinstance(said[-1], EndMessage)
    assert sum(one.count for one in said if isinstance(one, FramesMessage)) == 12


def test_a_connection_that_ends_ends_the_scan():
    sensor, notes = Sensor(four=False), []
    raw = inlet("tpx3-raw", notes, SCAN)
    data = stream(patterns_of(4, sensor)[:2], sensor)
    said = [*raw.take([data]), *raw.take([b"", b"note", b"it is there", b""])]
    assert not any(isinstance(one, EndMessage) for one in said)
    said += raw.take([b"", b"gone", b"it went", b""])
    assert isinstance(said[-1], EndMessage) and said[-1].reason == "aborted"
    assert sum(one.count for one in said if isinstance(one, FramesMessage)) == 8
    assert notes == ["it is there", "it went"]
    again = [*raw.take([stream(patterns_of(5, sensor), sensor), LATER])]
    assert isinstance(again[0], ArmMessage) and again[-1].reason == "complete"


def test_what_the_connection_refused_is_raised():
    with pytest.raises(WireError, match="odd bytes") as caught:
        list(inlet("tpx3-raw", [], SCAN).take([b"", b"refused", b"odd bytes", b"not_tpx3"]))
    assert caught.value.reason == "not_tpx3"


def test_a_scan_with_repeats_is_refused_in_words():
    notes = []
    raw = inlet("tpx3-raw", notes, {**SCAN, "scan.repeats": 2})
    assert list(raw.take([LATER])) == []
    assert "repeats" in notes[0]


def test_a_chip_too_many_is_told_of_and_left_out():
    sensor, notes = Sensor(four=False), []
    patterns, word = patterns_of(6, sensor), np.array([0xB << 60 | 5 << 44], dtype="<u8")
    said = [*inlet("tpx3-raw", notes, SCAN).take([chunk(6, word), stream(patterns, sensor), LATER])]
    assert said[-1].reason == "complete"
    assert frames_of([one for one in said if isinstance(one, FramesMessage)], sensor.shape).sum() == patterns.sum()
    assert "chip 6" in notes[0]


def test_a_detector_that_only_counts_is_told_of():
    notes = []
    list(inlet("tpx3-raw", notes, SCAN).take([chunk(0, np.array([0xA << 60] * 3, dtype="<u8"))]))
    assert "time of arrival" in notes[0]


def test_a_dwell_time_that_is_not_that_of_the_signal_is_told():
    """Half of the hits then belong to no point."""
    sensor, notes = Sensor(four=False), []
    raw = inlet("tpx3-raw", notes, SCAN | {"scan.dwell_time_us": 5.0})
    list(raw.take([stream(patterns_of(7, sensor), sensor), LATER]))
    assert notes == [
        "scan 1: a line of 4 points lasts 20 µs, but its signal 40 µs: correct scan_shape or dwell_time_us"
    ]


def test_pulses_without_a_dwell_time_are_told():
    """Hits of the flyback then count for the last points of each line."""
    sensor, notes = Sensor(four=False), []
    words = np.frombuffer(stream(patterns_of(6, sensor), sensor), "<u8").copy()
    words[words >> np.uint64(56) == 0x6A] = 0  # where lines end
    list(inlet("tpx3-raw", notes, SCAN).take([words.tobytes(), LATER]))
    assert notes == [
        "scan 1: dwell_time_us is not given; each line is assumed to last until the next one begins: correct "
        "scan_shape or dwell_time_us"
    ]


ROWS, PERIOD_US = 8, 90.0


def paused(pauses_us, *, values=None):
    """Messages, notes and patterns of a scan of 8 x 4 points, with pauses (µs) before some of its lines."""
    sensor, rng, notes = Sensor(four=False), np.random.default_rng(5), []
    print("seed 5")
    patterns = np.zeros((ROWS, 4, 256 * 256), "<u2")
    for pattern in patterns.reshape(-1, 256 * 256):
        np.add.at(pattern, rng.integers(0, pattern.size, 40), 1)
    raw, now_us, said = inlet("tpx3-raw", notes, {"scan.shape": [ROWS, 4], **(values or {})}), 0.0, []
    for number, line in enumerate(patterns.reshape(ROWS, 4, 256, 256)):
        now_us += pauses_us.get(number, 0.0)
        said += raw.take([line_packets(line, 0, LineTiming.of(10, 50, now_us), sensor, rng)])
        now_us += PERIOD_US
    for _ in range(20):
        said += raw.take([SILENCE])
    return said, notes, patterns.reshape(-1, 256, 256)


@pytest.mark.parametrize("periods", quick_first([3, 1, 8]))
@pytest.mark.parametrize("values", [{}, {"scan.dwell_time_us": 10.0}])
def test_lines_after_a_pause_of_whole_periods_stay_in_their_places(periods, values):
    """A missing edge has hits after it; in a pause there are none."""
    said, notes, patterns = paused({4: periods * PERIOD_US}, values=values)
    found = np.zeros((ROWS * 4, 256, 256), "<u2")
    for message in said:
        if isinstance(message, FramesMessage):
            events, _, _ = event_frames(message.parts, (256, 256), np.dtype("<u2"))
            found[message.first : message.first + message.count] += events.dense()
    np.testing.assert_array_equal(found, patterns)
    assert [message.reason for message in said if isinstance(message, EndMessage)] == ["complete"]
    assert notes == []


def test_a_long_pause_is_told_with_what_is_not_known_after_it():
    said, notes, _ = paused({3: 40 * PERIOD_US})
    assert [message.reason for message in said if isinstance(message, EndMessage)] == ["aborted", "aborted"]
    assert "scan 1: no line follows line 3 of 8 in time" in notes[0]
    assert "the scan before lacks 5: probably both are one scan that was paused" in notes[1]


@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (1, 1)])
def test_scans_of_one_line_or_one_column_each_begin_with_their_edges(shape):
    """A scan of one line has one edge: its dwell time says that no edges of points are to come."""
    sensor, rng, notes = Sensor(four=False), np.random.default_rng(6), []
    print("seed 6")
    raw = inlet("tpx3-raw", notes, {"scan.shape": list(shape), "scan.dwell_time_us": 10.0})
    for number in range(2):
        patterns = np.zeros((*shape, 256, 256), "<u2")
        patterns.reshape(-1, 256 * 256)[:, rng.integers(0, 256 * 256, 40)] += 1
        timing = LineTiming.of(10, 50, 1e6 * number)
        said = [*raw.take([b"".join(line_packets(line, k, timing, sensor, rng) for k, line in enumerate(patterns))])]
        for _ in range(20):
            said += raw.take([SILENCE])
        arm, *frames, end = said
        assert (arm.header.scan.shape, end.reason, notes) == (shape, "complete", [])
        found = np.zeros((shape[0] * shape[1], 256, 256), "<u2")
        for message in frames:
            events, _, _ = event_frames(message.parts, (256, 256), np.dtype("<u2"))
            found[message.first : message.first + message.count] += events.dense()
        np.testing.assert_array_equal(found.reshape(patterns.shape), patterns)
