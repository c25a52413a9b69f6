"""Results files read by programs that know NeXus but not ptylive."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from nexus_rules import breaches
from results_writers import refine, save, small_result
from stored_runs import write_results

from ptylive.engine import results_file
from ptylive.engine.nexus import entry
from ptylive.engine.results import Run, add_refinement, describe_scan, write_maps
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import Calibration, LiveMap
from ptylive.schema.preset import Preset


@pytest.fixture(params=["rewritten", "appended"])
def path(request, tmp_path, monkeypatch):
    if request.param == "appended":
        monkeypatch.setattr(results_file, "APPEND_BYTES", 0)
        whole, rewrite = tmp_path / "r.h5", results_file._rewrite

        def only_new(path, *arguments):
            assert not path.exists(), "rewritten"
            rewrite(path, *arguments)

        monkeypatch.setattr(results_file, "_rewrite", only_new)
        return whole
    return tmp_path / "r.h5"


def test_every_map_and_run_can_be_plotted(path):
    save(path)
    refine(path, 1.0)
    refine(path, 2.0)
    save(path, 3.0)
    with h5py.File(path, "r") as file:
        assert breaches(file) == []
        runs = {f"run{n}_{what}" for n in (1, 2) for what in ("object", "phase", "probe", "loss", "positions")}
        assert set(file["entry"]) == {"program_name", "title", "bf", "obf", *runs}
        assert file["entry"].attrs["default"] == "obf"
        assert file["entry/obf/data"] == file["maps/obf"]
        assert file["entry/run2_object/data"] == file["refinements/run2/object"]
        np.testing.assert_array_equal(file["entry/obf/y"][()], np.arange(32.0))
        assert list(file["entry/run1_object"].attrs["axes"]) == ["mode", "z", "y", "x"]
        captions = {name: file[f"entry/{name}/title"].asstr()[()] for name in ("obf", "run1_phase", "run1_positions")}
        assert captions == {
            "obf": "obf, rad",
            "run1_phase": "run1_phase: phase of the object, rad",
            "run1_positions": "run1_positions",
        }


def test_axes_have_place_and_unit(tmp_path):
    """An object is placed by its origin, a probe by its centre, slices by their thickness."""
    write_results(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        file["refinements/run1/probe"].attrs["sampling_A"] = [0.25, 0.25]
        entry.write_entry(file, entry.described(file))
        shown, probe = file["entry/run1_object"], file["entry/run1_probe"]
        np.testing.assert_allclose(shown["y"][()], -1.5 + 0.25 * np.arange(20))
        np.testing.assert_allclose(shown["x"][()], -2.0 + 0.25 * np.arange(24))
        np.testing.assert_allclose(shown["z"][()], [0, 10, 20])
        assert probe["x"][4] == probe["y"][4] == 0.0
        assert shown["y"].attrs["units"] == shown["z"].attrs["units"] == "angstrom"
        np.testing.assert_array_equal(file["entry/run1_loss/epoch"][()], [1, 2, 3])
        assert file["entry"].attrs["default"] == "run1_object"


def test_the_way_of_the_beam_is_a_curve(path):
    save(path)
    refine(path, 1.0)
    with h5py.File(path, "r") as file:
        shown, stored = file["entry/run1_positions"], file["refinements/run1/positions_A"]
        np.testing.assert_array_equal(shown[shown.attrs["signal"]][()], stored[:, 0].astype(np.float32))
        np.testing.assert_array_equal(shown["x"][()], stored[:, 1].astype(np.float32))
        assert {shown[name].attrs["units"] for name in ("data", "x")} == {"angstrom"}


def test_the_phase_is_shown_first_where_there_are_no_maps(path):
    """As in the export, the phase is the sum over slices of the mean over modes, each slice with mean 0."""
    rng = np.random.default_rng(7)
    transmission = np.exp(1j * rng.uniform(0, 1, (2, 3, 16, 16))).astype(np.complex64)
    result = replace(small_result(1.0), object=transmission, slice_thickness_A=(10.0,) * 3)
    add_refinement(path, Run("run1", Preset(), result), Calibration(), {})
    with h5py.File(path, "r") as file:
        assert file["entry"].attrs["default"] == "run1_phase"
        shown = file["entry/run1_phase"]
        assert [shown[name].attrs["units"] for name in ("data", "y", "x")] == ["rad", "angstrom", "angstrom"]
        np.testing.assert_array_equal(shown["data"][()], StoredRun.read(path).phase().sum(axis=0))


def test_the_entry_says_which_scan_it_is_of(path):
    maps = [LiveMap("bf", np.ones((3, 4), np.float32), "e", None, 1, "")]
    about = {"version": "9", **describe_scan("u-1", path.with_name("scan.h5"))}
    write_maps(path, maps, np.ones((3, 4), bool), Calibration(), about)
    refine(path, 1.0)  # keeps the metadata, except for the version of the last writer
    with h5py.File(path, "r") as file:
        told = {name: file[f"entry/{name}"].asstr()[()] for name in ("title", "entry_identifier", "program_name")}
        assert told == {"title": "scan.h5", "entry_identifier": "u-1", "program_name": "ptylive"}
        assert file["entry/program_name"].attrs["version"] == "test"
        assert file.attrs["NX_class"] == "NXroot"


def test_maps_without_a_step_and_with_odd_names(tmp_path):
    maps = [LiveMap(name, np.ones((3, 4), np.float32), "e", None, 1, "") for name in ("a b", "a_b", "program_name")]
    write_maps(tmp_path / "r.h5", maps, np.ones((3, 4), bool), Calibration(), {})
    with h5py.File(tmp_path / "r.h5") as file:
        assert breaches(file) == []
        assert {"a_b", "a_b_2", "program_name_2"} <= set(file["entry"])
        assert file["entry/a_b/x"].attrs["units"] == "pixel"


def test_an_entry_of_somebody_else_stays(tmp_path):
    save(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        del file["entry"]
        file["entry/mine"], file["entry/program_name"], file.attrs["default"] = 7, "another", "entry"
    save(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        assert list(file["entry"]) == ["mine", "program_name"]


def test_a_default_that_somebody_chose_stays(tmp_path):
    save(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file.attrs["default"] = "mine"
    save(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        assert file.attrs["default"] == "mine"


def test_a_file_of_an_earlier_version_gets_its_entry_with_the_next_change(tmp_path):
    save(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        del file["entry"]
        file.attrs["default"] = "maps"
    refine(tmp_path / "r.h5", 1.0)
    with h5py.File(tmp_path / "r.h5") as file:
        assert breaches(file) == []


def odd(file):
    file["maps/group/inside"] = 1.0
    file["maps/line"], file["maps/words"] = np.ones(3), np.full((2, 2), b"a")
    file["maps/empty"] = np.ones((0, 4))
    file.create_dataset("maps/endless", (4, 2**40), "f4", chunks=(4, 64))
    file["maps/step"] = np.ones((2, 2))
    file["maps/step"].attrs.update(sampling_A=[0.0, np.nan], units="e", long_name="step")
    file["refinements"] = 3.0


def test_what_has_another_form_is_left_out(tmp_path):
    """Lengths claimed by a damaged file are never allocated."""
    with h5py.File(tmp_path / "r.h5", "w") as file:
        odd(file)
        plots = entry.described(file, ["maps", "refinements/run1"])
        assert [plot.name for plot in plots["maps"]] == ["step"]
        entry.write_entry(file, plots)
        assert breaches(file) == []
