"""Arrays of patterns in MATLAB v7.3 files and under the name dp."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

FLAT = np.arange(12 * 6 * 5, dtype="<u2").reshape(12, 6, 5)
GRID = FLAT.reshape(3, 4, 6, 5)


def write(path, arrays, *, matlab):
    """As MATLAB does: a block of text before the HDF5 file, and reversed axes."""
    with h5py.File(path, "w", userblock_size=512 if matlab else 0) as file:
        for name, values in arrays.items():
            file[name] = values
    if matlab:
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header, source.notes


def test_matlab_s_three_axes_are_turned(tmp_path):
    """(ky, kx, points) in MATLAB is (points, kx, ky) in the file."""
    frames, _, notes = read(write(tmp_path / "a.mat", {"cbed": FLAT.transpose(0, 2, 1)}, matlab=True))
    np.testing.assert_array_equal(frames, FLAT)
    assert any("(ky, kx, points)" in note for note in notes)


def test_matlab_s_four_axes_are_turned(tmp_path):
    """(ky, kx, rows, columns) in MATLAB is (columns, rows, kx, ky) in the file."""
    frames, header, _ = read(write(tmp_path / "a.mat", {"dp": GRID.transpose(1, 0, 3, 2)}, matlab=True))
    np.testing.assert_array_equal(frames, FLAT)
    assert header.scan.shape == (3, 4)


@pytest.mark.parametrize("name", ["a.mat", "a.h5", "a.hdf5"])
def test_what_numpy_wrote_stays_as_it_is(tmp_path, name):
    frames, _, _ = read(write(tmp_path / name, {"dp": FLAT, "lambda": 0.02}, matlab=False))
    np.testing.assert_array_equal(frames, FLAT)


@pytest.mark.parametrize("name", ["a.h5", "a.nxs", "a.mat"])
def test_the_only_array_with_four_axes_is_the_scan(tmp_path, name):
    """Regression: files of h5py, and HyperSpy's NeXus files, had to be changed before they could be opened."""
    arrays = {"entry1/signal/data": GRID, "entry1/images": FLAT, "entry1/x": np.arange(3.0)}
    frames, header, notes = read(write(tmp_path / name, arrays, matlab=False))
    np.testing.assert_array_equal(frames, FLAT)
    assert header.scan.shape == (3, 4)
    assert "patterns read from entry1/signal/data" in notes


@pytest.mark.parametrize("arrays", [{"a": GRID, "b": GRID}, {"a": FLAT}, {"a": GRID, "calibration/C10": 1.0}])
def test_a_scan_is_not_guessed_among_several_arrays_or_results(tmp_path, arrays):
    with pytest.raises(InputFileError, match=r"no data set /data|holds results"):
        read(write(tmp_path / "a.h5", arrays, matlab=False))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": FLAT, "b": FLAT}, r"holds 2 arrays of three or four axes \(a, b\)"),
        ({"a": FLAT[0]}, "holds no arrays of three or four axes"),
        ({"dp": FLAT[0]}, "dp does not hold patterns"),
        ({"dp": FLAT.astype(complex)}, "dp does not hold patterns"),
    ],
)
def test_what_is_no_scan_is_one_line(tmp_path, arrays, said):
    with pytest.raises(InputFileError, match=said):
        read(write(tmp_path / "a.mat", arrays, matlab=True))


def test_matlab_s_older_files_are_one_line(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(InputFileError, match="MATLAB file from before"):
        read(tmp_path / "a.mat")
