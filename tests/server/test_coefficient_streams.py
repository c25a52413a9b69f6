"""Coefficients through real processes: from a stream to maps and a recording, and computed from recorded frames."""

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from running import frame_hashes, last_json, ptylive_here, server

from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.source import open_source

SCAN = "mos2_svac_80kV_focus"


def maps_of(path) -> dict:
    with h5py.File(path) as file:
        return {name: data[()] for name, data in file["maps"].items()}


@pytest.mark.slow
@pytest.mark.parametrize("basis", ["zernike:45+1", "data:15+1:sqrt"])
def test_a_stream_of_coefficients(tmp_path, basis):
    with server(tmp_path / "recordings") as running:
        sent = last_json(ptylive_here("replay", bundled(SCAN), "--to", running.data, "--basis", basis, "--json"))
        status = running.wait_for_results()
    assert (status["state"], status["frames"], status["rejected"]) == ("complete", sent["frames"], {})
    assert sent["compression"] > 50
    offline = tmp_path / "offline.h5"
    last_json(ptylive_here("reconstruct", status["recording"], "-o", offline, "--json"))
    live, again = maps_of(status["results"]), maps_of(offline)
    wanted = {"bf", "adf", "com_row", "com_col", "idpc"}
    if not basis.endswith("sqrt"):
        wanted |= {"abf", "obf", "tcbf", "wdd_phase", "wdd_amplitude"}
    assert wanted <= set(live) == set(again)
    assert ("obf" in live) == ("obf" in wanted)
    for name, data in again.items():
        assert np.abs(live[name] - data).max() <= 1e-5 * np.abs(data).max(), name
    with h5py.File(status["recording"]) as file:
        assert file["coefficients"].shape[:2] == (64, 64)
        assert "data" not in file


@pytest.mark.slow
def test_frames_are_compressed_beside_their_recording(tmp_path):
    keep = ("--set", "server.keep_frames=true")
    with server(tmp_path / "recordings", "--basis", "zernike:45+1", *keep) as running:
        replay(bundled(SCAN), ReplaySettings(to=running.data))
        status = running.wait_for_results()
    assert frame_hashes(status["recording"]) == frame_hashes(bundled(SCAN))
    coefficients = status["recording"].replace(".h5", "_coefficients.h5")
    with open_source(coefficients) as source:
        assert (source.header.uid, source.header.basis.kind) == (status["uid"], "zernike")
    offline = tmp_path / "offline.h5"
    last_json(ptylive_here("reconstruct", coefficients, "-o", offline, "--json"))
    live, again = maps_of(status["results"]), maps_of(offline)
    np.testing.assert_allclose(again["idpc"], live["idpc"], atol=1e-4 * np.abs(live["idpc"]).max())


@pytest.mark.parametrize("basis", ["binning:45+1", "pca:15+1"])
@pytest.mark.slow
def test_frames_become_coefficients_before_they_are_recorded(tmp_path, basis):
    with server(tmp_path / "recordings", "--basis", basis) as running:
        replay(bundled(SCAN), ReplaySettings(to=running.data, control=running.control))
        status = running.wait_for_results()
        with open_source(status["recording"]) as source:
            assert source.header.basis.kind == basis.partition(":")[0]
            assert source.received.all()
        offline = tmp_path / "offline.h5"
        last_json(ptylive_here("reconstruct", status["recording"], "-o", offline, "--json"))
        live, again = maps_of(status["results"]), maps_of(offline)
        for name, data in again.items():
            assert np.abs(live[name] - data).max() <= 1e-5 * np.abs(data).max(), name
        assert len(list((tmp_path / "recordings").glob("*.h5"))) == 2
        few = ("--set", "sweeps=1", "--set", "epoch_max=1", "--set", "probe_modes=1")
        assert ptylive_here("refine-now", "--wait", *few, "--control", running.control).returncode == 0
        with h5py.File(status["results"]) as file:
            assert f"{basis.partition(':')[0]} coefficients" in file["refinement"].attrs["reason"]
            assert file["refinement"].attrs["algorithm"] == "lsq_compressed"
        running.call("configure", values={"rotation_deg": 5.0})  # maps are remade without its frames
        again = running.wait_for(lambda s: s["state"] == "complete")
        assert "stopped" not in again["message"]


def test_an_impossible_basis_is_refused_at_once(tmp_path):
    done = ptylive_here("serve", "--headless", "--record", tmp_path, "--basis", "zernik:45+1")
    assert done.returncode == 1
    assert "unknown basis 'zernik:45+1'" in done.stderr
