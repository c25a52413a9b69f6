"""Data of stored scans that are sent between processes."""

import dataclasses

import h5py
import numpy as np
from stream_tools import make_frames, make_header, stored_recording

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, LiveMap
from ptylive.schema.maps import InformationLimit, RingQuality
from ptylive.server.session.stored_scans import (
    describe_scan,
    map_of,
    read_results,
    sampled_patterns,
    scan_header,
)
from ptylive.server.wire.messages import pack, unpack


def test_a_map_travels_with_its_limit_and_what_is_said_of_it(tmp_path):
    limit = InformationLimit(1.2, 0.1, finer=True)
    one = LiveMap("obf", np.zeros((4, 4), np.float32), "rad", (0.5, 0.5), 16, "OBF", limit=limit, modulation=0.7)
    write_maps(tmp_path / "r.h5", [one], np.ones((4, 4), bool), Calibration(), {})
    (told,) = read_results(tmp_path / "r.h5")["maps"]
    found = map_of({**told, **unpack(pack({"limit": told["limit"]}))})  # plain values: they come from another process
    assert found.information_limits() == {1.0: limit}
    assert found.caveat.startswith("too thick for this map")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        del file["maps/obf"].attrs["information_limit_uncertainty_A"]
    assert map_of(read_results(tmp_path / "r.h5")["maps"][0]).information_limits() == {}, "as the first files were"


def test_frames_after_the_last_point_are_not_lost(tmp_path):
    header = dataclasses.replace(make_header((3, 4)), frames=15)
    path = stored_recording(tmp_path, header, make_frames(header), missing=slice(12, 15))
    assert describe_scan(path)["lost"] == scan_header(path)["missing"] == 0
    path = stored_recording(tmp_path, header, make_frames(header), missing=slice(11, 15))
    assert describe_scan(path)["lost"] == scan_header(path)["missing"] == 1


def test_a_map_travels_with_the_quality_of_its_rings(tmp_path):
    rings = RingQuality(np.array([0.1, 0.2, 0.3]), np.full(3, 0.8), np.array([0.9, 0.8, 0.1]))
    one = LiveMap("obf", np.zeros((4, 4), np.float32), "rad", (0.5, 0.5), 16, "OBF", quality=rings)
    write_maps(tmp_path / "r.h5", [one], np.ones((4, 4), bool), Calibration(), {})
    (told,) = read_results(tmp_path / "r.h5")["maps"]
    assert type(told["quality"]) is dict, "plain values: they come from another process"
    assert map_of(told).information_limits() == one.information_limits()


def test_mean_and_last_pattern_of_a_recording_come_from_frames_spread_over_it(tmp_path):
    header = dataclasses.replace(make_header((6, 7)), frames=44)
    frames = make_frames(header)
    path = stored_recording(tmp_path, header, frames, missing=slice(5, 9))
    found = sampled_patterns(path)
    there = np.delete(np.arange(42), np.arange(5, 9))  # the last two frames belong to no point
    np.testing.assert_allclose(found["mean"], frames[there].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(found["last"], frames[41])
    few = sampled_patterns(path, 2 * frames[0].nbytes)
    np.testing.assert_allclose(few["mean"], frames[[0, 41]].mean(axis=0), rtol=1e-6)


def test_a_recording_without_frames_of_points_has_no_patterns(tmp_path):
    header = dataclasses.replace(make_header((6, 7)), frames=44)
    path = stored_recording(tmp_path, header, make_frames(header), missing=slice(0, 42))
    assert sampled_patterns(path) == {"mean": None, "last": None}
