"""Values given for each scan point, assigned to the patterns present: snakes, subsets, parts of the scan."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from ptylive.engine.refine.data.per_point import PLATES, PhasePlates, number_of_parts, parts_of_scan, per_pattern
from ptylive.schema.errors import MetadataError

SNAKE = np.array([0, 1, 2, 5, 4, 3, 6, 7])
"""Points of a 3 x 3 scan in the order of acquisition; the last was lost."""
DATASET = SimpleNamespace(scan_shape=(3, 3), point=SNAKE, patterns=np.zeros((8, 4, 4)))


def test_each_pattern_gets_the_value_of_its_point():
    values = 10.0 * np.arange(18).reshape(9, 2)
    np.testing.assert_array_equal(per_pattern(values, DATASET, "tilts_mrad"), values[SNAKE])
    np.testing.assert_array_equal(per_pattern(values[3:4], DATASET, "tilts_mrad"), np.repeat(values[3:4], 8, axis=0))


@pytest.mark.parametrize("rows", [0, 2, 8, 10])
def test_another_number_of_values_is_refused_by_name(rows):
    with pytest.raises(MetadataError, match=f"tilts_mrad has {rows} entries") as caught:
        per_pattern(np.zeros((rows, 2)), DATASET, "tilts_mrad")
    assert "give one, or one for each of 9 points" in caught.value.line()


@pytest.mark.parametrize(
    ("marker", "parts"),
    [
        ("rows:3", [0, 0, 0, 1, 1, 1, 2, 2]),
        ("columns:3", [0, 1, 2, 2, 1, 0, 0, 1]),
        ("rows:2", [0, 0, 0, 0, 0, 0, 1, 1]),
        ("rows:1", [0] * 8),
        ("squares:2", [0, 0, 1, 1, 0, 0, 2, 2]),
        ((0, 0, 1, 1, 2, 2, 3, 3, 3), [0, 0, 1, 2, 2, 1, 3, 3]),
    ],
)
def test_parts_follow_the_scan_and_not_the_order_of_acquisition(marker, parts):
    assert parts_of_scan(marker, DATASET, "probe_marker").tolist() == parts
    assert max(parts) < number_of_parts(marker, DATASET)


def plates_file(path, shape=(9, 4, 4), name=PLATES):
    rng = np.random.default_rng(0)
    plates = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    with h5py.File(path, "w") as file:
        file[name] = plates
    return plates


def test_plates_are_those_of_the_points_with_their_centre_moved(tmp_path):
    plates = plates_file(tmp_path / "plates.h5")
    found = PhasePlates(tmp_path / "plates.h5", DATASET, 4)[np.array([7, 3, 3, 0])]
    np.testing.assert_array_equal(found, np.fft.ifftshift(plates[[7, 5, 5, 0]], axes=(1, 2)))
    assert found.dtype == np.complex64


@pytest.mark.parametrize(("given", "words"), [({"shape": (8, 4, 4)}, r"shape \(8, 4, 4\)"), ({"name": "x"}, "configs")])
def test_plates_of_another_scan_or_name_are_refused(tmp_path, given, words):
    plates_file(tmp_path / "plates.h5", **given)
    with pytest.raises(MetadataError, match=words):
        PhasePlates(tmp_path / "plates.h5", DATASET, 4)


@pytest.mark.parametrize("content", [None, b"no HDF5"])
def test_a_file_that_is_none_is_refused_by_name(tmp_path, content):
    path = tmp_path / "plates.h5"
    if content:
        path.write_bytes(content)
    with pytest.raises(MetadataError, match=r"phase_plate_in_h5: .*plates\.h5"):
        PhasePlates(path, DATASET, 4)


def test_scans_are_parts_of_several_scans_only():
    joint = SimpleNamespace(scan_shape=(3, 3), scan_of=np.array([0, 0, 1, 1]), scan_names=("a", "b"))
    assert parts_of_scan("scans", joint, "marker").tolist() == joint.scan_of.tolist()
    assert number_of_parts("scans", joint) == 2
    with pytest.raises(MetadataError, match="and there is one"):
        parts_of_scan("scans", SimpleNamespace(scan_shape=(3, 3), scan_of=None), "marker")
