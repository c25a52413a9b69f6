"""`serve` and `replay` with the raw packets of a Timepix3: a scan becomes maps and a sparse recording."""

from pathlib import Path

import h5py
import numpy as np
from running import ptylive_here
from served_here import server_here

from ptylive.streamer.source import open_source


def test_a_detector_is_served(tmp_path: Path) -> None:
    sent = np.random.default_rng(20261123).poisson(0.5, (8, 10, 32, 30)).astype("<u2")
    np.save(tmp_path / "scan.npy", sent)
    with server_here(tmp_path, {"protocol": "tpx3-raw"}, {"scan.shape": "8,10", "energy_eV": "80e3"}) as running:
        ptylive_here("replay", tmp_path / "scan.npy", "--to", running.data, "--protocol", "tpx3-raw")
        status = running.wait_for_results()
        assert (status["state"], status["lost"], status["rejected"]) == ("complete", 0, {})
        recording = Path(status["recording"])
    with h5py.File(recording) as stored:
        assert "events" in stored and "data" not in stored
    with open_source(recording) as source:
        frames = source.frames(np.arange(source.frame_count))
        assert source.header.scan.dwell_time_us == 10
    np.testing.assert_array_equal(frames[:, 112:144, 113:143], sent.reshape(80, 32, 30))
    assert frames.sum() == sent.sum()
