"""Scans refined together by a server: the same result as on the command line."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from running import ptylive, server

from ptylive.application.extensions import Preset
from ptylive.application.simulation import simulate_file
from ptylive.schema import CommandError, LiveMap
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.server.refinement.scans_together import check_map_settings

SMALL = {"scan_shape": 20, "scan_step_A": 0.8, "detector_shape": 32, "detector_pixel_mrad": 3.0}
PRESET = {"num_slices": 2, "total_thickness_A": 20, "epoch_max": 3, "sweeps": 2, "probe_modes": 1}
TILTS = [[0, 0], [10, -5]]


@pytest.mark.parametrize("stored", [True, False])
def test_a_start_with_other_settings_than_the_map_s_is_refused(stored):
    """The refinement starts from the scan being shown."""
    made = LiveMap("ssb", np.zeros((2, 2)), "rad", (1.0, 1.0), 4, "", settings={"crop": 0.7, "epsilon": 0.01})
    scan = SimpleNamespace(map=lambda name: made if stored else None, map_settings={"ssb.crop": 0.7})
    check_map_settings(scan, Preset.from_mapping({"start_map": "ssb", "ssb.crop": 0.7}).start)
    check_map_settings(scan, Preset().start)
    with pytest.raises(CommandError, match=r"ssb\.crop = 0\.5 is requested, but ssb was made with 0\.7"):
        check_map_settings(scan, Preset.from_mapping({"start_map": "ssb", "ssb.crop": 0.5}).start)
    if not stored:
        with pytest.raises(CommandError, match=r"ssb\.epsilon = 0\.5 is requested, but ssb was made with its default"):
            check_map_settings(scan, Preset.from_mapping({"start_map": "ssb", "ssb.epsilon": 0.5}).start)


@pytest.mark.slow
def test_the_server_finds_what_the_command_line_finds(tmp_path):
    """Two scans of one place with different electrons; the metadata of each come from the library, or from its file."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for seed, name in enumerate(("flat", "left")):
        settings = SimulationSettings.of({**SMALL, "electrons_per_pattern": 2e4, "seed": seed})
        simulate_file(folder / f"{name}.h5", settings)
    preset = {**PRESET, "scan_tilts_mrad": TILTS}
    with server(folder) as running:
        for name in ("left.h5", "flat.h5"):  # opening a scan makes its maps
            running.call("open", recording=name)
            running.wait_for(lambda s, n=name: str(s["recording"]).endswith(n) and s["results"])
        begun = running.call("refine", preset=preset, beside=["left.h5"])
        ended = running.wait_for(lambda s: s["refinement"]["state"] in ("done", "failed"), timeout_s=300)
        assert ended["refinement"]["state"] == "done", ended["refinement"]
        told = running.call("runs")["runs"][begun["run"]]
    assert [one["name"] for one in told["scans"]] == ["flat.h5", "left.h5"]
    assert [one["tilt_mrad"] for one in told["scans"]] == TILTS
    assert [one["patterns"] for one in told["scans"]] == [400, 400]
    assert all(len(one["drift_A"]) == 2 for one in told["scans"]), "each scan is regular and dense"
    assert told["scans"][0]["shift_A"] == [0, 0]

    given = [text for name, value in preset.items() for text in ("--set", f"{name}={value}")]
    files = [folder / f"{name}.h5" for name in ("flat", "left")]
    done = ptylive("refine", *files, "-o", tmp_path / "r.h5", *given)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "r.h5") as file:
        losses = np.asarray(file["refinement/loss"])
    assert told["loss"] == pytest.approx(losses[-1], rel=1e-3)
