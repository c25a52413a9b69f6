"""Runs in results files, read back."""

import h5py
import pytest
from stored_runs import write_results

from ptylive.engine.stored_run import StoredRun
from ptylive.schema import InputFileError
from ptylive.schema.preset import Preset


def with_preset(path, text):
    write_results(path)
    with h5py.File(path, "a") as file:
        file["refinements/run1"].attrs["preset"] = text
    return StoredRun.read(path).preset


def test_a_run_with_a_plug_in_that_has_gone_is_read_without_its_settings(tmp_path):
    text = '{"num_slices": 3, "total_thickness_A": 30.0, "gone_weight": 0.5, "algorithm": "gone_loss"}'
    assert with_preset(tmp_path / "r.h5", text) == Preset(num_slices=3, total_thickness_A=30.0)


@pytest.mark.parametrize("text", ["[]", "no settings", '{"num_slices": -1}'])
def test_settings_that_are_none_are_one_clear_error(tmp_path, text):
    with pytest.raises(InputFileError) as error:
        with_preset(tmp_path / "r.h5", text)
    assert error.value.line().endswith("is it a results file of ptylive, and whole?")
