"""Frames read from their place in a file: the parts that a mapped array gives, and an error where bytes are gone."""

import os

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.axes_order import ReorderedFrames
from ptylive.streamer.source import open_source
from ptylive.streamer.storage import file_frames
from ptylive.streamer.storage.file_frames import FileFrames

DATA = np.arange(4 * 5 * 6 * 7, dtype=">u2").reshape(4, 5, 6, 7)
PARTS = [np.s_[1], np.s_[-1], np.s_[1, 2], np.s_[0, 1:3], np.s_[3, 4:9], np.s_[2:], np.s_[1:3, 1:4], np.s_[:, 2],
         np.s_[::2], np.s_[2, 3:3], np.s_[4:], np.s_[:, :, 2, 3:6], np.s_[1:3, ::-1, 4:, :2], np.s_[:, 1:4, :, -1],
         np.s_[::-1], np.s_[0, 0, 0, 0], np.s_[:, :, ::-1]]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"header" + DATA.tobytes())
    return tmp_path / "a.raw"


@pytest.mark.parametrize(
    ("short", "near", "together"), [(2**12, 2**14, 2**22), (0, 0, 0), (2**12, 20, 2**22), (99, 99, 50)]
)
@pytest.mark.parametrize("part", PARTS, ids=str)
def test_parts_are_those_of_the_array(path, monkeypatch, part, short, near, together):
    """Whatever is read together with what lies between."""
    for name, value in (("SHORT", short), ("NEAR", near), ("TOGETHER", together)):
        monkeypatch.setattr(file_frames, name, value)
    found = FileFrames(path, DATA.dtype, 6, DATA.shape)[part]
    assert found.dtype == DATA.dtype
    np.testing.assert_array_equal(found, DATA[part])


@pytest.mark.parametrize(("part", "most"), [(np.s_[:, :, :, 2], 1), (np.s_[:, :, 1:3, 4], 1), (np.s_[::-1], 4), (0, 1)])
def test_short_runs_are_read_together(path, monkeypatch, part, most):
    """Regression: each was a read of its own, 40 s for an array of 33 MB in the order of Fortran."""
    reads, read = [], os.preadv
    monkeypatch.setattr(os, "preadv", lambda *given: reads.append(given) or read(*given))
    np.testing.assert_array_equal(FileFrames(path, DATA.dtype, 6, DATA.shape)[part], DATA[part])
    assert len(reads) == most


def test_a_point_beyond_the_end_does_not_exist(path):
    with pytest.raises(IndexError):
        FileFrames(path, DATA.dtype, 6, DATA.shape)[4, 0:2]


def test_bytes_that_are_gone_are_an_error(path):
    frames = FileFrames(path, DATA.dtype, 6, DATA.shape)
    os.truncate(path, 6 + 2 * DATA[:2].size + 11)
    np.testing.assert_array_equal(frames[1], DATA[1])
    for part in (np.s_[2], np.s_[3, 0:2]):
        with pytest.raises(OSError, match="has become shorter"):
            frames[part]


def test_the_file_stays_the_one_that_was_opened(path):
    frames = FileFrames(path, DATA.dtype, 6, DATA.shape)
    path.unlink()
    path.write_bytes(bytes(10_000))
    np.testing.assert_array_equal(frames[2], DATA[2])


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("shape", [(8, 32, 32, 32), (256, 32, 32)])
def test_an_array_in_the_order_of_fortran_is_read_from_its_file(tmp_path, name, shape):
    """Regression: the process ended with a bus error if such a file was cut short while it was read."""
    path, pixels = tmp_path / name, np.asfortranarray(np.random.default_rng(0).integers(0, 9, shape, np.uint16))
    with path.open("wb") as file:
        np.save(file, pixels) if name == "a.npy" else np.savez(file, data=pixels)
    with open_source(path, {} if len(shape) == 4 else {"scan_shape": (8, 32)}) as source:
        assert isinstance(source._file.frames, ReorderedFrames)
        numbers = np.array([3, 4, 5, 200])
        np.testing.assert_array_equal(source.frames(numbers), pixels.reshape(256, 32, 32)[numbers])
        os.truncate(path, 100_000)
        with pytest.raises(InputFileError, match=f"{name}: frame 3, 4 cannot be read"):
            source.frames(np.array([3, 4]))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_an_array_that_is_cut_short_while_it_is_read_is_damaged(tmp_path, name):
    """Regression: the process ended with a bus error."""
    path, pixels = tmp_path / name, np.ones((8, 32, 32, 32), np.uint16)
    with path.open("wb") as file:
        np.save(file, pixels) if name == "a.npy" else np.savez(file, data=pixels)
    with open_source(path) as source:
        os.truncate(path, 100_000)
        assert source.frames(np.arange(40)).all()
        with pytest.raises(InputFileError, match=f"{name}: frame 200, 201 cannot be read"):
            source.frames(np.array([200, 201]))
