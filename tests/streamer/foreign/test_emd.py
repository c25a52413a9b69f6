"""py4DSTEM's files: the calibration overrides the axes, and one cube is expected."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.emd import open_emd, recognises
from ptylive.streamer.source import open_source


def emd(folder, *, dims=None, calibration=None, name="datacube", first=0):
    """A cube with vectors for its axes (name -> step, unit) and a calibration as written by emdfile."""
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
        "convergence_semiangle_mrad": 25,
        "QR_flip": True,
    }
    found = metadata_of(emd(tmp_path, dims=AXES, calibration=given))
    assert found["scan_step_A"] == pytest.approx([15.0, 15.0])
    assert found["detector_pixel_mrad"] == 0.5
    assert (found["energy_eV"], found["detector_transform"]) == (300e3, "transpose")
    assert found["convergence_semiangle_mrad"] == 25.0


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


BERKELEY = [("y", "nm", 0.1), ("x", "nm", 0.1), ("ky", "1/nm", 0.4), ("kx", "1/nm", 0.4)]


def test_a_file_of_berkeleys_writer_is_turned(tmp_path):
    """RosettaSciIO writes all axes in reverse order, and units letter by letter in brackets."""
    writer = pytest.importorskip("rsciio.emd").file_writer
    data = np.arange(2 * 3 * 4 * 5, dtype="<u2").reshape(2, 3, 4, 5)
    axes = [
        {"name": name, "units": unit, "scale": step, "offset": 0.0, "navigate": n < 2}
        for n, (name, unit, step) in enumerate(BERKELEY)
    ]
    metadata = {"General": {"title": "scan"}, "Signal": {"signal_type": ""}}
    microscope = {"microscope": {"voltage": 80.0, "voltage_units": "[k_V]"}}
    signal = {"data": data, "axes": axes, "metadata": metadata, "original_metadata": microscope}
    writer(str(tmp_path / "a.emd"), signal)
    with open_source(tmp_path / "a.emd") as source:
        np.testing.assert_array_equal(source.frames(np.arange(6)), data.reshape(6, 4, 5))
        assert (source.header.scan.shape, source.header.detector_shape) == ((2, 3), (4, 5))
        assert source.header.scan.step_A == pytest.approx((1.0, 1.0))
        assert source.header.detector.pixel_invA == pytest.approx(0.04)
        assert source.header.optics.energy_eV == 80e3
        assert any("its axes are Qx, Qy, Rx, Ry" in note for note in source.notes)


@pytest.mark.parametrize("scan_last", [False, True])
@pytest.mark.parametrize("units", [["nm", "nm", "1/nm", "1/nm"], ["", "", "", ""]])
def test_hyperspy_s_files_are_reversed_whatever_their_units(tmp_path, units, scan_last):
    """HyperSpy marks its groups. A signal transposed to images over the detector is told by its units alone."""
    data = np.arange(2 * 3 * 4 * 5, dtype="<u2").reshape(2, 3, 4, 5)
    order = [2, 3, 0, 1] if scan_last else [0, 1, 2, 3]
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        file.attrs["version_major"] = 0
        group = file.create_group("signals/scan")
        group.attrs.update({"emd_group_type": 1, "signal_type": ""})
        group["data"] = data.transpose(order).T
        for number, axis in enumerate(order[::-1], 1):
            group[f"dim{number}"] = np.array([0.0, 0.1])
            group[f"dim{number}"].attrs["units"] = units[axis]
    wanted = data.transpose(order) if scan_last and not units[0] else data
    with open_source(path) as source:
        found = source.frames(np.arange(source.frame_count))
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


@pytest.mark.parametrize("names", [("y", "x"), ()])
def test_rows_that_are_named_first_are_not_reversed(tmp_path, names):
    """Nor are those of emdfile, which numbers axes from 0 and keeps the order of an array."""
    dims = [(0.05, "A^-1"), (0.05, "A^-1"), (0.2, "A"), (0.2, "A")]
    path = emd(tmp_path, dims=dims, first=1 if names else 0)
    with h5py.File(path, "a") as file:
        for axis, name in zip((3, 4), names, strict=False):
            file[f"root/datacube/dim{axis}"].attrs["name"] = name
        wanted = file["root/datacube/data"][()].transpose(2, 3, 0, 1)
    with open_emd(path) as found:
        np.testing.assert_array_equal(found.frames[1], wanted[1])
        assert found.metadata == {
            "scan_step_A": pytest.approx([0.2, 0.2]),
            "detector_pixel_invA": pytest.approx(0.05),
        }


@pytest.mark.parametrize("by_hyperspy", [False, True])
def test_interleaved_axes_are_put_in_order(tmp_path, by_hyperspy):
    """Regression: axes (Ry, Qy, Rx, Qx) were used as they lay in the file, although their units tell."""
    wanted = np.arange(2 * 3 * 4 * 5, dtype="<u2").reshape(2, 3, 4, 5)
    stored, steps = wanted.transpose(0, 2, 1, 3), [(0.2, "A"), (0.05, "A^-1"), (0.3, "A"), (0.05, "A^-1")]
    if by_hyperspy:
        stored, steps = stored.T, steps[::-1]
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        file.attrs["version_major"] = 0
        group = file.create_group("root/scan")
        group.attrs.update({"emd_group_type": 1} | ({"signal_type": ""} if by_hyperspy else {}))
        group["data"] = stored
        for axis, (step, unit) in enumerate(steps):
            group[f"dim{axis + 1}"] = np.array([0.0, step])
            group[f"dim{axis + 1}"].attrs["units"] = unit
    with open_source(path) as source:
        np.testing.assert_array_equal(source.frames(np.arange(6)).reshape(wanted.shape), wanted)
        assert source.header.scan.step_A == pytest.approx((0.2, 0.3))
        assert source.header.detector.pixel_invA == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("said", "energy"),
    [({"voltage": 200e3, "voltage_units": "V"}, 200e3), ({"voltage": 200.0}, None), ({"voltage_units": "[kV]"}, None)],
)
def test_a_high_tension_is_taken_with_its_unit(tmp_path, said, energy):
    path = emd(tmp_path)
    with h5py.File(path, "a") as file:
        file.create_group("microscope").attrs.update(said)
    assert metadata_of(path).get("energy_eV") == energy


def test_a_group_that_is_called_data_is_no_native_scan(tmp_path):
    """ncempy writes Berkeley's EMD with the groups data, microscope, sample, user at the root."""
    path = tmp_path / "ncempy.emd"
    with h5py.File(path, "w") as file:
        file.attrs.update({"version_major": 0, "version_minor": 2})
        group = file.create_group("data/scan")
        group.attrs["emd_group_type"] = 1
        group["data"] = np.arange(4 * 5 * 6 * 6, dtype="<u2").reshape(4, 5, 6, 6)
        for axis, (step, unit) in enumerate([(0.06, "[n_m]"), (0.045, "[n_m]"), (0.4, "[n_m^-1]"), (0.4, "[n_m^-1]")]):
            group[f"dim{axis + 1}"] = np.array([0.0, step])
            group[f"dim{axis + 1}"].attrs["units"] = np.bytes_(unit)
        file.create_group("microscope").attrs.update({"voltage": 80.0, "voltage_units": "[k_V]"})
    with open_source(path) as source:
        assert source.header.scan.step_A == pytest.approx((0.6, 0.45))
        assert source.header.optics.energy_eV == 80e3
        assert source.header.detector.pixel_invA == pytest.approx(0.04)
        assert source.header.scan.shape == (4, 5)
