"""Patterns in .npy files."""

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.arrays import check_frames, mapped_array, stored_frames

PATTERNS = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("points", [(2, 3), (6,)])
def test_patterns_are_read_in_either_order(tmp_path, order, points):
    np.save(tmp_path / "a.npy", np.asarray(PATTERNS.reshape(*points, 4, 5), order=order))
    frames = stored_frames(tmp_path / "a.npy")
    assert tuple(frames.shape) == (*points, 4, 5)
    np.testing.assert_array_equal(np.asarray(frames[1:2]), PATTERNS.reshape(*points, 4, 5)[1:2])


@pytest.mark.parametrize(
    ("shape", "words"),
    [((), "a single number"), ((4, 5), "4 x 5"), ((1, 2, 3, 4, 5), "1 x 2 x 3 x 4 x 5"), ((0, 4, 5), "0 x 4 x 5")],
)
def test_other_shapes_are_no_scan(tmp_path, shape, words):
    with pytest.raises(InputFileError, match=f"the array is {words}\n"):
        check_frames(tmp_path / "a.npy", shape)


def test_files_that_are_no_arrays_say_why(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, PATTERNS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputFileError, match="is cut short"):
        mapped_array(path)
    path.write_bytes(b"text")
    with pytest.raises(InputFileError, match="is not an array file of numpy"):
        mapped_array(path)
    np.savez(tmp_path / "b.npz", PATTERNS)
    with pytest.raises(InputFileError, match="is an archive of arrays"):
        mapped_array(tmp_path / "b.npz")
    with pytest.raises(InputFileError):
        mapped_array(tmp_path)
