"""Pages of waves, and charts of a log."""

import numpy as np
import pytest
from running import last_json, ptylive_here
from stored_runs import write_results

from ptylive.application.analysis.waves import add_log, add_waves, read_log
from ptylive.schema import InputFileError

PYPTY_LOG = "epoch,time / s,loss,sse,Warnings,\n0,0.1,9.0,3.0,,\n1,0.2,4.0,3.0,slow,\n2,0.4,3.0,3.0,,\n"


def test_one_wave_has_no_components(tmp_path):
    figures, pages = {}, {}
    add_waves(figures, pages, write_results(tmp_path / "r.h5", slices=1, object_modes=1, probe_modes=1))
    assert "principal_components" not in figures
    assert set(pages) == {"probe_modes", "object_modes", "colour_wheel", "loss"}
    assert figures["loss"]["loss"] == [3.0, 2.0, 1.5]


def test_components_of_slices_and_modes(tmp_path):
    figures, pages = {}, {}
    add_waves(figures, pages, write_results(tmp_path / "r.h5", slices=3, object_modes=2))
    found = figures["principal_components"]
    assert len(found["object"]["shares"]) == 5
    assert sum(found["object"]["shares"]) == pytest.approx(1)
    assert len(found["probe"]["shares"]) == 1
    assert {"object_components", "probe_components"} <= set(pages)


def test_every_column_of_numbers_is_drawn(tmp_path):
    (tmp_path / "loss.csv").write_text(PYPTY_LOG, encoding="utf-8")
    figures, pages = {}, {}
    add_log(figures, pages, tmp_path / "loss.csv")
    assert figures["log"]["loss"] == [9.0, 4.0, 3.0]
    assert set(pages) == {"log_time_s", "log_loss"}  # constants get no chart, and values that are not numbers no column
    assert list(read_log(tmp_path / "loss.csv")) == ["epoch", "time / s", "loss", "sse"]


@pytest.mark.parametrize("text", ["", "epoch,loss\n", "a,b\nx,y\n", "epoch\n1\n2\n"])
def test_what_is_no_log_is_said(tmp_path, text):
    (tmp_path / "loss.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputFileError, match=r"loss\.csv"):
        read_log(tmp_path / "loss.csv")


def test_on_the_command_line(tmp_path):
    write_results(tmp_path / "r.h5")
    (tmp_path / "loss.csv").write_text(PYPTY_LOG, encoding="utf-8")
    options = ("--order", "5", "--log", tmp_path / "loss.csv", "--json")
    said = last_json(ptylive_here("analyse", tmp_path / "r.h5", tmp_path / "out", *options))
    assert {"log_loss.png", "probe_modes.png"} <= {name.rsplit("/", 1)[-1] for name in said["files"]}
    coefficients = (tmp_path / "out" / "analysis.json").read_text(encoding="utf-8")
    assert "C56b" in coefficients
    assert np.load(tmp_path / "out" / "object_on_scan_rad.npy").ndim == 2
