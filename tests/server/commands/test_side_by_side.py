"""A picture of maps and refinement, drawn by the process that opens files."""

import io

import h5py
import numpy as np
import pytest
from kept_histories import written
from PIL import Image
from stored_runs import write_results

from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, InputFileError, LiveMap, MetadataError
from ptylive.server.commands import side_by_side as module
from ptylive.server.commands.side_by_side import film_of, report_page, side_by_side
from ptylive.server.serve.control import READS_FILES
from ptylive.streamer.vetting.worker import FileWorker


@pytest.fixture
def worker():
    worker = FileWorker()
    yield worker
    worker.close()


def test_picture_and_agreement_travel(tmp_path, worker):
    path = tmp_path / "r.h5"
    write_results(path)
    noise = np.random.default_rng(1).normal(size=(6, 7)).astype(np.float32)
    calibration = Calibration.from_attributes({"rotation_deg": 0.0, "rotation_deg_origin": "given"})
    write_maps(path, [LiveMap("obf", noise, "rad", (0.5, 0.5), 42, "OBF")], np.ones((6, 7), bool), calibration, {})
    found = worker.read(side_by_side, path)
    assert found["shown"] == ["obf", "run1"]
    assert found["run"] == "run1"
    assert list(found["correlation"]) == ["obf"]
    with Image.open(io.BytesIO(found["png"].tobytes())) as sheet:
        assert (sheet.format, sheet.mode) == ("PNG", "RGB")


def test_a_report_travels(tmp_path, worker):
    path = tmp_path / "r.h5"
    write_results(path)
    found = worker.read(report_page, path)
    assert found["runs"] == ["run1"]
    assert found["html"].tobytes().startswith(b"<!doctype html>")


def test_a_film_travels(tmp_path, worker):
    written(tmp_path / "kept", 3)
    found = worker.read(film_of, tmp_path / "kept" / "epoch_00002.npz")
    assert (found["pictures"], found["epoch"]) == (3, 2)
    with Image.open(io.BytesIO(found["gif"].tobytes())) as shown:
        assert (shown.format, shown.n_frames) == ("GIF", 3)
    (tmp_path / "kept" / "epoch_00004.npz").write_bytes(b"nothing")
    with pytest.raises(InputFileError, match="epoch_00004"):
        worker.read(film_of, tmp_path / "kept" / "epoch_00004.npz")


def test_what_would_take_long_is_refused_and_condemns_no_file(tmp_path, worker, monkeypatch):
    path = tmp_path / "r.h5"
    write_results(path)
    monkeypatch.setattr(module, "MOST_PIXELS", 100)
    with pytest.raises(MetadataError, match="too many to draw here"):
        side_by_side(path)
    with pytest.raises(MetadataError, match="too many to draw here") as refused:
        report_page(path)
    assert "ptylive report" in refused.value.line()
    assert READS_FILES >= {"side_by_side", "report", "film"}, "they keep no command waiting"


def test_a_foreign_file_is_refused_in_a_line(tmp_path, worker):
    path = tmp_path / "r.h5"
    with h5py.File(path, "w") as file:
        file["refinements/run1"] = [1, 2]
        file["refinements/object"] = 3
    with pytest.raises(InputFileError) as refused:
        worker.read(side_by_side, path)
    assert "internal" not in str(refused.value)
    assert "Traceback" not in str(refused.value)
    with h5py.File(path, "w") as file:
        file["refinements"] = 3.0
    with pytest.raises(InputFileError):
        worker.read(side_by_side, path)


def test_a_file_that_is_none_is_refused(tmp_path, worker):
    (tmp_path / "r.h5").write_bytes(b"nothing")
    with pytest.raises(InputFileError, match=r"r\.h5"):
        worker.read(side_by_side, tmp_path / "r.h5")
