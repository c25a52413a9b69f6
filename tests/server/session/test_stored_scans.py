"""Data of stored scans that are sent between processes."""

import dataclasses

import h5py
import numpy as np
from stream_tools import make_frames, make_header, stored_recording

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, LiveMap
from ptylive.schema.maps import InformationLimit
from ptylive.server.session.stored_scans import describe_scan, map_of, read_results, scan_header
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
