"""``ptylive.batch`` as scripts call it."""

import numpy as np
import pytest
from scripted_refinement import ENDED, Scripted, progress

import ptylive
from ptylive.application.batch.figures import Figures
from ptylive.schema import InputFileError, MetadataError
from ptylive.server.batch import coordinator
from ptylive.server.cluster import places


@pytest.fixture
def scans(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "JobProcess", Scripted)
    monkeypatch.setattr(Scripted, "script", [progress(3), ENDED])
    monkeypatch.setattr(Scripted, "started", [])
    monkeypatch.setattr(coordinator.figures, "draw", lambda *_: Figures("obf", 0.75))
    for name in ("a", "b"):
        (tmp_path / f"{name}.h5").write_bytes(b"frames")
    return tmp_path


def test_rows_say_what_came_of_each_scan(scans):
    rows = ptylive.batch(str(scans / "*.h5"), scans / "out", {"probe_modes": 2}, epoch_max=9, workers=1)
    assert [(row.name, row.state, row.loss) for row in rows] == [("a", "done", 2.5), ("b", "done", 2.5)]
    preset = Scripted.started[0].job.preset
    assert (preset.value("probe_modes"), preset.value("epoch_max")) == (2, 9)
    assert (scans / "out" / "batch.html").exists()


def test_a_preset_may_be_a_file_or_an_object_and_files_a_list(scans):
    (scans / "p.toml").write_text("[refine]\nprobe_modes = 3\n")
    for number, preset in enumerate((scans / "p.toml", ptylive.Preset(probe_modes=3))):
        ptylive.batch([scans / "a.h5"], scans / f"out{number}", preset, metadata={"energy_eV": 80e3})
    assert [one.job.preset.value("probe_modes") for one in Scripted.started] == [3, 3]
    assert Scripted.started[0].job.values == {"energy_eV": 80e3}


def test_notes_of_a_preset_and_files_that_are_left_out_are_logged(scans, caplog):
    (scans / "p.json").write_text('{"fast_axis_reg_weight_tilts": 2.0}')
    (scans / "a_results.h5").write_bytes(b"maps")
    ptylive.batch([scans / "a.h5", scans / "*"], scans / "out", scans / "p.json", workers=1)
    told = [record.getMessage() for record in caplog.records if record.name == "ptylive.batches"]
    assert any("fast_axis_reg_weight_tilts" in line for line in told), told
    assert any("a_results.h5 is left out: it is not a scan" in line for line in told), told


def test_what_cannot_be_is_refused(scans):
    with pytest.raises(InputFileError, match="no file matches"):
        ptylive.batch(str(scans / "*.tif"), scans / "out")
    with pytest.raises(MetadataError, match="epochs_max"):
        ptylive.batch(scans / "a.h5", scans / "out", epochs_max=3)
    with pytest.raises(MetadataError, match=r"detectors = \['a'\] is not a table"):
        ptylive.batch(scans / "a.h5", scans / "out", detectors=["a"])
    with pytest.raises(MetadataError, match="detectors: 'a' is not text"):
        ptylive.batch(scans / "a.h5", scans / "out", detectors={"a": np.ones((2, 2))})
