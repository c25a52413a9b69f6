import errno
import resource
import signal
import sys

import numpy as np
import pytest

from ptylive.schema import MetadataError
from ptylive.schema.files.npy import read_npy, write_npy


@pytest.mark.parametrize("dtype", [np.float32, np.complex128, bool])
def test_what_is_written_is_read(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype).transpose(1, 0, 2)
    assert write_npy(tmp_path / "a.npy", array) == tmp_path / "a.npy"
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_file_that_cannot_grow_is_an_error_with_its_number(tmp_path, monkeypatch):
    (tmp_path / "a.npy").write_bytes(b"earlier")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # what is imported now would be kept incomplete
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_npy(tmp_path / "a.npy", np.zeros(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "a.npy").read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.npy"]


def test_an_array_is_read_as_numbers(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.int16).reshape(2, 3))
    for mapped in (False, True):
        found = read_npy("start", str(tmp_path / "a.npy"), "hint", dtype=np.float64, mapped=mapped)
        np.testing.assert_array_equal(found, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.npy", None, "missing.npy: no such file"),
        ("empty.npy", b"", "No data left in file"),
        ("text.npy", b"1 2 3", "allow_pickle"),
        ("words.npy", np.array(["a", "b"]), "could not convert"),
        ("two.npz", {"a": np.zeros(2)}, "an archive of arrays"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_file_once(tmp_path, name, content, said):
    """Regression: a missing file was named twice, and an empty one and an archive ended in a traceback."""
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(MetadataError, match=said) as caught:
        read_npy("start", str(path), "give an npy file", dtype=np.float64)
    assert str(caught.value).count(name) == 1
    assert str(caught.value).startswith("start ")
    assert caught.value.hint == "give an npy file"
