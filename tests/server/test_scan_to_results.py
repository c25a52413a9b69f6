"""A scan through real processes: nothing lost, live equals offline, one command refines."""

import itertools

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from running import frame_hashes, last_json, ptylive_here, server
from shared_data import shared_data

from ptylive.schema import Calibration
from ptylive.schema.advice import Advice, advise
from ptylive.server.wire.client import EventStream
from ptylive.simulators.data import bundled
from ptylive.simulators.faults import Faults
from ptylive.simulators.replay import ReplaySettings, replay


def maps_of(path) -> dict:
    with h5py.File(path) as file:
        return {name: data[()] for name, data in file["maps"].items()}


def identity_in(path) -> tuple:
    with h5py.File(path) as file:
        return tuple(file["settings"].attrs[name] for name in ("scan_uid", "scan_file", "scan_sha256"))


def assert_live_equals_offline(status, tmp_path):
    offline = tmp_path / "offline.h5"
    assert (
        last_json(ptylive_here("reconstruct", status["recording"], "-o", offline, "--json"))["frames"]
        == status["frames"]
    )
    live, again = maps_of(status["results"]), maps_of(offline)
    assert identity_in(status["results"]) == identity_in(offline)
    assert set(live) == set(again)
    for name, data in again.items():
        assert np.abs(live[name] - data).max() <= 1e-5 * np.abs(data).max(), name


def assert_fits_are_told(events, status, control):
    """The topic `calibration` and ``ptylive advise`` report the same as the status."""
    last, expected = events[-1], advise(Calibration.from_plain(status["calibration"]))
    assert (last["uid"], last["frames"], last["final"]) == (status["uid"], status["frames"], True)
    assert last["calibration"] == status["calibration"]
    assert Advice.from_plain(last["advice"]) == expected
    told = last_json(ptylive_here("advise", "--control", control, "--json"))
    assert (told["uid"], told["line"]) == (status["uid"], expected.line)
    done = ptylive_here("advise", "--control", control)
    assert (done.returncode, done.stdout) == (0, f"{status['series']}: {expected.line}\n")


@pytest.mark.slow
def test_a_scan_becomes_maps_and_a_refined_object(tmp_path):
    with (
        server(tmp_path / "recordings") as running,
        EventStream(running.control, ("maps",), 5000) as events,
        EventStream(running.control, ("calibration",)) as fits,
    ):
        replay(bundled("mos2_svac_80kV_focus"), ReplaySettings(to=running.data, rate=4000.0))
        status = running.wait_for_results()
        shown = {payload["name"] for _, payload in iter(lambda: events.next(0.3), None)}
        assert_fits_are_told([payload for _, payload in iter(lambda: fits.next(0.3), None)], status, running.control)
        assert status["state"] == "complete"
        assert (status["frames"], status["lost"], status["rejected"]) == (4096, 0, {})
        assert {"bf", "idpc", "tcbf", "obf", "wdd_phase", "coverage", "pattern"} <= shown
        assert_live_equals_offline(status, tmp_path)
        assert frame_hashes(status["recording"]) == frame_hashes(bundled("mos2_svac_80kV_focus"))

        done = ptylive_here(
            "refine-now", "--wait", "--set", "sweeps=2", "--set", "epoch_max=4", "--control", running.control
        )
        assert done.returncode == 0, done.stderr
        with h5py.File(status["results"]) as file:
            assert {"object", "probe", "positions_A", "loss"} <= set(file["refinement"])
            assert list(file["refinement/loss"].attrs["phase"]) == ["sweep"] * 2 + ["lbfgs"] * 2
            assert file["maps/idpc"].shape == (64, 64)
        assert list(running.call("runs")["runs"]) == ["run1"]
        assert last_json(ptylive_here("stop", "--control", running.control, "--json"))["stopped"]
        assert running.process.wait(60) == 0


@pytest.mark.slow
def test_live_equals_offline_of_what_arrived(tmp_path):
    """Shuffled, duplicated and with 1 % lost."""
    faults = Faults(shuffle=8, duplicate=0.1, loss=0.01, seed=3)
    with server(tmp_path / "recordings", "--set", "idle_timeout_s=1") as running:
        replay(bundled("au_ac_300kV_parallax"), ReplaySettings(to=running.data, batch=16, faults=faults))
        status = running.wait_for_results()
        assert status["lost"] > 0
        assert status["duplicates"] > 0
        assert status["frames"] + status["lost"] == 48 * 48
        assert_live_equals_offline(status, tmp_path)
        with h5py.File(status["results"]) as file:
            assert int(file["coverage"][()].sum()) == status["frames"]


