"""Runs in results files, read back."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import results_writers as writers
from stored_runs import write_results

from ptylive.engine.results import Run, add_refinement, read_runs
from ptylive.engine.results_file import reserve_run
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import Calibration, InputFileError
from ptylive.schema.preset import Preset


def with_preset(path, text):
    write_results(path)
    with h5py.File(path, "a") as file:
        file["refinements/run1"].attrs["preset"] = text
    return StoredRun.read(path).preset


def test_a_run_with_a_plug_in_that_has_gone_is_read_without_its_settings(tmp_path):
    text = '{"num_slices": 3, "total_thickness_A": 30.0, "gone_weight": 0.5, "algorithm": "gone_loss"}'
    found = with_preset(tmp_path / "r.h5", text)
    assert found == type(found)(num_slices=3, total_thickness_A=30.0)  # its class has the settings of regularisers
    assert isinstance(found, Preset)


@pytest.mark.parametrize("text", ["[]", "no settings", '{"num_slices": -1}'])
def test_settings_that_are_none_are_one_clear_error(tmp_path, text):
    with pytest.raises(InputFileError) as error:
        with_preset(tmp_path / "r.h5", text)
    assert error.value.line().endswith("is it a complete results file of ptylive?")


@pytest.mark.parametrize("name", ["object", "probe"])
@pytest.mark.parametrize("shape", [(), (3, 4), (2, 3, 4), (1, 0, 4, 4)])
def test_an_array_of_another_shape_is_one_clear_error(tmp_path, name, shape):
    write_results(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        attributes = dict(file[f"refinements/run1/{name}"].attrs)
        del file[f"refinements/run1/{name}"]
        file[f"refinements/run1/{name}"] = np.zeros(shape, np.complex64)
        file[f"refinements/run1/{name}"].attrs.update(attributes)
    with pytest.raises(InputFileError, match=f"its {name} has the shape"):
        StoredRun.read(tmp_path / "r.h5")


def test_whether_there_is_a_run(tmp_path):
    write_results(tmp_path / "r.h5")
    assert StoredRun.is_in(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        del file["refinements"]
    assert not StoredRun.is_in(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file["refinements"] = 3.0
    with pytest.raises(InputFileError, match=r"len\(\) of scalar"):
        StoredRun.is_in(tmp_path / "r.h5")


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (np.full((12, 2), np.nan), "its positions are not valid"),
        (np.zeros((0, 2)), "its positions are not valid"),
        (np.zeros(12), "its positions are not valid"),
        (np.full((12, 2), 1e4), "its positions lie outside its object"),
    ],
)
def test_positions_that_cannot_be_are_a_line(tmp_path, positions, words):
    """Otherwise readers would look for the scanned area of the object, and find none."""
    write_results(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        del file["refinements/run1/positions_A"]
        file["refinements/run1/positions_A"] = positions
    with pytest.raises(InputFileError, match=words):
        StoredRun.read(tmp_path / "r.h5")


def test_how_sure_the_phase_is_comes_along_and_older_runs_have_none(tmp_path):
    assert write_results(tmp_path / "old.h5").phase_deviation is None
    run = write_results(tmp_path / "r.h5", deviation=True)
    assert run.median_deviation_rad == pytest.approx(0.01)
    assert not run.deviation_is_lower_bound
    assert np.isnan(run.phase_deviation[0]).all()
    np.testing.assert_array_equal(run.phase_deviation[1:], np.float32(0.01))
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file["refinements/run1/phase_deviation"].attrs["lower_bound"] = True
    assert StoredRun.read(tmp_path / "r.h5").deviation_is_lower_bound
    with h5py.File(tmp_path / "r.h5", "a") as file:
        del file["refinements/run1/phase_deviation"]
        file["refinements/run1/phase_deviation"] = np.zeros((3, 4))
    with pytest.raises(InputFileError, match=r"its phase_deviation has the shape \(3, 4\), its object \(20, 24\)"):
        StoredRun.read(tmp_path / "r.h5")


def test_the_list_of_runs_says_how_good_they_are(tmp_path):
    write_results(tmp_path / "plain.h5")
    write_results(tmp_path / "r.h5", deviation=True)
    with h5py.File(tmp_path / "r.h5", "a") as file:
        file["refinements/run1"].create_group("validation").attrs["correlation"] = 0.97
        file["refinements/run1/phase_deviation"].attrs["lower_bound"] = True
        file["refinements/run1"].attrs.update(loss_over_noise=1.25, converged=False)
    plain, told = (read_runs(tmp_path / name)["run1"] for name in ("plain.h5", "r.h5"))
    assert (plain["loss_over_noise"], told["loss_over_noise"]) == (None, 1.25)
    assert (plain["converged"], told["converged"]) == (None, False)
    assert (plain["deviation_rad"], plain["halves"]) == (None, None)
    assert (told["deviation_rad"], told["halves"]) == (0.01, 0.97)
    assert (plain["deviation_is_lower_bound"], told["deviation_is_lower_bound"]) == (False, True)


def test_a_resumed_run_with_nothing_left_to_do_is_not_stored_again(tmp_path):
    path = tmp_path / "refined.h5"
    writers.refine(path, 1.0)
    writers.refine(path, 2.0)
    again = replace(writers.small_result(1.0), unchanged=True)

    def stored(result):
        return add_refinement(path, Run(reserve_run(path), Preset(), result), Calibration(), writers.SETTINGS).run

    assert stored(again) == "run1"
    assert list(read_runs(path)) == ["run1", "run2"]
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith("refined")] == ["refined.h5"]
    assert stored(replace(again, state="stopped")) == "run3", "another outcome"
    assert stored(replace(again, loss_over_noise=1.1)) == "run4", "something more is known"
    assert stored(replace(again, unchanged=False)) == "run5", "it was refined once more"
    path.rename(tmp_path / "moved.h5")
    assert stored(again) == "run1", "the file had gone"
    assert read_runs(path)["run1"]["loss"] == 1.0
