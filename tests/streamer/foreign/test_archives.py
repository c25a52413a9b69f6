"""``.npz``: its only scan, mapped or unpacked within a bound, never unpickled."""

import json
import struct
import zipfile
import zlib

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign import archives
from ptylive.streamer.foreign.archives import open_npz
from ptylive.streamer.foreign.axes_order import ReorderedFrames
from ptylive.streamer.source import open_source
from ptylive.streamer.storage.file_frames import FileFrames

DATA = np.arange(2 * 3 * 4 * 5, dtype="<u2").reshape(2, 3, 4, 5)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("data", [DATA, DATA[0], np.asfortranarray(DATA)], ids=["scan", "series", "fortran"])
def test_the_scan_is_found_among_other_arrays(tmp_path, save, data):
    save(tmp_path / "a.npz", energy=np.float64(2e5), scan=data, mask=np.ones((4, 5)))
    with open_npz(tmp_path / "a.npz") as file:
        assert isinstance(file.frames, FileFrames | ReorderedFrames) == (save is np.savez)
        np.testing.assert_array_equal(file.frames[:], data)
        assert file.notes == ("the array is scan",)


def test_what_lies_beside_it_describes_it(tmp_path):
    np.savez(tmp_path / "a.npz", DATA)
    (tmp_path / "a.json").write_text(json.dumps({"metadata": {"instrument": {"high_tension": 8e4}}}))
    with open_source(tmp_path / "a.npz") as source:
        assert (source.header.optics.energy_eV, source.header.scan.shape) == (8e4, (2, 3))
        np.testing.assert_array_equal(source.frames(np.arange(6)), DATA.reshape(6, 4, 5))


def test_a_compressed_array_beyond_the_bound_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", np.zeros((8, 64, 64), "<u2"))
    monkeypatch.setattr(archives, "MOST_UNPACKED_BYTES", 2**16)
    monkeypatch.setattr(archives, "_unpacked", None)
    with pytest.raises(InputFileError, match="compressed") as caught, open_npz(tmp_path / "a.npz"):
        pass
    assert "do not compress" in caught.value.hint


def lied(path, shape):
    """An archive whose array claims another shape than it has."""
    np.savez(path, DATA)
    content = path.read_bytes().replace(b"(2, 3, 4, 5)", shape)
    with zipfile.ZipFile(path) as archive:
        old = archive.infolist()[0].CRC
    at = content.index(b"\x93NUMPY")
    new = zlib.crc32(content[at : at + 128 + DATA.nbytes])
    path.write_bytes(content.replace(struct.pack("<I", old), struct.pack("<I", new)))


def named(path, **arrays):
    np.savez(path, **arrays)


def pickled(path):
    np.savez(path, np.array([[[{"a": 1}]]], dtype=object), allow_pickle=True)


def cut(path):
    np.savez(path, DATA)
    path.write_bytes(path.read_bytes()[:-10])


def flipped(path):
    np.savez_compressed(path, DATA)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "not a complete archive"),
        (lambda path: path.write_bytes(b""), "not a complete archive"),
        (cut, "not a complete archive"),
        (flipped, "a.npz"),
        (pickled, "Python objects"),
        (lambda path: lied(path, b"(2, 3, 4, 4)"), "a different size"),
        (lambda path: lied(path, b"(2, 3, 4, 9)"), "a different size"),
        (lambda path: named(path, a=DATA, b=DATA), "2 arrays of three or four axes"),
        (lambda path: named(path, a=DATA[0, 0]), "no array of three or four axes"),
        (lambda path: named(path, a=DATA[:0]), "0 x 3 x 4 x 5"),
        (named, "no array"),
    ],
)
def test_a_faulty_archive_is_one_line(tmp_path, make, says):
    make(tmp_path / "a.npz")
    with pytest.raises(InputFileError, match=says) as caught, open_npz(tmp_path / "a.npz"):
        pass
    assert "\n" not in caught.value.line()


def test_a_member_under_a_password_is_not_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", DATA)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputFileError, match="encrypted"), open_npz(tmp_path / "a.npz"):
        pass
