"""How trials begin: slices, ranges, settings shared by all, and the preset made from values."""

import h5py
import pytest

from ptylive.application.simulation import simulate_file
from ptylive.application.tuning.ranges import parse_over
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.server.tune.beginning import Wanted, begin


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("scan") / "s.h5"
    simulate_file(path, SimulationSettings.of({"scan_shape": (12, 12), "seed": 1}), overwrite=False)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all tests, so that maps are made once."""
    return tmp_path_factory.mktemp("tuned")


def begun(scan, folder, *over, said=(), defaults=None, **settings):
    preset = Preset.from_mapping({"probe_modes": 1, **settings})
    asked = parse_over(over, Judge.HELD_OUT)
    wanted = Wanted(scan, folder, asked, preset, {}, defaults or {}, patterns=100)
    return begin(wanted, said.append if said else print, lambda: False)


def test_trials_share_everything_but_what_is_varied(scan, folder):
    found = begun(scan, folder, "defocus")
    assert found.start == {"defocus_A": 100.0}
    assert (found.job.trials["patterns"], len(found.part.patterns)) == (100, 100)
    assert found.job.methods == () and found.job.start is None and not found.job.resume
    assert found.job.preset.loss.algorithm == "lsq_sqrt" and not found.job.preset.refined.update_aberrations
    assert found.job.preset.object.slices == 1 and "one slice is used" in found.notes[0]
    assert begun(scan, folder, "defocus").plan == found.plan
    assert begun(scan, folder, "defocus", num_slices=2, total_thickness_A=20).plan != found.plan


def test_maps_are_made_once(scan, folder):
    begun(scan, folder, "defocus")
    results = folder / "s_results.h5"
    before = results.stat().st_mtime_ns
    begun(scan, folder, "defocus")
    assert results.stat().st_mtime_ns == before
    with h5py.File(results) as file:
        assert "obf" in file["maps"]


def test_what_the_recording_says_otherwise_is_said_with_the_outcome(scan, folder):
    one = begun(scan, folder, "defocus", defaults={"energy_eV": 1e5})
    assert "and counts: energy_eV 80000, not 100000; --set overrides both" in one.notes[0]


def test_slices_are_those_of_what_may_be_found(scan, folder):
    """Depth of focus: 66.8 Å; three slices for each, of 100 Å times the square root of 2."""
    found = begun(scan, folder, "thickness", total_thickness_A=100)
    assert found.job.preset.object.slices == 7 and found.notes == ()
    assert found.over[0].blur == pytest.approx(100 / 7 / 2)
    assert begun(scan, folder, "thickness=50:200").over[0].start == pytest.approx(100.0)
    assert begun(scan, folder, "thickness", total_thickness_A=100, num_slices=3).job.preset.object.slices == 3
    with pytest.raises(MetadataError, match="no thickness is known"):
        begun(scan, folder, "num_slices")


def test_values_become_settings_and_corrections(scan, folder):
    found = begun(scan, folder, "defocus,thickness,tilt", total_thickness_A=100, num_slices=4, epoch_max=9)
    values = {"defocus_A": 88.0, "total_thickness_A": 90.0, "tilt_row_mrad": 2.0, "tilt_col_mrad": 0.0}
    settings = found.settings(values)
    assert settings["epoch_max"] == 9 and settings["num_slices"] == 4 and settings["total_thickness_A"] == 90.0
    assert settings["scan_defocus"] is False and settings["scan_thickness"] is False
    assert Preset.from_mapping(settings).propagation.tilts_mrad[0][2] == 2.0
    assert found.corrections(values) == {"defocus_A": 88.0}


def test_words_of_the_page_say_what_was_done(scan, folder):
    details = begun(scan, folder, "defocus=-50:150").details
    assert details["varied"] == "defocus from -50 to 150 Å, starting at 100 Å"
    assert details["a trial"].startswith("100 patterns")


def test_a_damaged_scan_is_one_line(scan, tmp_path):
    cut = tmp_path / "cut.h5"
    cut.write_bytes(scan.read_bytes()[:50000])
    with pytest.raises(InputFileError) as caught:
        begun(cut, tmp_path / "out", "defocus")
    assert "cut.h5" in caught.value.line() and "\n" not in caught.value.line()
