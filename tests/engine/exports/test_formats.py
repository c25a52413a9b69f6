"""Refinements in the formats of other programs: values, axis order, units."""

import errno
import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from nexus_rules import NAME
from stored_runs import ORIGIN_A, PIXEL_A, WINDOW, write_results

from ptylive.engine.exports import pypty
from ptylive.engine.exports.formats import EXPORTERS, export, names
from ptylive.engine.exports.hspy import FORMAT_VERSION
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.files.npy import write_npy
from ptylive.schema.units import wavelength_A

SINGLE = float(np.finfo(np.float32).eps)


@pytest.fixture
def run(tmp_path):
    return write_results(tmp_path / "results.h5")


def test_a_run_is_read(run, tmp_path):
    assert (run.name, run.slices, run.window, run.spacing_A) == ("run1", 3, WINDOW, 10.0)
    assert run.depths_A().tolist() == [0.0, 10.0, 20.0]
    assert run.wavelength_A == pytest.approx(wavelength_A(80e3))
    np.testing.assert_allclose(run.corners_px()[0], -np.asarray(ORIGIN_A) / PIXEL_A - WINDOW // 2)
    assert run.phase().shape == (3, 20, 24)
    assert set(run.refined) == {"beam_current", "background", "tilts"}
    with pytest.raises(InputFileError, match="no run"):
        StoredRun.read(tmp_path / "results.h5", "run7")
    with pytest.raises(InputFileError, match="no such file"):
        StoredRun.read(tmp_path / "none.h5")
    with h5py.File(tmp_path / "maps.h5", "w"):
        pass
    with pytest.raises(InputFileError, match="no refinement"):
        StoredRun.read(tmp_path / "maps.h5")


@pytest.mark.parametrize("sampling", [0.0, -0.25, np.nan, np.inf])
def test_an_object_without_a_size_is_refused_by_the_files_name(run, tmp_path, sampling):
    path = tmp_path / "results.h5"
    with h5py.File(path, "a") as file:
        file["refinements/run1/object"].attrs["sampling_A"] = [sampling, 0.25]
    with pytest.raises(InputFileError, match=r"results\.h5: impossible sampling_A"):
        StoredRun.read(path, "run1")


@pytest.mark.parametrize("kind", EXPORTERS)
@pytest.mark.parametrize("slices", [1, 3])
def test_every_format_writes_files(tmp_path, kind, slices):
    run = write_results(tmp_path / "results.h5", slices=slices, object_modes=1, probe_modes=1)
    told = []
    written = export(run, kind, tmp_path / "out", lambda done, total: told.append((done, total)))
    assert [path.name for path in written] == names(run, kind)
    assert told == [(number, len(written)) for number in range(1, len(written) + 1)]
    assert all(path.stat().st_size > 0 for path in written)
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)


def test_unknown_formats_are_refused(run, tmp_path):
    with pytest.raises(MetadataError, match="no export to 'mrc'"):
        export(run, "mrc", tmp_path)


def test_pypty_arrays_have_its_axes_and_normalisation(run, tmp_path):
    export(run, "pypty", tmp_path)
    arrays = {name: np.load(tmp_path / f"{name}.npy") for name in ("co", "cp", "cg", "cb", "cs", "ct")}
    np.testing.assert_array_equal(arrays["co"][3, 4, 2, 1], run.object[1, 2, 3, 4])
    # PyPty's own normalisation: the mean over modes of |F P|^2, unnormalised, holds the counts of a pattern
    counts = (np.abs(np.fft.fft2(arrays["cp"].astype(complex), axes=(0, 1))) ** 2).mean(axis=-1).sum()
    # waves in single precision, sums in double: a few eps of each square
    assert counts == pytest.approx((np.abs(run.probe.astype(complex)) ** 2).sum(), rel=8 * SINGLE)
    np.testing.assert_allclose(arrays["cg"], run.corners_px())
    np.testing.assert_allclose(arrays["cb"], 1.1)
    np.testing.assert_allclose(arrays["cs"], 0.5)
    np.testing.assert_allclose(arrays["ct"], [[1e-3, 2e-3, -3e-3, -4e-3, 5e-3, 6e-3]])
    parameters = json.loads((tmp_path / "params.json").read_text())
    assert (parameters["acc_voltage"], parameters["num_slices"], parameters["pixel_size_x_A"]) == (80.0, 3, PIXEL_A)
    assert parameters["PLRotation_deg"] == -run.calibration.rotation_deg == -5.0


def test_the_nexus_object_has_its_axes_and_orientation(run, tmp_path):
    (path,) = export(run, "nxs", tmp_path)
    with h5py.File(path) as file:
        picture = file["entry/object"]
        assert list(picture.attrs["axes"]) == ["modes", "z", "y", "x"]
        np.testing.assert_array_equal(picture["data"][1, 2], run.object[1, 2, ::-1])
        assert picture["z"][1] == 10.0
        assert picture["x"].attrs["units"] == "angstrom"
        assert file["entry/instrument/probe/data"].shape == (2, WINDOW, WINDOW)
        parameters = file["entry/reconstruction/reconstruction_parameters"]
        assert (parameters["acc_voltage"][()], parameters["acc_voltage"].attrs["units"]) == (80.0, "kV")
        np.testing.assert_array_equal(file["entry/instrument/scan/positions"][:, 1], file["entry/positions/x"])
        assert [part for part in names_in(file) if not NAME.fullmatch(part)] == []
        assert file[file.attrs["default"]].attrs["NX_class"] == "NXentry"


