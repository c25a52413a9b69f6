"""Patterns of every type that numpy writes for counts: the same maps, or one line that names the type."""

import h5py
import hdf5plugin
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_array, open_source
from ptylive.streamer.storage.pixel_types import READ_AS, readable
from ptylive.streamer.storage.scan_file import ScanFile

COUNTS = np.random.default_rng(3).integers(0, 2, (2, 3, 8, 8))


@pytest.mark.parametrize("stored", [*READ_AS, "<u2", ">u4"])
def test_counts_are_read_as_they_are(stored, tmp_path) -> None:
    frames = COUNTS.astype(stored)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", data=frames, chunks=(1, 1, 8, 8), **hdf5plugin.Bitshuffle(cname="lz4"))
    np.save(tmp_path / "a.npy", frames)
    for opened in (open_source(tmp_path / "a.h5"), open_source(tmp_path / "a.npy"), open_array(frames)):
        with opened as source:
            read = source.frames(np.arange(6))
            assert read.dtype == np.dtype(source.header.detector.dtype).newbyteorder("=")
            np.testing.assert_array_equal(read, COUNTS.reshape(6, 8, 8))
            told = [note for note in source.notes if note.startswith("pixels are ")]
            assert told == ([] if stored in ("<u2", ">u4") else [_note(stored)])
            assert not (source.stores_bslz4 and told)  # otherwise replays send the bytes of another type


def _note(stored: str) -> str:
    return f"pixels are {np.dtype(stored).name} ({stored}): read as {np.dtype(READ_AS[stored]).name}"


def test_whole_numbers_are_exact() -> None:
    large = np.full((1, 1, 4, 4), 2**53 - 1)
    with open_array(large) as source:
        assert int(source.frames(np.arange(1))[0, 0, 0]) == 2**53 - 1


@pytest.mark.parametrize("stored", READ_AS)
def test_any_part_has_the_type_that_is_told(stored) -> None:
    file = readable(ScanFile(COUNTS.astype(stored)))
    assert file.frames.dtype == file.frames[0].dtype == np.dtype(READ_AS[stored])
    assert file.frames.shape == COUNTS.shape


@pytest.mark.parametrize("stored", ["c8", "U3", "M8[s]"])
def test_what_counts_nothing_is_refused_by_name(stored) -> None:
    with pytest.raises(InputFileError, match="frames have the type"), open_array(COUNTS.astype(stored)):
        pass
