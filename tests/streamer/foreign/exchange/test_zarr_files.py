"""zarr folders: arrays and groups; objects, filters, huge chunks and newer formats are refused before zarr runs."""

import json

import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

zarr = pytest.importorskip("zarr", reason="the extra `import` is not installed")
DATA = np.arange(3 * 4 * 6 * 5, dtype="<u2").reshape(3, 4, 6, 5)
FORMAT = {"zarr_format": 2} if int(zarr.__version__.split(".")[0]) > 2 else {}


def write(path, inside=""):
    array = zarr.open(str(path / inside), mode="w", shape=DATA.shape, dtype="u2", chunks=(1, 2, 6, 5), **FORMAT)
    array[:] = DATA
    return path


def read(path):
    with open_source(path) as source:
        return source.frames(np.arange(source.frame_count)), source.header


@pytest.mark.parametrize("inside", ["", "a/data"])
def test_an_array_or_the_one_in_a_group(tmp_path, inside):
    frames, header = read(write(tmp_path / "a.zarr", inside))
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA)
    assert header.scan.shape == (3, 4)


def test_bits_are_numbers(tmp_path):
    """Regression: they were refused, although every other format may have them."""
    zarr.open(str(tmp_path / "a.zarr"), mode="w", shape=DATA.shape, dtype="?", chunks=(1, 2, 6, 5), **FORMAT)[:] = (
        DATA % 2 == 1
    )
    frames, header = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(frames.reshape(DATA.shape), DATA % 2)
    assert header.detector.dtype == "|u1"


@pytest.mark.parametrize("nested", [False, True])
def test_chunks_that_are_missing_are_told(tmp_path, nested):
    """A folder that was copied in part reads as empty patterns."""
    separator = {"dimension_separator": "/"} if nested else {}
    path = tmp_path / "a.zarr"
    zarr.open(str(path), mode="w", shape=DATA.shape, dtype="u2", chunks=(1, 2, 6, 5), **FORMAT, **separator)[:] = DATA
    for lost in ((), ("0/1/0/0", "2/0/0/0")):
        for name in lost:
            (path / (name if nested else name.replace("/", "."))).unlink()
        with open_source(path) as source:
            said = "2 of 6 chunks are not in the folder, patterns there are 0: check it"
            assert source.doubts == ((said,) if lost else ())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"dtype": "|O", "filters": [{"id": "pickle"}]}, "not hold plain numbers"),
        ({"filters": [{"id": "pickle"}]}, "not hold plain numbers"),
        ({"compressor": {"id": "pickle"}}, "is compressed with 'pickle'"),
        ({"chunks": [2**10, 2**10, 2**10, 2**10]}, "has chunks of"),
        ({"chunks": [1]}, "shape and chunks do not match"),
        ({"shape": "many"}, "zarray: "),
        ({"zarr_format": 3}, "zarray: "),
        ({"shape": [3, 4], "chunks": [3, 4]}, "holds 0 arrays"),
        ({"shape": [0, 4, 6, 5]}, "the array is 0 x 4"),
    ],
)
def test_what_is_not_read_is_one_line(tmp_path, changed, said):
    told = write(tmp_path / "a.zarr") / ".zarray"
    told.write_text(json.dumps(json.loads(told.read_text()) | changed))
    with pytest.raises(InputFileError, match=said) as caught:
        read(tmp_path / "a.zarr")
    assert "\n" not in caught.value.line()


def test_other_folders_are_one_line(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "three.zarr").mkdir()
    (tmp_path / "three.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "zip.zarr").write_bytes(b"PK")
    for name, said in (
        ("empty", "holds 0 arrays"),
        ("three", "is zarr 3"),
        ("zip", "is not a zarr folder"),
        ("x", "is not a zarr folder"),
    ):
        with pytest.raises(InputFileError, match=said):
            read(tmp_path / f"{name}.zarr")


def test_a_damaged_chunk_is_one_line(tmp_path):
    path = write(tmp_path / "a.zarr")
    (path / "1.0.0.0").write_bytes(b"\x00" * 7)
    with pytest.raises(InputFileError, match=r"cannot be read") as caught:
        read(path)
    assert "\n" not in caught.value.line()
