"""A tilt series in a server: the disc of each reflection is a map, for the current series and the next."""

from contextlib import nullcontext
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from running import ptylive, server

import ptylive as program
from ptylive.application.larbed import TiltGeometry, read
from ptylive.schema import CommandError, Detector, Optics
from ptylive.server.commands.reflections import found_reflections

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


def shown(mean, **detector):
    """A scan as the command sees it."""
    header = SimpleNamespace(
        detector=Detector(shape=(96, 96), **detector),
        optics=Optics(energy_eV=120e3),
        arrays={},
        detector_shape=(96, 96),
    )
    engine = SimpleNamespace(recent_mean=lambda patience_s: mean, header=header)
    return SimpleNamespace(header=header, engine=engine, lock=nullcontext())


@pytest.mark.parametrize(
    ("scan", "cell", "number", "said"),
    [
        (shown(None, pixel_mrad=0.9), [3.9, 3.9], 4, "three numbers"),
        (shown(None, pixel_mrad=0.9), [3.9, 3.9, 90], 99, "99 reflections"),
        (shown(None), [3.9, 3.9, 90], 4, "detector_pixel_mrad"),
        (shown(None, pixel_mrad=0.9), [3.9, 3.9, 90], 4, "no frames"),
        (shown(np.ones((96, 96)), pixel_mrad=9.0), [3.9, 3.9, 90], 4, "pixels apart"),
        (shown(np.ones((96, 96)), pixel_mrad=0.9), [3.9, 0.0, 90], 4, "not a valid cell"),
    ],
)
def test_what_it_cannot_find_is_said(scan, cell, number, said):
    with pytest.raises(CommandError, match=said):
        found_reflections(scan, cell, number)


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
