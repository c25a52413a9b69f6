"""Nion Swift's .ndata and .nhdf, laid out as nionswift 16.16 writes them."""

import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

DATA = np.arange(3 * 4 * 6 * 5, dtype="<f4").reshape(3, 4, 6, 5)
CALIBRATIONS = [{"offset": 0, "scale": scale, "units": unit} for scale, unit in [(0.2, "nm")] * 2 + [(1.5, "mrad")] * 2]
TOLD = {"hardware_source": {"high_tension_v": 60000.0}}


def ndata(path, *, compressed=False, metadata=None, name="data.npy"):
    raw = io.BytesIO()
    np.save(raw, DATA)
    described = {"spatial_calibrations": CALIBRATIONS, "metadata": TOLD} if metadata is None else metadata
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", described if isinstance(described, str) else json.dumps(described))
        archive.writestr(name, raw.getvalue())
    return path


def nhdf(path, *, properties=None, images=1):
    described = {"uuid": "x", "data_source": {"dimensional_calibrations": CALIBRATIONS, "metadata": TOLD}}
    with h5py.File(path, "w") as file:
        file.create_group("index").attrs["1"] = "{}"
        for number in range(images):
            found = file.create_dataset(f"data/{number}", data=DATA if number == 0 else DATA[0, 0])
            found.attrs["properties"] = json.dumps(described) if properties is None else properties
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header


@pytest.mark.parametrize("make", [ndata, lambda path: ndata(path, compressed=True), nhdf, lambda p: nhdf(p, images=3)])
def test_frames_and_calibrations(tmp_path, make):
    name = "a.nhdf" if make(tmp_path / "try").read_bytes()[:4] == b"\x89HDF" else "a.ndata"
    frames, header = read(make(tmp_path / name))
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert header.scan.step_A == pytest.approx((2.0, 2.0))
    assert header.detector.pixel_mrad == pytest.approx(1.5)
    assert header.optics.energy_eV == 60e3


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.ndata", lambda path: ndata(path, metadata="{"), r"its metadata\.json cannot be read"),
        ("a.ndata", lambda path: ndata(path, metadata="[" * 100_000), r"its metadata\.json cannot be read"),
        ("a.ndata", lambda path: ndata(path, name="other.npy"), r"has no data\.npy"),
        ("a.ndata", lambda path: path.write_bytes(b"PK\x03\x04"), "is not a complete archive"),
        ("a.nhdf", lambda path: nhdf(path, properties="{"), "properties of data/0"),
        ("a.nhdf", lambda path: nhdf(path, images=0), "holds 0 items"),
        ("a.nhdf", lambda path: path.write_bytes(b"\x89HDF"), "is not an HDF5 file"),
    ],
)
def test_faulty_files_are_one_line(tmp_path, name, make, said):
    make(tmp_path / name)
    with pytest.raises(InputFileError, match=said) as caught:
        read(tmp_path / name)
    assert "\n" not in caught.value.line()
