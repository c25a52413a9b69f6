"""Files of other programs: what is read, in which units, and one clear line for what is not."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from shared_data import vendor_file

from ptylive.schema import InputFileError
from ptylive.streamer.foreign import rosetta, units
from ptylive.streamer.source import open_recording, open_source

DATA = np.arange(4 * 5 * 6 * 6, dtype="<u2").reshape(4, 5, 6, 6)


def read(path: Path, **values: Any) -> Any:
    """Every frame of a file, and its header."""
    with open_source(path, values) as source:
        frames = np.concatenate([batch.frames for batch in source.batches(3)])
        return frames, source.header, source.notes


def fault_of(path: Path) -> str:
    """The one line about a file that cannot be opened."""
    with pytest.raises(InputFileError) as caught, open_source(path):
        pass
    assert caught.value.hint
    assert "\n" not in caught.value.line()
    assert str(path.parent) in str(caught.value)
    return caught.value.line()


@pytest.mark.parametrize(
    ("convert", "value", "unit", "wanted"),
    [
        (units.length_A, 0.1, "nm", 1.0),
        (units.length_A, 1, "µm", 1e4),
        (units.length_A, 2, "Å", 2.0),
        (units.length_A, 2, b"A", 2.0),
        (units.length_A, 3e-10, "m", 3.0),
        (units.length_A, 1, "pixels", None),
        (units.length_A, -1, "nm", None),
        (units.length_A, "wide", "nm", None),
        (units.length_A, float("nan"), "nm", None),
        (units.frequency_invA, 10, "1/nm", 1.0),
        (units.frequency_invA, 0.3, "A^-1", 0.3),
        (units.frequency_invA, 0.3, "1/Å", 0.3),
        (units.frequency_invA, 10, "nm^-1", 1.0),
        (units.frequency_invA, 10, "nm⁻¹", 1.0),
        (units.frequency_invA, 10, "nm", None),
        (units.angle_mrad, 0.02, "rad", 20.0),
        (units.angle_mrad, 1, "deg", 17.453293),
        (units.angle_mrad, 1, None, None),
    ],
)
def test_units(convert: Callable[[Any, Any], float | None], value: Any, unit: Any, wanted: float | None) -> None:
    assert convert(value, unit) == (None if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize("shape", [(4, 5, 6, 6), (20, 6, 6)])
def test_a_npy_file_is_read_with_a_note_on_its_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.npy"
    np.save(path, DATA.reshape(shape))
    frames, header, notes = read(path)
    np.testing.assert_array_equal(frames, DATA.reshape(20, 6, 6))
    assert header.scan.shape == ((4, 5) if len(shape) == 4 else None)
    assert "scan_shape is not given" in notes[-1]
    assert read(path, scan_shape=(4, 4), flyback_frames=1)[1].scan.frames == 20


def test_a_pypty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data"] = DATA.reshape(20, 6, 6).astype(np.float32)
    frames, header, _ = read(path, scan_shape=(4, 5))
    np.testing.assert_array_equal(frames, DATA.reshape(20, 6, 6))
    assert header.scan.shape == (4, 5)
    assert "--set scan_shape" in read(path)[2][0]


NION = {
    "spatial_calibrations": [
        {"offset": 0, "scale": 0.02, "units": "nm"},
        {"offset": 0, "scale": 0.02, "units": "nm"},
        {"offset": -3, "scale": 1.5, "units": "mrad"},
        {"offset": -3, "scale": 1.5, "units": "mrad"},
    ],
    "metadata": {
        "hardware_source": {"autostem": {"high_tension_v": 60000}, "exposure": 0.001, "convergence_angle_rad": 0.033},
        "scan": {"scan_size": [4, 5], "fov_nm": 1.0},
    },
}


def test_nion_metadata_beside_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    (tmp_path / "a.json").write_text(json.dumps(NION))
    for name in ("a.npy", "a.json"):
        frames, header, notes = read(tmp_path / name)
        np.testing.assert_array_equal(frames, DATA.reshape(20, 6, 6))
        assert (header.scan.shape, header.scan.step_A, header.scan.dwell_time_us) == (
            (4, 5),
            pytest.approx((0.2, 0.2)),
            1000,
        )
        assert (header.optics.energy_eV, header.optics.convergence_semiangle_mrad) == (60e3, 33.0)
        assert header.detector.pixel_mrad == 1.5
        assert "metadata of a.json" in notes[0]


def test_nion_metadata_beside_a_pypty_file(tmp_path: Path) -> None:
    """Three axes: the scan's size and field of view are in the metadata."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = DATA.reshape(20, 6, 6)
    (tmp_path / "a.json").write_text(json.dumps({"metadata": NION["metadata"]}))
    _, header, _ = read(tmp_path / "a.json")
    assert (header.scan.shape, header.scan.step_A) == ((4, 5), (2.0, 2.0))
    assert header.detector.pixel_mrad is None


