"""Scans written for PyPty: place of the patterns, replacement of bad pixels, and the preset read by our import."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from simulated_datasets import dataset_of, simulated

from ptylive.application.presets import load_preset
from ptylive.engine.exports.pypty_dataset import centred, filled, neighbours, pypty_aberrations, write_pypty_dataset
from ptylive.schema import MetadataError
from ptylive.schema.pypty.converters import aberrations


def test_aberrations_go_there_and_back():
    """The reverse direction is our import."""
    values = {"C10": -100.0, "C12a": 30.0, "C12b": -20.0, "C21a": 800.0, "C23b": 5.0, "C30": 1e4, "C34a": 7.0}
    back = aberrations(pypty_aberrations(values))
    assert {name: value for name, value in back.items() if value} == values


@pytest.mark.parametrize(
    ("shape", "place", "expected"),
    [((4, 4), (2, 2), (2, 2)), ((4, 4), (1, 3), (2, 2)), ((3, 5), (1, 2), (2, 2)), ((5, 5), (0, 4), (2, 2))],
)
def test_the_beam_lies_on_frequency_0(shape, place, expected):
    counts = np.zeros((1, *shape), np.float32)
    counts[0, place[0], place[1]] = 7.0
    moved = centred(counts, np.asarray(place), max(shape))
    assert np.argwhere(moved[0]).tolist() == [list(expected)]
    assert moved.sum() == 7.0


def test_what_leaves_the_detector_is_gone():
    counts = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    np.testing.assert_array_equal(centred(counts, np.asarray((0, 1)), 3)[0], [[0, 0, 0], [0, 1, 2], [3, 4, 5]])


def test_neighbours_stand_for_bad_pixels():
    bad = np.zeros((3, 3), bool)
    bad[0, 0] = bad[0, 1] = True
    counts = np.full((2, 3, 3), 4.0, np.float32)
    counts[:, 0, :2], counts[1, 1, 0] = 1e6, 8.0
    done = filled(counts.copy(), bad, neighbours(bad))
    assert done[0, 0, 0] == done[0, 0, 1] == 4.0
    assert done[1, 0, 0] == 6.0  # mean of the two below it
    assert filled(np.ones((1, 1, 1)), np.ones((1, 1), bool), neighbours(np.ones((1, 1), bool)))[0, 0, 0] == 0


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small scan of 16 x 16 pixels with the beam off the middle."""
    folder = tmp_path_factory.mktemp("pypty")
    values = {"beam_offset_px": (1.2, -2.0), "rotation_deg": 20.0, "C12a": 30.0, "defocus_A": 40.0}
    scan = simulated(scan_shape=(3, 4), detector_shape=(16, 16), oversampling=2, **values)
    dataset = dataset_of(scan)
    made = write_pypty_dataset(dataset, folder / "data.h5", folder / "data.py", {"uid": "u-1"})
    return folder, dataset, made


def test_patterns_positions_and_preset(written):
    folder, dataset, made = written
    with h5py.File(folder / "data.h5") as file:
        assert file["data"].shape == (12, 16, 16)
        np.testing.assert_allclose(file["positions_A"][()], dataset.positions_A)
        whole = np.roll(dataset.patterns, (-1, 2), (1, 2)).astype(float)
        np.testing.assert_array_equal(file["data"][:, 2:-2, 2:-2], whole[:, 2:-2, 2:-2])
    assert made.off_px == pytest.approx((0.2, 0.0))
    found = load_preset(folder / "data.py")
    assert found.metadata["energy_eV"] == dataset.calibration.get("energy_eV")
    assert found.metadata["rotation_deg"] == 20.0
    assert '"PLRotation_deg": -20.0,' in (folder / "data.py").read_text(encoding="utf-8")
    assert found.metadata["C10"] == dataset.calibration.get("C10")
    assert found.metadata["C12a"] == pytest.approx(30.0)
    assert found.metadata["detector_pixel_invA"] == dataset.calibration.get("detector_pixel_invA")
    compile((folder / "data.py").read_text(encoding="utf-8"), "data.py", "exec")


def test_coefficients_are_refused(written, tmp_path):
    _, dataset, _ = written
    with pytest.raises(MetadataError, match="coefficients"):
        write_pypty_dataset(replace(dataset, masks=np.ones((1, 16, 16))), tmp_path / "a.h5", tmp_path / "a.py")
