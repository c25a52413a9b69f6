"""PyPty's NeXus file and its folder of arrays, written by our export and read back."""

import json

import numpy as np
import pytest
from stored_runs import write_results

from ptylive.engine.earlier_results.formats import read_earlier
from ptylive.engine.exports.formats import export
from ptylive.schema import InputFileError


@pytest.fixture
def run(tmp_path):
    return write_results(tmp_path / "results.h5")


def same(found, run):
    assert found.program == "PyPty"
    np.testing.assert_allclose(found.object, run.object, atol=1e-6)
    scale = found.probe[0, 0, 0, 0] / run.probe[0, 0, 0, 0]
    np.testing.assert_allclose(found.probe, run.probe * scale, atol=1e-5)
    assert found.pixel_A == pytest.approx(run.pixel_A)
    np.testing.assert_allclose(found.slice_thickness_A, run.slice_thickness_A)
    np.testing.assert_allclose(found.positions_A, run.positions_A - np.asarray(run.origin_A), atol=1e-6)


def test_the_nexus_file(run, tmp_path):
    (path,) = export(run, "nxs", tmp_path / "out")
    same(read_earlier(path), run)


def test_the_folder_of_arrays(run, tmp_path):
    export(run, "pypty", tmp_path / "out")
    same(read_earlier(tmp_path / "out"), run)


def test_a_folder_needs_its_pixel(run, tmp_path):
    """PyPty itself stores it in params.pkl only."""
    folder = tmp_path / "out"
    export(run, "pypty", folder)
    (folder / "params.json").unlink()
    with pytest.raises(InputFileError) as caught:
        read_earlier(folder)
    assert "params.pkl is pickled" in caught.value.line()
    for text, said in (
        ("{}", "pixel_size_y_A"),
        ("[1]", "it needs pixel_size_y_A"),
        ('{"pixel_size_y_A": 0}', "pixel of 0"),
    ):
        (folder / "params.json").write_text(text)
        with pytest.raises(InputFileError) as caught:
            read_earlier(folder)
        assert said in caught.value.line()
    (folder / "params.json").write_text(json.dumps({"pixel_size_y_A": 0.25}))
    (folder / "cg.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputFileError, match=r"cg\.npy"):
        read_earlier(folder)


def test_a_folder_of_an_object_alone(run, tmp_path):
    export(run, "pypty", tmp_path / "out")
    (tmp_path / "out" / "cp.npy").unlink()
    found = read_earlier(tmp_path / "out")
    assert found.probe is None
    assert found.positions_A is None  # the file has corners of windows of unknown size
    assert found.object.shape == run.object.shape
