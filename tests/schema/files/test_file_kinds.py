"""Files are named for what their first bytes show them to be."""

import gzip
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from ptylive.schema.files.file_kinds import kind_of


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scan.h5", b"1")


def numpy_s(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (
            lambda path: path.write_bytes(gzip.compress(b"hello")),
            ("a file compressed with gzip", "unpack it with gunzip"),
        ),
        (zipped, ("a zip archive", "unpack it; if numpy.savez wrote it, name it .npz")),
        (numpy_s, ("an array of numpy", "name it .npy")),
        (lambda path: h5py.File(path, "w").close(), ("an HDF5 file", "name it .h5")),
        (lambda path: Image.new("L", (4, 4)).save(path, format="TIFF"), ("a TIFF", "name it .tif")),
        (lambda path: path.write_bytes(bytes(208) + b"MAP "), ("an MRC file", "name it .mrc")),
        (lambda path: path.touch(), ("empty", "is the program that writes it finished? otherwise copy it again")),
        (lambda path: path.write_bytes(b"MAP "), None),
        (lambda path: None, None),
    ],
)
def test_what_the_first_bytes_show(tmp_path, make, kind):
    make(tmp_path / "a.h5")
    assert kind_of(tmp_path / "a.h5") == kind


def test_a_file_of_the_wanted_kind_is_a_damaged_one(tmp_path):
    numpy_s(tmp_path / "a.npy")
    assert kind_of(tmp_path / "a.npy", ".npy") is None
    assert kind_of(tmp_path / "a.npy", ".mrc") == kind_of(tmp_path / "a.npy") == ("an array of numpy", "name it .npy")
