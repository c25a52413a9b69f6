import h5py
import numpy as np
import pytest

from ptylive.engine.larbed import larbed_file
from ptylive.schema.errors import InputFileError
from tests.engine.larbed.test_inversion import outcome


def test_what_is_written_is_a_series_again(tmp_path):
    found, path = outcome(), tmp_path / "out.h5"
    larbed_file.write(path, found, {"seed": 3})
    assert larbed_file.has_series(path)
    series = larbed_file.read_series(path)
    assert np.array_equal(series.counts, found.series.counts)
    assert np.array_equal(series.hk, found.series.hk)
    assert (series.raster, series.electrons) == ((5, 5), 1e6)
    assert np.array_equal(series.cell_A, found.series.cell_A)
    with h5py.File(path) as file:
        group = file["larbed"]
        assert group.attrs["thickness_A"] == 96.0
        assert group["potential_V"].shape == (128, 128)
        assert group["structure_factors"].dtype.names == larbed_file.COLUMNS
        assert group["residual"].shape == (25,)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda group: group.__delitem__("hk"), "lacks hk"),
        (lambda group: group.attrs.__delitem__("cell_A"), "attributes cell_A"),
        (lambda group: group["measured"].__setitem__((0, 0), np.nan), "not numbers"),
        (lambda group: group["hk"].__setitem__(0, (1, 1)), "listed twice"),
        (lambda group: group["hk"].__setitem__(0, (99, 1)), "beyond the order"),
        (lambda group: group["tilts_mrad"].__setitem__(0, (999, 1)), "300 mrad"),
        (lambda group: group.attrs.__setitem__("energy_eV", -1.0), "no energy"),
        (lambda group: group.attrs.__setitem__("raster", (4, 5)), "raster"),
    ],
)
def test_bad_files_are_refused_in_a_line(tmp_path, change, said):
    path = tmp_path / "out.h5"
    larbed_file.write(path, outcome(), {})
    with h5py.File(path, "r+") as file:
        change(file["larbed"])
    with pytest.raises(InputFileError, match=said):
        larbed_file.read_series(path)


def test_other_files_hold_no_series(tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    assert not larbed_file.has_series(tmp_path / "text.h5")
