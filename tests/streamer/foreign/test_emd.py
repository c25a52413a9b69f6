"""py4DSTEM's files: what its calibration says wins over the axes, and one cube is asked for."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.emd import open_emd, recognises


def emd(folder, *, dims=None, calibration=None, name="datacube", first=0):
    """A cube with vectors of its axes (name -> step, unit) and a calibration as emdfile writes one."""
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        root = file.create_group("root")
        root.attrs["emd_group_type"] = "root"
        cube = root.create_group(name)
        cube["data"] = np.arange(4 * 5 * 6 * 6, dtype="<u2").reshape(4, 5, 6, 6)
        for axis, (step, unit) in enumerate(dims or []):
            cube[f"dim{axis + first}"] = step if isinstance(step, np.ndarray) else np.array([0.0, step])
            cube[f"dim{axis + first}"].attrs["units"] = unit
        if calibration is not None:
            group = root.create_group("metadatabundle/calibration")
            group.attrs["python_class"] = "Calibration"
            for key, value in calibration.items():
                group[key] = value
    return path


def metadata_of(path):
    with open_emd(path) as file:
        return file.metadata


AXES = [(0.2, "A"), (0.2, "A"), (0.05, "A^-1"), (0.05, "A^-1")]


def test_axes_give_step_and_pixel(tmp_path):
    wanted = {"scan_step_A": pytest.approx([0.2, 0.2]), "detector_pixel_invA": pytest.approx(0.05)}
    assert metadata_of(emd(tmp_path, dims=AXES)) == wanted
    assert metadata_of(emd(tmp_path, dims=AXES, first=1)) == wanted


@pytest.mark.parametrize("odd", [np.zeros(1), np.zeros((2, 2)), np.array([1.0, 0.5]), np.array([0.0, np.nan])])
def test_axes_without_a_step_say_nothing(tmp_path, odd):
    assert metadata_of(emd(tmp_path, dims=[(odd, "A"), *AXES[1:]])) == {"detector_pixel_invA": pytest.approx(0.05)}


def test_the_calibration_wins_over_the_axes(tmp_path):
    given = {
        "R_pixel_size": 1.5,
        "R_pixel_units": "nm",
        "Q_pixel_size": 0.5,
        "Q_pixel_units": "mrad",
        "accelerating_voltage": 300e3,
        "QR_flip": True,
    }
    found = metadata_of(emd(tmp_path, dims=AXES, calibration=given))
    assert found["scan_step_A"] == pytest.approx([15.0, 15.0])
    assert found["detector_pixel_mrad"] == 0.5
    assert (found["energy_eV"], found["detector_transform"]) == (300e3, "transpose")


def test_what_a_calibration_leaves_open_stays_open(tmp_path):
    given = {"R_pixel_units": "pixels", "R_pixel_size": 1.0, "QR_flip": False, "Q_pixel_size": np.ones(3)}
    assert metadata_of(emd(tmp_path, calibration=given)) == {}


def test_one_cube_is_asked_for(tmp_path):
    path = emd(tmp_path)
    with h5py.File(path, "a") as file:
        assert recognises(file)
        file["root/second/data"] = np.zeros((2, 2, 2, 2))
    with pytest.raises(InputFileError, match="holds 2 data cubes"):
        metadata_of(path)
    with h5py.File(path, "w") as file:
        file["root/data"] = np.zeros((4, 4))
        assert not recognises(file)
    with pytest.raises(InputFileError, match="no data cube of four axes"):
        metadata_of(path)
