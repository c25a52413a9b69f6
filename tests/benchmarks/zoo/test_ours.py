"""What ours is told about a scan of the zoo."""

import h5py
import numpy as np
import pytest

from benchmarks.zoo.ours import WAYS, thickness_settings


@pytest.mark.parametrize(
    ("way", "slices", "thickness_A", "told"),
    [
        ("ours", 3, 41.26, ["num_slices=3", "total_thickness_A=41.3"]),
        ("ours", 1, 30.0, []),
        ("ours-thickness", 3, 41.26, ["total_thickness_A=41.3"]),
        ("ours-thickness", 1, 30.0, ["total_thickness_A=30.0"]),
        ("ours-thickness", 1, 0.0, []),
        ("ours-untold", 3, 41.26, []),
        ("ours-blind", 3, 41.26, []),
    ],
)
def test_how_much_of_the_depth_a_way_tells(tmp_path, way, slices, thickness_A, told):
    assert way in WAYS
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        truth = file.create_group("truth")
        truth["slices"] = np.zeros((slices, 2, 2))
        truth.attrs["thickness_A"] = thickness_A
    assert thickness_settings(way, tmp_path / "scan.h5") == told