def test_a_py4dstem_file_is_read_with_its_calibration(tmp_path: Path) -> None:
    frames, header, _ = read(vendor_file("py4DSTEM_size2x3x4x5.h5"))
    with h5py.File(vendor_file("py4DSTEM_size2x3x4x5.h5")) as file:
        np.testing.assert_array_equal(frames, file["datacube_root/datacube/data"][()].reshape(6, 4, 5))
    assert (header.scan.shape, header.detector_shape) == ((2, 3), (4, 5))
    assert header.scan.step_A == pytest.approx((1.26796875, 1.26796875))
    assert header.detector.pixel_invA == pytest.approx(0.0442515666)


def test_older_emd_counts_its_axes_from_one(tmp_path: Path) -> None:
    path = tmp_path / "old.emd"
    with h5py.File(path, "w") as file:
        file.attrs["version_major"] = 0
        group = file.create_group("4DSTEM_experiment/data/datacubes/datacube_0")
        group["data"] = DATA
        for n, (size, step, unit) in enumerate(((4, 0.1, "nm"), (5, 0.1, "nm"), (6, 0.2, "A^-1"), (6, 0.2, "A^-1")), 1):
            group[f"dim{n}"] = np.arange(size) * step
            group[f"dim{n}"].attrs["units"] = unit
    _, header, _ = read(path)
    assert (header.scan.shape, header.scan.step_A, header.detector.pixel_invA) == (
        (4, 5),
        pytest.approx((1.0, 1.0)),
        0.2,
    )


def dectris_series(folder: Path, *, frames: Any = None, energy: float = 200e3) -> Path:
    """A master and two data files of 12 and 8 frames."""
    frames = DATA.reshape(20, 6, 6) if frames is None else frames
    with h5py.File(folder / "s_master.h5", "w") as master:
        for n, part in enumerate((frames[:12], frames[12:]), 1):
            name = f"s_data_{n:06d}.h5"
            with h5py.File(folder / name, "w") as file:
                file.create_dataset(
                    "entry/data/data", data=part, chunks=(1, *part.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
                )
            master[f"entry/data/data_{n:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
        specific = master.create_group("entry/instrument/detector/detectorSpecific")
        specific["photon_energy"] = energy
        specific["pixel_mask"] = np.eye(6, dtype=np.uint32)
        master["entry/instrument/detector/frame_time"] = 1e-4
        master["entry/instrument/detector/saturation_value"] = 3910
    return folder / "s_master.h5"


def test_a_dectris_series_of_two_files(tmp_path: Path) -> None:
    path = dectris_series(tmp_path)
    with open_source(path, {"scan_shape": (4, 5)}) as source:
        np.testing.assert_array_equal(source.frames(np.arange(20)), DATA.reshape(20, 6, 6))
        np.testing.assert_array_equal(source.frames(np.array([3, 11, 12])), DATA.reshape(20, 6, 6)[[3, 11, 12]])
        assert source.stores_bslz4
        with h5py.File(tmp_path / "s_data_000002.h5") as file:
            assert source.stored_pattern(13) == file["entry/data/data"].id.read_direct_chunk((1, 0, 0))[1]
        assert source.header.optics.energy_eV == 200e3
        assert source.header.detector.saturation_value == 3910
        assert source.header.scan.dwell_time_us == pytest.approx(100)
        assert source.header.arrays["bad_pixel_mask"].sum() == 6
    frames, _, notes = read(tmp_path / "s_data_000002.h5")
    assert len(frames) == 8
    assert "scan_shape" in notes[0]


def linked_elsewhere(folder: Path) -> Path:
    path = dectris_series(folder)
    with h5py.File(path, "a") as master:
        del master["entry/data/data_000002"]
        master["entry/data/data_000002"] = h5py.ExternalLink("../other/s_data_000002.h5", "/entry/data/data")
    return path


def without_second_file(folder: Path) -> Path:
    path = dectris_series(folder)
    (folder / "s_data_000002.h5").unlink()
    return path


def text(name: str, content: str = "hello") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def two_cubes(folder: Path) -> Path:
    with h5py.File(folder / "a.emd", "w") as file:
        file.attrs["emd_group_type"] = "root"
        file["one/data"], file["two/data"] = DATA, DATA
    return folder / "a.emd"


def objects(folder: Path) -> Path:
    np.save(folder / "a.npy", np.array([{"no": "pickles"}]), allow_pickle=True)
    return folder / "a.npy"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none.npy", "no such file"),
        (lambda folder: folder / "none.mib", "no such file"),
        (lambda folder: folder / "none.json", "no such file"),
        (text("a.npy"), "not an array file"),
        (objects, "not an array file"),
        (text("a.json", "{}"), "no frames next to it"),
        (text("a.mib"), "RosettaSciIO cannot read it"),
        (text("a.hspy"), "RosettaSciIO cannot read it"),
        (text("a.blo"), "RosettaSciIO cannot read it"),
        (text("a.xml", "<root/>"), "RosettaSciIO cannot read it"),
        (text("a.raw"), "no .xml file next to it"),
        (text("a.txt"), "is not an HDF5 file"),
        (linked_elsewhere, "put the data files next to their master file"),
        (without_second_file, "s_data_000002.h5 is missing"),
        (two_cubes, "2 data cubes"),
    ],
)
def test_every_fault_is_one_line_with_file_and_remedy(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    assert says in fault_of(make(tmp_path))


def test_an_array_of_two_axes_is_no_scan(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 5)))
    assert "the array is 5 x 5" in fault_of(tmp_path / "a.npy")


