"""Results saved by other programs themselves (tests/peers/write_earlier_results.py), recognised by their content."""

import h5py
import numpy as np
import pytest
from earlier_scans import FIXTURES, MADE, Truth, judge, simulated
from quick_first import quick_first
from stored_runs import write_results

from ptylive.engine.earlier_results.formats import read_earlier
from ptylive.schema import InputFileError


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return Truth(simulated(tmp_path_factory.mktemp("earlier") / "scan.h5"))


@pytest.mark.parametrize("name", MADE)
def test_a_result_lies_where_the_specimen_does(name, truth):
    judge(FIXTURES / name, truth)


def test_a_file_of_ours_is_read_too(tmp_path):
    run = write_results(tmp_path / "results.h5")
    found = read_earlier(tmp_path / "results.h5")
    assert found.program == "ptylive"
    assert found.in_our_frame
    np.testing.assert_array_equal(found.object, run.object)


def test_what_is_not_known_is_one_line(tmp_path):
    with h5py.File(tmp_path / "else.h5", "w") as file:
        file["something"] = np.ones(3)
    (tmp_path / "old.pt").write_bytes(b"\x80\x02}q")
    (tmp_path / "v5.mat").write_bytes(b"MATLAB 5.0 MAT-file" + b" " * 200)
    for name, said in (
        ("else.h5", "holds no result in a known format: known formats: ptylive, PtyRAD, fold_slice"),
        ("old.pt", "is pickled, and pickles are never opened"),
        ("v5.mat", "is not an HDF5 file: in MATLAB, use save"),
        ("none.h5", "no such file"),
    ):
        with pytest.raises(InputFileError) as caught:
            read_earlier(tmp_path / name)
        assert said in caught.value.line()


@pytest.mark.parametrize("name", [*MADE, "ptychodus.h5"])
@pytest.mark.parametrize("every", quick_first([False, True]), ids=["one each", "every"])
def test_damaged_files_are_one_line(name, every, tmp_path):
    """Files that are cut off, or with a data set missing, of another type or of an impossibly large shape."""
    raw = (FIXTURES / name).read_bytes()
    for part in (len(raw) // 2, 3000, 600):
        (tmp_path / name).write_bytes(raw[:part])
        with pytest.raises(InputFileError) as caught:
            read_earlier(tmp_path / name)
        assert "\n" not in caught.value.line()
    arrays = []
    with h5py.File(FIXTURES / name) as file:
        needed = ("optimizable_tensors", "object", "probe", "_emd/data", "model_attributes/dx", "sampling")
        file.visititems(lambda at, one: arrays.append(at) if isinstance(one, h5py.Dataset) and one.size else None)
    kinds = (None, "text", np.full((2, 3), np.nan), "huge")
    for number, at in enumerate(one for one in arrays if any(word in one for word in needed)):
        for value in kinds if every else [kinds[number % len(kinds)]]:
            _replaced(tmp_path / name, raw, at, value)
            try:
                read_earlier(tmp_path / name)
            except InputFileError as error:
                assert "\n" not in error.line()


def _replaced(path, raw, at, value):
    path.write_bytes(raw)
    with h5py.File(path, "r+") as file:
        del file[at]
        if isinstance(value, str) and value == "huge":
            file.create_dataset(at, (2**20, 2**20), "f4", chunks=(64, 64))
        elif value is not None:
            file[at] = value


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("phaser.h5", "object/sampling"),
        ("py4dstem.h5", "multi-slice_ptychographic_reconstruction_root/multi-slice_ptychographic_reconstruction/"
                        "metadatabundle/preprocess_metadata/sampling"),
    ],
)  # fmt: skip
def test_pixels_are_square(name, at, tmp_path):
    (tmp_path / name).write_bytes((FIXTURES / name).read_bytes())
    with h5py.File(tmp_path / name, "r+") as file:
        file[at][...] = [0.2, 0.3]
    with pytest.raises(InputFileError, match=r"0\.2 x 0\.3 are not square"):
        read_earlier(tmp_path / name)


def test_ptychodus_counts_from_between_pixels(truth):
    """A file made by ptychodus (tests/peers): a block centred between pixels, a phase that rises with the row."""
    found = read_earlier(FIXTURES / "ptychodus.h5")
    assert (found.program, found.object.shape, found.probe.shape) == ("ptychodus", (1, 2, 40, 50), (1, 2, 16, 16))
    assert found.slice_thickness_A == pytest.approx((5.0, 5.0))
    assert truth.away_A(found.positions_A) < 1e-6
    first = found.positions_A[0]  # the product's (0, 0), relative to our middle pixel 8: half a pixel further
    np.testing.assert_allclose(first, [0.15, 0.15], atol=1e-9)
    row, col = -np.asarray(found.origin_A) / found.pixel_A  # place of (0, 0) in the object, whose centre is (3, 2) Å
    np.testing.assert_allclose([row, col], [19.5 - 10, 24.5 - 2 / 0.3], atol=1e-6)
    np.testing.assert_allclose(np.angle(found.object[0, :, 10, 0]), [0.1, 0.2], atol=1e-6)
