"""A tilt series in a server: each reflection's disc is a map, of the series that is shown and of the next."""

import h5py
import numpy as np
import pytest
from running import ptylive, server

import ptylive as program
from ptylive.application.larbed import TiltGeometry, read

SETTINGS = {
    "beam": "parallel",
    "specimen": "crystal",
    "material": "SrTiO3",
    "energy_eV": 120e3,
    "thickness_A": 100.0,
    "displacement_A": 0.1,
    "scan_shape": (6, 7),
    "tilt_step_mrad": 6.0,
    "electrons_per_pattern": 1e6,
    "detector_shape": (96, 96),
    "detector_pixel_mrad": 0.9,
    "dtype": "f4",
}


@pytest.mark.slow
def test_discs_are_live_maps(tmp_path):
    scan = tmp_path / "tilts.h5"
    program.simulate(scan, **SETTINGS)
    with server(tmp_path) as running:
        assert ptylive("replay", scan, "--to", running.data).returncode == 0
        running.wait_for_results()
        found = running.call("reflections", cell=[3.905, 3.905, 90.0], number=5)["reflections"]
        assert found[0]["name"] == "g0_0"
        assert len(found) == 5
        first = running.status()["uid"]
        assert ptylive("replay", scan, "--to", running.data).returncode == 0
        running.wait_for(lambda status: status["uid"] != first)
        results = running.wait_for_results()["results"]
        with h5py.File(results) as file:
            disc = file["maps/vd_g0_0"][()]
            assert sum(name.startswith("vd_g") for name in file["maps"]) == 5
        assert running.call("reflections", number=0)["reflections"] == []
    series = read(scan, TiltGeometry((3.905, 3.905, 90.0), 6.0))
    discs = series.discs(series.counts)
    direct = discs[int(np.flatnonzero((series.hk == 0).all(axis=1))[0])]
    np.testing.assert_allclose(disc, direct, rtol=1e-3)  # the same lattice, fitted to the same mean
