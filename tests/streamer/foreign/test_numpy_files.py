"""``.npy`` files: read when needed, never unpickled, with the metadata of a Nion file next to them."""

import json

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.numpy_files import open_npy
from ptylive.streamer.storage.file_frames import FileFrames

DATA = np.arange(2 * 3 * 4 * 4, dtype="<u2").reshape(2, 3, 4, 4)


def test_frames_stay_in_the_file_until_they_are_needed(tmp_path):
    np.save(tmp_path / "a.npy", DATA)
    with open_npy(tmp_path / "a.npy") as file:
        assert isinstance(file.frames, FileFrames)
        assert (file.metadata, file.notes) == ({}, ())
        np.testing.assert_array_equal(file.frames[:], DATA)


def test_what_lies_beside_them_describes_them(tmp_path):
    np.save(tmp_path / "a.npy", DATA)
    (tmp_path / "a.json").write_text(json.dumps({"metadata": {"instrument": {"high_tension": 8e4}}}))
    with open_npy(tmp_path / "a.npy") as file:
        assert file.metadata == {"energy_eV": 80e3}


def pickled(path):
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "make",
    [
        pickled,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\0\xff\xff{"),
        lambda path: np.savez(path.open("wb"), a=DATA),
        lambda path: np.save(path, DATA[0, 0]),
        lambda path: np.save(path, DATA[:0]),
        lambda path: np.save(path, np.float32(1)),
        lambda path: None,
        lambda path: path.mkdir(),
    ],
    ids=["pickled", "empty", "cut", "archive", "two axes", "no frames", "a number", "nothing", "a folder"],
)
def test_what_is_no_scan_is_refused_by_name(tmp_path, make):
    make(tmp_path / "a.npy")
    with pytest.raises(InputFileError, match=r"a\.npy") as caught, open_npy(tmp_path / "a.npy"):
        pass
    assert "\n" not in caught.value.line()