def names_in(file):
    """Names of all groups and data sets, following links."""
    found = []
    file.visit(found.append)
    return [path.rsplit("/", 1)[-1] for path in found]


def test_the_ptyrad_file_holds_the_same_object_probe_and_positions(run, tmp_path):
    (path,) = export(run, "ptyrad", tmp_path)
    with h5py.File(path) as file:
        tensors, model = file["optimizable_tensors"], file["model_attributes"]
        made = tensors["obja"][()] * np.exp(1j * tensors["objp"][()])
        np.testing.assert_allclose(made, run.object, atol=8 * SINGLE)  # moduli of 1
        np.testing.assert_array_equal(tensors["probe"][()], run.probe[0])
        # pixels up to 18
        np.testing.assert_allclose(
            model["crop_pos"][()] + tensors["probe_pos_shifts"][()], run.corners_px(), atol=32 * SINGLE
        )
        assert np.abs(tensors["probe_pos_shifts"]).max() <= 0.5


def test_the_py4dstem_file_holds_the_mean_over_modes_with_calibrated_axes(run, tmp_path):
    (path,) = export(run, "py4dstem", tmp_path)
    with h5py.File(path) as file:
        group = file["ptylive/object"]
        assert (group.attrs["emd_group_type"], file.attrs["version_major"]) == ("array", 1)
        np.testing.assert_allclose(group["data"][()], run.object.mean(axis=0), atol=2 * SINGLE)  # mean of two modes
        assert group["dim1"][0] == ORIGIN_A[0]
        assert group["dim2"].attrs["units"] == "A"


def test_the_ptychodus_product_has_its_positions_and_pixels(run, tmp_path):
    (path,) = export(run, "ptychodus", tmp_path)
    with h5py.File(path) as file:
        picture = file["object"]
        # ptychodus: pixel = (position - centre) / pixel + (size - 1) / 2, the probe around (P - 1) / 2
        y = (file["probe_position_y_m"][0] - picture.attrs["center_y_m"]) / picture.attrs["pixel_height_m"] + 19 / 2
        assert y - (WINDOW - 1) / 2 == pytest.approx(run.corners_px()[0, 0])
        # hc as written here has seven digits
        assert 12398.42 / file.attrs["photon_energy_eV"] == pytest.approx(run.wavelength_A, rel=1e-6)
        np.testing.assert_allclose(file["object_layer_spacing_m"], [1e-9, 1e-9])
        assert file["probe"].shape == (1, 2, WINDOW, WINDOW)


def test_the_hyperspy_file_holds_a_signal_for_each_picture(run, tmp_path):
    (path,) = export(run, "hspy", tmp_path)
    with h5py.File(path) as file:
        assert file.attrs["file_format_version"] == FORMAT_VERSION
        assert "package" not in file["Experiments/object_phase"].attrs  # HyperSpy warns of one it cannot import
        assert set(file["Experiments"]) == {
            "object_phase", "slice_000_phase", "slice_001_phase", "slice_002_phase", "probe_mode_0", "probe_mode_1",
        }  # fmt: skip


def test_how_sure_the_phase_is_goes_along(tmp_path):
    run = write_results(tmp_path / "results.h5", deviation=True)
    for kind in ("png", "tiff"):
        assert f"run1_object_phase_deviation.{kind}" in {path.name for path in export(run, kind, tmp_path / kind)}
    (path,) = export(run, "py4dstem", tmp_path)
    with h5py.File(path, "r") as file:
        data = file["ptylive/phase_deviation/data"]
        assert (data.shape, data.attrs["units"]) == ((20, 24), "rad")
        assert data[1, 1] == np.float32(0.01)


def test_a_folder_never_mixes_two_runs(tmp_path, monkeypatch):
    """A full disk leaves the earlier export as it was; the next one removes arrays that its run does not have."""
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in export(write_results(tmp_path / "a.h5"), "pypty", out)}
    assert len(before) == 7
    other = write_results(tmp_path / "b.h5", slices=1)
    other = replace(other, refined={"tilts": other.refined["tilts"]})
    written = []

    def full(path, array):
        written.append(path)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_npy(path, array)

    monkeypatch.setattr(pypty, "write_npy", full)
    with pytest.raises(OSError, match=r"No space left on device.*co\.npy"):
        export(other, "pypty", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "notes.npy").touch()
    assert sorted([*export(other, "pypty", out), out / "notes.npy"]) == sorted(out.iterdir())
    assert set(before) - {path.name for path in out.iterdir()} == {"cb.npy", "cs.npy"}
    assert np.load(out / "co.npy").shape[2] == 1


def test_arrays_that_are_not_from_an_export_stay(run, tmp_path):
    (tmp_path / "cb.npy").touch()
    export(replace(run, refined={}), "pypty", tmp_path)
    assert (tmp_path / "cb.npy").exists()
