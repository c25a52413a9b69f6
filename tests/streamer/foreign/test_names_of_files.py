"""HDF5 files are recognised by their content, whatever their names."""

import h5py
import numpy as np
import pytest

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_source

DATA = np.arange(3 * 4 * 6 * 5, dtype="<u2").reshape(3, 4, 6, 5)


@pytest.mark.parametrize("name", ["scan.py4dstem", "scan.he5", "scan", "scan.h5.bak", "scan.tmp"])
@pytest.mark.parametrize("data_set", ["dp", "root/cube/data", "data"])
def test_an_hdf5_file_of_any_name_is_read_by_its_content(tmp_path, name, data_set):
    """Regression: the advice to link the patterns to the name dp did not help where the name ended unusually."""
    with h5py.File(tmp_path / name, "w") as file:
        file[data_set] = DATA
        if data_set.startswith("root"):
            file.attrs["emd_group_type"] = "root"
    with open_source(tmp_path / name) as source:
        np.testing.assert_array_equal(source.frames(np.arange(12)), DATA.reshape(12, 6, 5))


@pytest.mark.parametrize("name", ["scan.seq", "scan.dat", "scan.zip", "scan"])
def test_what_nobody_reads_says_what_opens(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(2000))
    with pytest.raises(InputFileError, match="is not an HDF5 file") as caught, open_source(tmp_path / name):
        pass
    assert "docs/files.md" in caught.value.hint
    assert "numpy.save" in caught.value.hint
