"""Figures that a batch shows for a finished scan."""

import io

import numpy as np
import pytest
from PIL import Image
from stored_runs import write_results

from ptylive.application.batch.figures import MAP, OBJECT, SIDE_PX, Figures, draw, thumbnail
from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, InputFileError, LiveMap


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "a_results.h5"
    write_results(path)
    rng = np.random.default_rng(1)
    maps = [
        LiveMap(name, rng.normal(size=(6, 7)).astype(np.float32), "rad", (0.5, 0.5), 42, name)
        for name in ("idpc", "obf")
    ]
    write_maps(path, maps, np.ones((6, 7), bool), Calibration(), {"version": "1"})
    return path


def test_map_and_phase_are_drawn_on_one_field(results, tmp_path):
    assert draw(results, "obf", "run1", tmp_path, "a") == Figures("obf", None)
    sizes = []
    for kind in (MAP, OBJECT):
        with Image.open(io.BytesIO(thumbnail(tmp_path, "a", kind).read_bytes())) as picture:
            sizes.append(picture.size)
    assert sizes[0] == sizes[1] and max(sizes[0]) == SIDE_PX


def test_the_first_map_stands_in_for_one_that_was_not_made_and_its_limit_is_told(results, tmp_path):
    import h5py

    with h5py.File(results, "r+") as file:
        file["maps/idpc"].attrs["information_limit_A"] = 0.75
    assert draw(results, "wdd_phase", "run1", tmp_path, "a") == Figures("idpc", 0.75)


def test_a_results_file_without_maps_has_nothing_to_show(tmp_path):
    path = tmp_path / "b_results.h5"
    write_results(path)
    assert draw(path, "obf", "run1", tmp_path, "b") == Figures("", None)


def test_a_damaged_results_file_is_an_error_in_a_line(tmp_path):
    (tmp_path / "c_results.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputFileError, match="c_results"):
        draw(tmp_path / "c_results.h5", "obf", "run1", tmp_path, "c")
