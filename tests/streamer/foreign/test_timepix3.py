"""Raw files of Timepix3 detectors, opened like any scan."""

import numpy as np
import pytest

from ptylive.schema import MetadataError, PtyliveError
from ptylive.simulators.timepix3_packets import LineTiming, line_packets
from ptylive.streamer.source import open_source
from ptylive.streamer.timepix3.sensor import Sensor


@pytest.fixture
def scan(tmp_path):
    """Patterns (4, 5, 256, 256), and their file: 10 µs a point, 20 µs of flyback."""
    rng = np.random.default_rng(20261123)
    patterns = rng.poisson(0.004, (4, 5, 256, 256)).astype("<u2")
    lines = [line_packets(line, n, LineTiming.of(10, 20), Sensor(four=False), rng) for n, line in enumerate(patterns)]
    path = tmp_path / "scan.tpx3"
    path.write_bytes(b"".join(lines))
    return patterns, path


def test_frames_by_the_shape_of_the_scan(scan):
    patterns, path = scan
    with open_source(path, {"scan_shape": (4, 5), "energy_eV": 200e3}) as source:
        np.testing.assert_array_equal(source.frames(np.arange(20)), patterns.reshape(20, 256, 256))
        assert source.header.scan.shape == (4, 5)
        assert source.header.scan.dwell_time_us == pytest.approx(10)
        assert source.header.optics.energy_eV == 200e3
        (batch,) = source.batches(50)
        np.testing.assert_array_equal(batch.events.dense(), patterns.reshape(20, 256, 256))


def test_frames_by_the_time_at_a_point(scan):
    patterns, path = scan
    with open_source(path, {"scan.dwell_time_us": 10.0}) as source:
        assert source.header.scan.shape == (4, 5)
        np.testing.assert_array_equal(source.frames(np.arange(20)), patterns.reshape(20, 256, 256))


def test_clustered_hits_count_fewer_electrons(scan):
    patterns, path = scan
    with open_source(path, {"scan_shape": (4, 5), "cluster_time_us": 1e3}) as source:
        assert 0 < source.frames(np.arange(20)).sum() < patterns.sum()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"scan_shape": (4, 5), "dwell_time_us": 30}, "the next one begins after 70 µs"),
        ({"scan_shape": (4, 5), "flyback_frames": 2}, "flyback_frames 2"),
        ({"scan_shape": "many"}, "two whole numbers"),
        ({"cluster_time_us": -1}, "cluster_time_us"),
    ],
)
def test_what_cannot_be_is_one_line(scan, values, said):
    with pytest.raises(PtyliveError, match=said) as caught, open_source(scan[1], values):
        pass
    assert "\n" not in caught.value.line()


def test_unknown_values_are_refused(scan):
    with pytest.raises(MetadataError, match="dwell_tim"), open_source(scan[1], {"scan_shape": (4, 5), "dwell_tim": 3}):
        pass
