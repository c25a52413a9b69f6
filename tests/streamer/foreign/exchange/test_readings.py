"""Recordings of virtual detectors, with their masks in another file."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

MASKS = np.stack([np.eye(6), 1 - np.eye(6)]).astype(np.float32)
FRAMES = np.random.default_rng(5).poisson(3, (3, 4, 6, 6))
READINGS = np.tensordot(FRAMES, MASKS, ((2, 3), (1, 2)))


def saved(folder, masks=MASKS, readings=READINGS):
    np.save(folder / "masks.npy", masks)
    with h5py.File(folder / "scan.h5", "w") as file:
        file["data"] = readings
    np.save(folder / "scan.npy", readings)
    return {"masks": str(folder / "masks.npy")}


@pytest.mark.parametrize("name", ["scan.h5", "scan.npy"])
def test_readings_are_coefficients(tmp_path, name):
    values = saved(tmp_path)
    with open_source(tmp_path / name, values) as source:
        assert source.header.detector_shape == (6, 6)
        assert source.header.scan.shape == (3, 4)
        assert not source.header.basis.is_raw
        assert source.header.basis.n_bright == 2
        np.testing.assert_array_equal(source.header.arrays["masks"], MASKS)
        np.testing.assert_allclose(source.frames(np.arange(12)), READINGS.reshape(12, 2), rtol=1e-6)
    with open_source(tmp_path / name, {"masks": MASKS, "energy_eV": 80e3}) as source:
        assert source.header.optics.energy_eV == 80e3


def test_as_pypty_keeps_them(tmp_path):
    """With the points in a row."""
    values = saved(tmp_path, readings=READINGS.reshape(12, 2).astype(int))
    with open_source(tmp_path / "scan.h5", {**values, "scan_shape": [3, 4]}) as source:
        assert source.frame_count == 12
        assert source.frames(np.arange(2)).dtype == np.float32


@pytest.mark.parametrize(
    ("masks", "readings", "said"),
    [
        (MASKS[0], READINGS, r"are float32 \(6, 6\)"),
        (MASKS * np.nan, READINGS, "not numbers"),
        (np.concatenate([MASKS, MASKS]), READINGS, "4 masks"),
        (MASKS, READINGS.ravel(), "the array is"),
        (MASKS, READINGS.astype(complex), "the array is"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, masks, readings, said):
    values = saved(tmp_path, masks, readings)
    with pytest.raises(InputFileError, match=said), open_source(tmp_path / "scan.h5", values):
        pass
