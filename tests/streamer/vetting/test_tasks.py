"""Tasks of a file worker on scan files, run here: workers may write no files, so nothing can record what they run."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from stream_tools import make_frames, make_header, stored_recording

from ptylive.schema import InputFileError
from ptylive.streamer.marks import marks_of_frames
from ptylive.streamer.vetting import tasks
from ptylive.streamer.wire import FrameLayout
from ptylive.streamer.wire.armmap import arm_from_map


@pytest.fixture
def header():
    return make_header()


@pytest.fixture
def stored(tmp_path, header):
    """A recording without frames 10 to 19."""
    return stored_recording(tmp_path, header, make_frames(header), slice(10, 20))


def test_a_recording_is_described_by_its_header_and_what_arrived(stored, header):
    said = tasks.describe_recording(stored)
    got, problems = arm_from_map(said["arm"], said["parts"])
    assert (got.uid, got.scan, got.optics, list(problems)) == (header.uid, header.scan, header.optics, [])
    received = np.unpackbits(said["received"], count=header.frames).astype(bool)
    assert np.flatnonzero(~received).tolist() == list(range(10, 20))


def test_of_a_whole_recording_nothing_is_said_to_be_missing(tmp_path, header):
    assert tasks.describe_recording(stored_recording(tmp_path, header, make_frames(header)))["received"] is None


def test_marks_are_those_of_the_frames(stored, header):
    expected = marks_of_frames(make_frames(header), FrameLayout.of(header), exact=True)
    expected[10:20] = 0
    np.testing.assert_array_equal(tasks.marks(stored, exact=True), expected)
    with h5py.File(stored, "a") as file:
        del file["metadata/frame_marks"]
    assert tasks.marks(stored, exact=True).shape == (0,)


def test_sums_are_taken_from_the_frames_themselves(stored, header):
    expected = marks_of_frames(make_frames(header), FrameLayout.of(header), exact=False)
    expected[10:20] = 0
    np.testing.assert_array_equal(tasks.marks(stored, exact=False), expected)


def test_frames_come_in_pieces_without_those_that_are_missing(stored, header):
    got, number = {}, 0
    while number is not None:
        part = tasks.frames(stored, number, 7 * 8 * 8 * 2)
        assert len(part["index"]) <= 7
        got |= dict(zip(part["index"].tolist(), part["frames"], strict=True))
        number = part["next"]
    wanted = make_frames(header)
    assert sorted(got) == [n for n in range(header.frames) if not 10 <= n < 20]
    assert all((got[n] == wanted[n]).all() for n in got)
    assert len(tasks.frames(stored, 0, 1)["index"]) == 1, "a frame larger than a piece is a piece"


def test_what_can_be_looked_through_is_and_other_formats_are_left_alone(stored, tmp_path):
    tasks.walk(stored)
    (tmp_path / "note.txt").write_text("no HDF5")
    tasks.walk_hdf5(tmp_path / "note.txt")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_dataset("a/b", data=np.zeros((4, 4)), chunks=(2, 2)).attrs["unit"] = "nm"
    tasks.walk(tmp_path / "other.h5")  # not a scan: the code that opens it reports that better


def test_a_file_of_more_objects_than_anybody_writes_is_refused(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for n in range(5):
            file.create_group(f"g{n}")
    monkeypatch.setattr(tasks, "MAX_OBJECTS", 4)
    with pytest.raises(InputFileError, match="holds more than 4 objects"):
        tasks.walk_hdf5(Path(tmp_path / "many.h5"))
