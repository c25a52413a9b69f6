import csv

import h5py
import numpy as np
import pytest

from ptylive.application import larbed
from ptylive.engine.larbed import larbed_file
from ptylive.engine.larbed.inversion import LarbedSettings
from ptylive.schema.errors import InputFileError, MetadataError
from tests.engine.larbed.test_inversion import outcome

BRIEF = LarbedSettings((90.0, 100.0), starts=1, first_iterations=2, last_iterations=2)


@pytest.mark.slow
def test_reflections_become_results_table_and_picture(tmp_path):
    larbed_file.write(tmp_path / "in.h5", outcome(), {})
    found, files = larbed.larbed(tmp_path / "in.h5", tmp_path / "out.h5", larbed.TiltGeometry(), BRIEF)
    assert [one.name for one in files] == ["out.h5", "out.csv", "out.png"]
    with files[1].open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == list(larbed_file.COLUMNS)
    assert len(rows) == 1 + 24
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert larbed_file.read_series(files[0]).counts.shape == found.model.shape


def test_tables_of_tilts(tmp_path):
    table = tmp_path / "tilts.csv"
    table.write_text("# row, column\n1, 2\n\n-3.5 4\n")
    assert larbed.read_tilts(table).tolist() == [[1.0, 2.0], [-3.5, 4.0]]
    table.write_text("1, 2\n3\n")
    with pytest.raises(InputFileError, match="line 2"):
        larbed.read_tilts(table)


def test_patterns_need_cell_and_tilts(tmp_path):
    path = tmp_path / "patterns.npy"
    np.save(path, np.ones((4, 5, 16, 16), np.uint16))
    with pytest.raises(MetadataError, match="energy_eV, detector_pixel_mrad"):
        larbed.read(path, larbed.TiltGeometry())
    told = {"energy_eV": 120e3, "detector_pixel_mrad": 1.0}
    with pytest.raises(MetadataError, match="needs the unit cell"):
        larbed.read(path, larbed.TiltGeometry(), told)
    with pytest.raises(MetadataError, match="tilts are not known"):
        larbed.read(path, larbed.TiltGeometry((4.0, 4.0, 90.0)), told)


def test_radians_in_a_cell_are_refused(tmp_path):
    path = tmp_path / "patterns.npy"
    np.save(path, np.ones((4, 5, 16, 16), np.uint16))
    told = {"energy_eV": 120e3, "detector_pixel_mrad": 1.0}
    with pytest.raises(MetadataError, match=r"4,4,1\.5708 is not a valid cell"):
        larbed.read(path, larbed.TiltGeometry((4.0, 4.0, 1.5708), 8.0), told)


def test_only_an_earlier_result_is_replaced(tmp_path):
    earlier, measured, other = tmp_path / "earlier.h5", tmp_path / "measured.h5", tmp_path / "other.h5"
    larbed_file.write(earlier, outcome(), {})
    (tmp_path / "earlier.csv").write_text("")
    with h5py.File(earlier) as source, h5py.File(measured, "w") as file:
        source.copy("larbed", file)
        del file["larbed/structure_factors"]
    with h5py.File(other, "w") as file:
        file["data"] = np.ones((2, 2, 4, 4), np.uint16)
    larbed.check_output(earlier, [measured])
    larbed.check_output(tmp_path / "new.h5", [measured])
    for path in (measured, other):
        with pytest.raises(InputFileError, match=f"{path.name} exists and was not written by ptylive larbed"):
            larbed.check_output(path, [])
    (tmp_path / "text.h5").write_text("1, 2")
    with pytest.raises(InputFileError, match=r"text\.h5"):
        larbed.check_output(tmp_path / "text.h5", [])
    (tmp_path / "new.csv").write_text("1, 2")
    with pytest.raises(InputFileError, match=r"new\.csv exists, and would be written next to"):
        larbed.check_output(tmp_path / "new.h5", [measured])
