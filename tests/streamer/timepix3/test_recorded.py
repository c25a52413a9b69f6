"""Frames of a file of raw packets, wherever its blocks end."""

import io
from pathlib import Path

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.schema import InputFileError, Scan
from ptylive.simulators.timepix3_packets import LineTiming, chunk, hit_words, line_packets
from ptylive.streamer.timepix3 import recorded
from ptylive.streamer.timepix3.packets import TICK_NS
from ptylive.streamer.timepix3.recorded import read_scan
from ptylive.streamer.timepix3.sensor import Sensor

PATH = Path("scan.tpx3")


def scan_of(seed, four=False, begins_us=0.0):
    """Patterns (rows, columns, Qy, Qx) of a few counts, and their file."""
    rng = np.random.default_rng(seed)
    sensor = Sensor(four)
    rows, columns = rng.integers(3, 9, 2).tolist()
    patterns = rng.poisson(0.004, (rows, columns, *sensor.shape)).astype("<u2")
    patterns[..., sensor.gap] = 0
    dwell, flyback = 2 * int(rng.integers(200, 2000)), 2 * int(rng.integers(0, 4000))
    timing = LineTiming(dwell, flyback, LineTiming.of(1, 0, begins_us).begins // 2 * 2)
    data = b"".join(line_packets(line, number, timing, sensor, rng) for number, line in enumerate(patterns))
    return patterns, data


def read(data, shape, cluster_ns=0.0):
    return read_scan(PATH, io.BytesIO(data), Scan(shape=shape), cluster_ns)


@pytest.mark.parametrize(("seed", "four", "begins_us"), [(1, False, 0), (2, True, 0), (3, False, 26.842e6)])
def test_patterns_are_those_that_were_sent(monkeypatch, seed, four, begins_us):
    monkeypatch.setattr(recorded, "BLOCK_WORDS", 700)
    patterns, data = scan_of(seed, four, begins_us)
    frames, _ = read(data, patterns.shape[:2])
    assert frames.shape == patterns.shape
    assert len(frames.contents.blocks) > 5
    np.testing.assert_array_equal(frames[:], patterns)
    rng = np.random.default_rng(seed)
    for _ in range(5):
        row, first, last = int(rng.integers(len(patterns))), *np.sort(rng.integers(0, patterns.shape[1] + 1, 2))
        np.testing.assert_array_equal(frames[row, first:last], patterns[row, first:last])


def test_events_list_each_pixel_once_in_order():
    patterns, data = scan_of(4)
    events = read(data, patterns.shape[:2])[0].select((slice(None),))
    begins = np.concatenate([[0], events.ends[:-1]])
    for begin, end in zip(begins.tolist(), events.ends.tolist(), strict=True):
        assert (np.diff(events.pixels[begin:end].astype(int)) > 0).all()
    assert events.counts.sum() == patterns.sum()


def test_of_a_scan_that_was_ended_the_rest_did_not_come():
    patterns, data = scan_of(5)
    rows, columns = patterns.shape[:2]
    frames, notes = read(data, (rows + 2, columns))
    assert frames.received.sum() == rows * columns
    assert any("ended after" in note for note in notes)
    np.testing.assert_array_equal(frames[:rows], patterns)
    assert not frames[rows:].any()


@pytest.mark.parametrize("pause_s", quick_first([90, 15, 30, 5, 20, 60], 2))  # many wraps, none
@pytest.mark.parametrize("beats", [True, False])
@pytest.mark.parametrize("block", quick_first([300, 2**20]))
def test_a_pause_without_a_packet_leaves_the_lines_in_order(monkeypatch, pause_s, beats, block):
    """The pixels' times wrap after 26.8 s; those of edges and heartbeats after 107 s."""
    monkeypatch.setattr(recorded, "BLOCK_WORDS", block)
    rng = np.random.default_rng(12)
    patterns = rng.poisson(0.002, (8, 5, 256, 256)).astype("<u2")
    parts = []
    for number, line in enumerate(patterns):
        timing = LineTiming(2000, 400, round(pause_s * 1e9 / TICK_NS) if number > 4 else 0)
        parts.append(line_packets(line, number, timing, Sensor(four=False), rng))
    words = np.frombuffer(b"".join(parts), "<u8").copy()
    if not beats:
        words[words >> 56 == 0x44] = 0x77 << 56
    frames, _ = read(words.tobytes(), (8, 5))
    np.testing.assert_array_equal(frames[:], patterns)
    steps = np.diff(frames.clock.starts) * TICK_NS / 1e9
    assert steps[4] == pytest.approx(pause_s, abs=0.01)


@pytest.mark.parametrize(("pause_s", "told"), [(5, False), (15, True)])
def test_a_pause_that_nothing_tells_is_said(pause_s, told):
    rng = np.random.default_rng(13)
    times = np.sort(rng.integers(0, 12 * 64_000, 400)) + np.where(np.arange(400) > 200, round(pause_s * 6.4e8), 0)
    words = hit_words(rng.integers(0, 256, 400), rng.integers(0, 256, 400), times, np.full(400, 9))
    _, notes = read_scan(PATH, io.BytesIO(chunk(0, words)), Scan(shape=(3, 4), dwell_time_us=100.0), 0.0)
    assert any("the times of hits go back" in note for note in notes) == told


def with_chip(data, number):
    """The file with another chip in one of its headers."""
    words = np.frombuffer(data, "<u8").copy()
    headers = np.flatnonzero(words.view("<u4")[::2] == 0x33585054)
    of_hits = [at for at in headers.tolist() if int(words[at + 1]) >> 60 == 0xB]
    words[of_hits[len(of_hits) // 2]] |= number << 32
    return words.tobytes(), int(words[of_hits[len(of_hits) // 2]]) >> 51


def test_a_damaged_number_of_a_chip_costs_its_chunk_and_not_the_file(monkeypatch):
    monkeypatch.setattr(recorded, "_DAMAGED", 0.5)
    patterns, data = scan_of(6)
    damaged, lost = with_chip(data, 5)
    frames, notes = read(damaged, patterns.shape[:2])
    assert frames.sensor == Sensor(four=False)
    assert frames[:].sum() == patterns.sum() - lost
    assert f"{lost} words belong to chips that do not exist: they are damaged and were left out" in notes


def test_a_detector_of_eight_chips_is_refused():
    _, data = scan_of(6)
    with pytest.raises(InputFileError, match="chip 5: at most four are supported"):
        read(with_chip(data, 5)[0], (3, 3))


@pytest.mark.parametrize("opened", [False, True])
def test_without_triggers_the_first_point_begins_with_the_shutter_or_the_first_hit(opened):
    """Exact to a tick: points here are shorter than the 0.4 ms to which a survey determines the times of hits."""
    rng = np.random.default_rng(9)
    dwell, begins = 64_000, 999_840  # 0.1 ms; neither a multiple of 0.4 ms
    hits = 5 * rng.permutation(256)[:200]
    point = np.sort(rng.integers(0, 12, 200))
    times = begins + point * dwell + np.where(np.arange(200) > 0, rng.integers(0, dwell, 200), 0)
    parts = [hit_words(hits // 256, hits % 256, times, np.full(200, 9))]
    shift = 0
    if opened:  # half a point before the first hit
        shift = dwell // 2
        parts.insert(0, np.array([0x5F << 56 | (begins - shift) // 16 << 12], dtype="<u8"))
    scan = Scan(shape=(3, 4), dwell_time_us=dwell * TICK_NS / 1e3)
    frames, _ = read_scan(PATH, io.BytesIO(chunk(0, np.concatenate(parts))), scan, 0.0)
    expected = np.zeros((12, 256, 256), dtype="<u2")
    late = (times - begins + shift) // dwell
    there = late < 12
    np.add.at(expected, (late[there], hits[there] // 256, hits[there] % 256), 1)
    np.testing.assert_array_equal(frames[:].reshape(12, 256, 256), expected)


def test_damage_costs_what_is_damaged():
    patterns, data = scan_of(6)
    at = 8 * (len(data) // 16)
    frames, notes = read(data[:at] + b"\xff" * 80 + data[at:], patterns.shape[:2])
    assert any("damaged" in note for note in notes)
    # a chunk of up to a thousand hits may be lost with its header
    assert patterns.sum() - 1010 <= frames[:].sum() <= patterns.sum()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no Timepix3 packets"),
        (b"hello, world" * 9, "no Timepix3 packets"),
        (b"TPX3\x00\x00\x08\x00" + bytes(7) + b"\xa0", "without times"),
    ],
)
def test_what_is_no_scan_is_one_line(data, said):
    with pytest.raises(InputFileError, match=said):
        read(data, (2, 2))


def test_a_chip_too_many():
    hit = (0xB << 60 | 5 << 44).to_bytes(8, "little")
    with pytest.raises(InputFileError, match="chip 5"):
        read(b"TPX3\x05\x00\x08\x00" + hit, (2, 2))


def test_a_file_that_became_shorter():
    patterns, data = scan_of(7)
    frames, _ = read(data, patterns.shape[:2])
    frames.file.truncate(100)
    with pytest.raises(OSError, match="shortened"):
        frames[0]


def test_electrons_instead_of_hits():
    patterns, data = scan_of(8)
    hits, electrons = (read(data, patterns.shape[:2], ns)[0][:].sum() for ns in (0.0, 1e9))
    assert 0 < electrons < hits == patterns.sum()