def test_recording_folders_are_read_natively_only(tmp_path: Path) -> None:
    """A master among recordings must not make the server read other files."""
    with pytest.raises(InputFileError, match="no data set /data"), open_recording(dectris_series(tmp_path)):
        pass


def test_without_rosettasciio_the_remedy_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.mib").write_bytes(b"MQ1")
    code = (
        "import sys; sys.modules['rsciio'] = None\n"
        "from pathlib import Path\n"
        "from ptylive.schema import InputFileError\n"
        "from ptylive.streamer.source import open_source\n"
        "try:\n    open_source(Path(sys.argv[1])).__enter__()\n"
        "except InputFileError as error:\n    print(error.line())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.mib"], capture_output=True, text=True, env=dict(os.environ)
    )
    assert "needs RosettaSciIO" in done.stdout
    assert "pip install 'ptylive[import]'" in done.stdout


def hyperspy_signal(path: Path) -> None:
    """A file as HyperSpy writes it, by RosettaSciIO's own writer."""
    from importlib import import_module

    names = (("y", "nm", 0.05, True), ("x", "nm", 0.05, True), ("ky", "1/nm", 0.4, False), ("kx", "1/nm", 0.4, False))
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": name,
            "units": unit,
            "scale": scale,
            "offset": 0.0,
            "size": size,
            "navigate": navigate,
            "is_binned": False,
            "index_in_array": n,
        }
        for n, ((name, unit, scale, navigate), size) in enumerate(zip(names, DATA.shape, strict=True))
    ]
    beam = {"TEM": {"beam_energy": 300.0, "convergence_angle": 20.0}}
    signal = {
        "data": DATA,
        "axes": axes,
        "metadata": {
            "General": {"title": "t"},
            "Signal": {"signal_type": "electron_diffraction"},
            "Acquisition_instrument": beam,
        },
        "original_metadata": {},
        "tmp_parameters": {},
        "attributes": {"_lazy": False, "ragged": False},
        "learning_results": {},
        "models": {},
        "package_info": {"package": "hyperspy", "package_version": "2.0"},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr 2 announces zarr 3
        import_module(f"rsciio.{path.suffix[1:]}").file_writer(str(path), signal)


@pytest.mark.parametrize("suffix", [".hspy", ".zspy", ".hdf5"])
def test_hyperspy_files_are_read_with_their_axes(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("rsciio")
    if suffix == ".zspy":
        pytest.importorskip("zarr", reason="RosettaSciIO's zarr cannot be had for this Python")
    written = tmp_path / ("a.zspy" if suffix == ".zspy" else "a.hspy")
    hyperspy_signal(written)  # .hdf5: the name of HyperSpy's files before version 1.2
    frames, header, _ = read(written.rename(tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(frames, DATA.reshape(20, 6, 6))
    assert (header.scan.shape, header.scan.step_A) == ((4, 5), pytest.approx((0.5, 0.5)))
    assert (header.optics.energy_eV, header.optics.convergence_semiangle_mrad) == (300e3, 20.0)
    assert header.detector.pixel_invA == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("no_zarr", "named", "remedy"),
    [((3, 0), "cannot be installed on Python 3.", "hs.load('a.zspy').save('a.hspy')"), ((4, 0), "zarr", "pip install")],
    ids=["a Python without zarr", "any other"],
)
def test_a_hint_for_zspy_can_be_followed(
    tmp_path: Path, monkeypatch: Any, no_zarr: Any, named: str, remedy: str
) -> None:
    pytest.importorskip("rsciio")
    pytest.importorskip("zarr" if no_zarr > sys.version_info[:2] else "rsciio", reason="no zarr for this Python")
    (tmp_path / "a.zspy").mkdir()
    monkeypatch.setattr(rosetta, "NO_ZARR", no_zarr)
    for module in [name for name in sys.modules if name.split(".")[0] == "zarr" or name.startswith("rsciio.zspy")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "zarr", None)  # so that importing it fails
    with pytest.raises(InputFileError, match=r"zarr|numcodecs") as caught:
        read(tmp_path / "a.zspy")
    assert named in str(caught.value)
    assert remedy in caught.value.hint


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "shape", "detector", "sums"),
    [
        ("001_4x2_6bit.mib", (2, 4), (256, 256), 898057),
        ("001_4x2_6bit.hdr", (2, 4), (256, 256), 898057),
        ("002_4x2_6bit_roi128.mib", (2, 4), (128, 256), 773973),
        ("empad_map4x4.xml", (4, 4), (128, 128), 174289),
        ("scan_x4_y4.raw", (4, 4), (128, 128), 174289),
        ("nanomegas_test1.blo", (3, 2), (144, 144), 1712297),
        ("test_00_master.h5", (4, 4), (192, 192), 0),
    ],
)
def test_samples_of_vendors_open(name: str, shape: tuple[int, int], detector: tuple[int, int], sums: int) -> None:
    pytest.importorskip("rsciio")
    frames, header, _ = read(vendor_file(name))
    assert (header.scan.shape, header.detector_shape) == (shape, detector)
    assert len(frames) == shape[0] * shape[1]
    assert frames[:2].sum() == sums


@pytest.mark.data
def test_what_the_samples_say_of_the_microscope() -> None:
    pytest.importorskip("rsciio")
    arms = {
        name: read(vendor_file(name))[1] for name in ("empad_map4x4.xml", "nanomegas_test1.blo", "test_00_master.h5")
    }
    assert arms["empad_map4x4.xml"].optics.energy_eV == 300e3
    assert arms["nanomegas_test1.blo"].scan.step_A == (128.0, 128.0)
    assert arms["nanomegas_test1.blo"].optics.energy_eV == 200e3
    assert arms["test_00_master.h5"].optics.energy_eV == 300e3
    assert arms["test_00_master.h5"].scan.step_A == pytest.approx((1.391521, 1.391521))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "says"),
    [("merlin_raw_1bit_9frames.mib", "RAW MIB data not supported"), ("test_00.h5", "no data set /data")],
)
def test_samples_that_do_not_open_say_why(name: str, says: str) -> None:
    pytest.importorskip("rsciio")
    assert says in fault_of(vendor_file(name))


@pytest.mark.data
def test_the_guessed_scan_shape_of_a_merlin_file_can_be_overruled() -> None:
    pytest.importorskip("rsciio")
    assert read(vendor_file("001_4x2_6bit.mib"), scan_shape=(4, 2))[1].scan.shape == (4, 2)
