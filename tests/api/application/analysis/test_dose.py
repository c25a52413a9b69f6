"""Recordings added up one after the other; for some of them no map can be made."""

import h5py
import pytest
from counted_scans import counted

from ptylive.application.analysis.dose import add_recordings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One specimen counted twice."""
    folder = tmp_path_factory.mktemp("dose")
    made = [folder / f"scan{number}.h5" for number in range(2)]
    counted(folder / "mean.h5", made, 0, scan_shape=(24, 24), dose_e_per_A2=2e4)
    return made


def test_each_recording_is_added_under_its_own_name(files):
    steps = list(add_recordings(files, {}))
    assert [step.path for step in steps] == files
    assert steps[1].curve.series == ("scan0", "scan1")
    assert steps[1].mean.settings["scans"] == 2
    assert steps[0].curve.measured[0].dose == pytest.approx(2e4, rel=0.1)  # some electrons miss the detector


def test_a_map_that_cannot_be_made_tells_its_reason(files, tmp_path):
    path = tmp_path / "untold.h5"
    path.write_bytes(files[0].read_bytes())
    with h5py.File(path, "r+") as file:
        del file["metadata"].attrs["energy_eV"]
    [step] = add_recordings([path], {})
    assert (step.curve, step.mean) == (None, None)
    assert "energy_eV" in step.problem
