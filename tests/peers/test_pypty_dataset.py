"""PyPty itself opens what ``ptylive convert --to pypty`` writes, and finds the object.

PYPTY_PYTHON is a Python that can import PyPty 2.2, which is not on any package index.
"""

import os
import subprocess

import h5py
import numpy as np
import pytest
from running import last_json, ptylive_here
from scipy import ndimage

import ptylive

PYTHON = os.environ.get("PYPTY_PYTHON")
BLUR_A = 0.3
FOUND = 0.95
"""Correlation with the true phase after 12 epochs: 0.998 when first run; -0.1 with aberrations of the opposite sign."""


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="set PYPTY_PYTHON to a Python that has PyPty")
def test_pypty_finds_the_object(tmp_path):
    scan, target = tmp_path / "scan.h5", tmp_path / "for_pypty.h5"
    values = {"C12a": 30.0, "C12b": -20.0, "C21a": 800.0, "rotation_deg": 20.0, "beam_offset_px": (1.2, -2.0)}
    size = {"scan_shape": (24, 24), "scan_step_A": (0.5, 0.5), "detector_shape": (48, 48), "dose_e_per_A2": 1e6}
    ptylive.simulate(scan, **size, **values)
    last_json(ptylive_here("convert", scan, target, "--to", "pypty", "--json"))
    script = target.with_suffix(".py")
    text = script.read_text(encoding="utf-8").replace('"epoch_max": 100', '"epoch_max": 12')
    assert '"epoch_max": 12' in text
    script.write_text(text, encoding="utf-8")
    subprocess.run([str(PYTHON), str(script)], check=True, capture_output=True, timeout=300)
    phase = np.angle(np.load(tmp_path / "pypty_output" / "co.npy")[..., 0, 0])
    with h5py.File(scan) as file:
        truth, sampling_A = file["truth/phase"][()], float(np.atleast_1d(file["truth"].attrs["object_sampling_A"])[0])
        positions_A = file["truth/positions_A"][()].reshape(-1, 2)
    window = 72  # 48 pixels and a quarter of 48 on each side
    params = next(line for line in script.read_text(encoding="utf-8").splitlines() if "rez_pixel_size_A" in line)
    pixel_A = 1 / (window * float(params.split(":")[1].strip(" ,")))
    at = np.indices(phase.shape) - window // 2
    places = (at * pixel_A + positions_A.min(axis=0)[:, None, None]) / sampling_A
    expected = ndimage.map_coordinates(ndimage.gaussian_filter(truth, BLUR_A / sampling_A), places, order=1)
    extent = np.ptp(positions_A, axis=0) / pixel_A
    inside = np.hypot(*(at - (extent / 2)[:, None, None])) < 0.35 * extent.min()
    found = ndimage.gaussian_filter(phase, BLUR_A / pixel_A)
    assert np.corrcoef(found[inside], expected[inside])[0, 1] > FOUND
