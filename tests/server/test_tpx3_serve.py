"""`serve` and `replay` with Timepix3: a scan becomes maps and a sparse recording, which every command reads."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from running import frame_hashes, last_json, ptylive_here, server

import ptylive
from ptylive.schema.model import Array
from ptylive.simulators.data import bundled
from ptylive.streamer.source import open_source


def frames_of(path: Path) -> Array:
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count))


@pytest.mark.slow
def test_a_detector_is_served_and_its_recording_is_read(tmp_path: Path) -> None:
    file = bundled("mos2_svac_80kV_focus")
    options = ("--protocol", "tpx3", "--set", "scan.step_A=0.5", "--set", "energy_eV=80e3")
    with server(tmp_path, *options) as running:
        report = last_json(ptylive_here("replay", file, "--to", running.data, "--protocol", "tpx3", "--json"))
        status = running.wait_for_results()
        assert (status["state"], status["lost"], status["rejected"]) == ("complete", 0, {})
        assert report["frames"] == status["frames"]
        assert status["scan"]["step_A"] == [0.5, 0.5]
        recording = Path(status["recording"])
    with h5py.File(recording) as stored:
        assert "events" in stored and "data" not in stored
    assert np.array_equal(frames_of(recording), frames_of(file))
    assert last_json(ptylive_here("inspect", recording, "--json"))["frames"] == report["frames"]
    ptylive_here("convert", recording, tmp_path / "plain.h5")
    assert frame_hashes(tmp_path / "plain.h5") == frame_hashes(file)
    assert "64 x 64 points of 64 x 64 pixels, uint16" in repr(ptylive.open_scan(recording))
