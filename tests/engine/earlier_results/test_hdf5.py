"""Arrays in files of other programs: pairs are read as complex numbers; external and oversized data are refused."""

import h5py
import numpy as np
import pytest

from ptylive.engine.earlier_results import hdf5
from ptylive.schema import InputFileError, MetadataError

PAIR = np.dtype([("real", "<f4"), ("imag", "<f4")])


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        pairs = np.zeros((2, 3), PAIR)
        pairs["real"], pairs["imag"] = 1, [[0, 1, 2], [3, 4, 5]]
        file["pairs"], file["number"], file["text"] = pairs, np.full((1, 1), 2.5), "words"
        file["linked"] = h5py.ExternalLink("other.h5", "secret")
        file.create_dataset("huge", (2**24, 2**24), "f4", chunks=(64, 64))
        file.create_dataset("large", (2**15, 2**15), "c16", chunks=(64, 64))
        file["nothing"] = h5py.Empty("f4")
    return tmp_path / "a.h5"


def test_matlab_s_complex_numbers(path):
    with hdf5.opened(path) as file:
        found = hdf5.array(file, "pairs")
        assert found.dtype == np.complex64
        np.testing.assert_array_equal(found[1], [1 + 3j, 1 + 4j, 1 + 5j])
        assert hdf5.number_or_none(file, "number") == 2.5
        assert (hdf5.text_or_none(file, "text"), hdf5.text_or_none(file, "number")) == ("words", None)
        assert hdf5.array_or_none(file, "nothing") is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("huge", "has the shape"),
        ("linked", "is stored in another file"),
        ("text", "holds no numbers"),
        ("x", "has no x"),
    ],
)
def test_what_cannot_be_had_is_one_line(path, name, said):
    with pytest.raises(InputFileError, match=said), hdf5.opened(path) as file:
        hdf5.array(file, name)


def test_memory_is_asked_for_before_it_is_taken(path, monkeypatch):
    monkeypatch.setattr("ptylive.engine.memory.available_bytes", lambda: 1e9)
    with pytest.raises(MetadataError, match=r"large of .* would take"), hdf5.opened(path) as file:
        hdf5.array(file, "large")
