"""How a report describes a refinement."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image
from stored_runs import write_results

from ptylive.application.report.refined import MOST_MODES, MOST_SLICES, RunSection
from ptylive.engine.stored_run import StoredRun
from ptylive.schema.advice.cannot_tell import cannot_tell_words


def test_slices_and_modes_that_are_shown(tmp_path):
    run = write_results(tmp_path / "r.h5", slices=12, probe_modes=6)
    titles = [one.title for one in RunSection.of(run).pictures]
    assert len(titles) == MOST_SLICES + MOST_MODES
    assert titles[0] == "phase, slice 1, 0 Å deep"
    assert titles[MOST_SLICES - 1] == "phase, slice 12, 110 Å deep"


def test_modes_come_by_their_power(tmp_path):
    path = tmp_path / "r.h5"
    write_results(path, probe_modes=3)
    with h5py.File(path, "r+") as file:
        probe = file["refinements/run1/probe"][()]
        probe /= np.sqrt((np.abs(probe) ** 2).sum(axis=(2, 3), keepdims=True))
        file["refinements/run1/probe"][...] = probe * np.sqrt([[[[0.1]], [[0.7]], [[0.2]]]])
    modes = RunSection.of(StoredRun.read(path)).pictures[3:]
    assert [one.title for one in modes] == [f"probe mode {number}, amplitude" for number in (2, 3, 1)]
    assert [one.lines for one in modes] == [("70 % of the power",), ("20 % of the power",), ("10 % of the power",)]


def test_slices_have_one_contrast(tmp_path):
    path = tmp_path / "r.h5"
    write_results(path, slices=2, object_modes=1)
    with h5py.File(path, "r+") as file:
        phase = np.linspace(0, 0.1, 20 * 24).reshape(20, 24)
        file["refinements/run1/object"][0, 0], file["refinements/run1/object"][0, 1] = np.exp([1j * phase, 5j * phase])
    first, second = RunSection.of(StoredRun.read(path)).pictures[:2]
    assert first.lines == second.lines
    spread = [np.ptp(np.asarray(Image.open(io.BytesIO(one.png)).convert("L"))[100:200]) for one in (first, second)]
    assert spread[0] < spread[1]


@pytest.mark.parametrize("slices", [1, 3])
def test_what_was_chosen_and_how_it_went(tmp_path, slices):
    path = tmp_path / "r.h5"
    write_results(path, slices=slices, probe_modes=1)
    with h5py.File(path, "r+") as file:
        file["refinements/run1"].attrs.update(algorithm="ml", reason="few electrons")
        file["refinements/run1"].attrs["preset"] = '{"epoch_max": 3}'
    section = RunSection.of(StoredRun.read(path))
    details = dict(section.details)
    assert (details["state"], details["data term"], details["chosen because"]) == ("done", "ml", "few electrons")
    assert details["loss"] == "3 → 1.5 in 3 epochs, 3 s"
    assert details["object"].startswith("1 slice," if slices == 1 else "3 slices of 10 Å,")
    assert details["probe"] == "1 mode"
    assert section.settings == "[refine]\nepoch_max = 3\n"
    assert "warning" not in details
    assert section.curve.startswith("<svg")


def test_what_could_not_be_told_is_a_warning(tmp_path):
    path, words = tmp_path / "r.h5", cannot_tell_words("the defocus", "nothing shows it", "defocus_A")
    write_results(path)
    with h5py.File(path, "r+") as file:
        file["refinements/run1"].attrs.update(reason=f"few electrons; {words}")
    assert dict(RunSection.of(StoredRun.read(path)).details)["warning"] == words


def test_how_sure_the_phase_is(tmp_path):
    section = RunSection.of(write_results(tmp_path / "r.h5", deviation=True))
    assert dict(section.details)["standard deviation of the phase"] == "0.01 rad (median, from counting noise)"
    assert "standard deviation of the phase" in [one.title for one in section.pictures]
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        file["refinements/run1/phase_deviation"].attrs["lower_bound"] = True
    least = dict(RunSection.of(StoredRun.read(tmp_path / "r.h5")).details)
    assert least["standard deviation of the phase"] == "at least 0.01 rad (median, from counting noise)"
    assert "standard deviation of the phase" not in dict(RunSection.of(write_results(tmp_path / "old.h5")).details)
