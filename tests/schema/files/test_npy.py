import errno
import resource
import signal

import numpy as np
import pytest

from ptylive.schema.files.npy import write_npy


@pytest.mark.parametrize("dtype", [np.float32, np.complex128, bool])
def test_what_is_written_is_read(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype).transpose(1, 0, 2)
    assert write_npy(tmp_path / "a.npy", array) == tmp_path / "a.npy"
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_file_that_cannot_grow_is_an_error_with_its_number(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"earlier")
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