@pytest.mark.slow
@pytest.mark.data
def test_rotavirus_from_stream_to_object(tmp_path):
    """Real data: recording identical, particles bright in iDPC, tcBF and the refined object."""
    source = shared_data("rotavirus_300kV_cryo_west")
    with server(tmp_path / "recordings") as running:
        replay(source, ReplaySettings(to=running.data))
        status = running.wait_for_results()
        assert (status["frames"], status["lost"]) == (127 * 64, 0)
        assert frame_hashes(status["recording"]) == frame_hashes(source)
        maps = maps_of(status["results"])
        for name in ("idpc", "tcbf", "obf"):
            assert particles_above_ice(maps[name]) > 0.5, name
        run = last_json(ptylive_here("refine-now", "--wait", "--control", running.control, "--json"))
        assert run["state"] == "done"
        with h5py.File(status["results"]) as file:
            loss, phase = file["refinement/loss"][()], list(file["refinement/loss"].attrs["phase"])
            inside = [i for i, kinds in enumerate(itertools.pairwise(phase)) if kinds == ("lbfgs", "lbfgs")]
            assert len(inside) >= 1
            assert np.all(np.diff(loss)[inside] < 0)  # sweeps come in between where a drift was corrected
            refined = on_scan_grid(file, (127, 64), 31.25, -120.5)
        assert particles_above_ice(refined) > 0.5
        # the refined object against the stored offline reference map of the same scan
        assert np.corrcoef(refined[8:-8, 8:-8].ravel(), maps["obf"][::2, ::2][8:-8, 8:-8].ravel())[0, 1] > 0.7


# centres (row, col) and radius in scan steps of particles, and of ice between them, read off the offline OBF map
PARTICLES = [(82, 14), (100, 32), (94, 54), (115, 4)]
ICE = [(62, 14), (60, 22), (80, 26), (92, 24), (108, 18), (86, 46)]
RADIUS = 3


def particles_above_ice(image) -> float:
    """Difference between the means of particles and ice, in standard deviations of the lower part of the picture."""
    scale = image.shape[0] / 127
    rows, cols = np.indices(image.shape) / scale

    def mean(spots):
        return np.mean([image[np.hypot(rows - r, cols - c) < RADIUS].mean() for r, c in spots])

    return float((mean(PARTICLES) - mean(ICE)) / image[int(70 * scale) :].std())


def on_scan_grid(file, shape, step, rotation_deg):
    """Phase of the refined object at the scan points."""
    from scipy.ndimage import map_coordinates

    from ptylive.schema import Scan

    data = file["refinement/object"]
    positions = Scan(shape=shape, step_A=step).positions_A(rotation_deg)
    pixel = (positions - data.attrs["origin_A"]) / data.attrs["sampling_A"]
    phase = np.angle(data[0]).sum(0)
    return map_coordinates(phase, pixel.T, order=1).reshape(shape)


@pytest.mark.slow
def test_values_set_from_outside_change_the_maps(tmp_path):
    with server(tmp_path / "recordings", "--set", "defocus_A=300") as running:
        replay(bundled("au_ac_300kV_parallax"), ReplaySettings(to=running.data))
        status = running.wait_for_results()
        assert status["calibration"]["C10"] == {"value": -300.0, "origin": "given", "uncertainty": None}
        before = maps_of(status["results"])["tcbf"]
        running.call("configure", values={"defocus_A": 400.0})
        running.wait_for(lambda s: s["calibration"]["C10"]["value"] == -400.0 and s["state"] == "complete")
        after = maps_of(status["results"])["tcbf"]
        assert np.abs(after - before).max() > 0.05 * np.abs(before).max()
        assert_live_equals_offline_with(running, status, tmp_path)


def assert_live_equals_offline_with(running, status, tmp_path):
    offline = tmp_path / "offline.h5"
    last_json(ptylive_here("reconstruct", status["recording"], "-o", offline, "--set", "defocus_A=400", "--json"))
    live, again = maps_of(running.status()["results"]), maps_of(offline)
    for name, data in again.items():
        assert np.abs(live[name] - data).max() <= 1e-5 * np.abs(data).max(), name


@pytest.mark.slow
def test_scans_one_right_after_the_other_all_get_their_results(tmp_path):
    with server(tmp_path) as running:
        report = replay(bundled("au_ac_300kV_parallax"), ReplaySettings(to=running.data, loops=4))
        running.wait_for(lambda s: s["uid"] == report.uids[-1] and s["state"] == "complete" and s["results"])
        assert len(list(tmp_path.glob("*_results.h5"))) == 4
        assert len(list(tmp_path.glob("*.h5"))) == 8
        assert not list(tmp_path.glob("*.journal"))
