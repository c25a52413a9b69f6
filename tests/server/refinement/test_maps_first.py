"""A scan of which nothing is known: its maps are made and stored, and what they were made with starts a refinement."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from ptylive.engine.stored_maps import StoredMaps
from ptylive.schema import Calibration, InputFileError, MetadataError, RefinementError
from ptylive.schema.preset import Preset
from ptylive.server.refinement.maps_first import with_maps
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.wire.messages import pack, unpack


@pytest.fixture
def job(tmp_path):
    rows, cols = np.indices((16, 16)) - 7.5
    counts = np.random.default_rng(3).poisson(20.0 * (np.hypot(rows, cols) < 5), (8, 8, 16, 16)).astype(np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = counts
        values = {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "scan_step_A": 0.5, "rotation_deg": 0.0}
        file.create_group("metadata").attrs.update(values)
    given = RefineJob(tmp_path / "a.h5", tmp_path / "a_results.h5", "run1", Preset(start_map="idpc"), Calibration())
    return replace(given, methods=("com",), values={"C10": -40.0, "detector_transform": "none"}, backend="cpu")


def made(job, should_stop=lambda: False):
    said = []
    return with_maps(job, said.append, should_stop), said


def test_maps_are_stored_and_start_the_refinement(job):
    ready, said = made(job)
    assert said[-1] == {"kind": "maps"}
    assert any(message["kind"] == "note" for message in said)
    with h5py.File(job.results) as file:
        assert {"com_row", "idpc"} <= set(file["maps"])
        said = file["settings"].attrs
        assert (said["scan_file"], said["scan_path"], len(said["scan_sha256"])) == ("a.h5", "a.h5", 64)
    assert ready.start is not None and ready.start.phase.shape == (8, 8)
    assert ready.calibration.get("C10") == -40.0


@pytest.mark.parametrize("taken", [{"resume": True}, {"takes_maps": True}], ids=["gone on with", "taken"])
def test_maps_that_are_there_are_used_with_their_calibration(job, taken):
    first, _ = made(job)
    again, said = made(replace(job, **taken))
    assert said == []
    assert again.calibration.to_plain() == first.calibration.to_plain()
    np.testing.assert_array_equal(again.start.phase, first.start.phase)


def test_results_without_maps_are_no_maps(job):
    from results_writers import refine

    refine(job.results, 1.0)
    with h5py.File(job.results, "r+") as file:
        file["settings"].attrs["scan_file"] = "a.h5"
    assert made(replace(job, resume=True))[1][-1] == {"kind": "maps"}


def test_metadata_of_a_preset_count_where_the_file_says_nothing(job):
    ready, _ = made(replace(job, defaults={"energy_eV": 300e3, "dwell_time_us": 10.0}))
    assert ready.calibration.get("energy_eV") == 80e3
    assert ready.values == {"C10": -40.0, "detector_transform": "none", "dwell_time_us": 10.0}


def test_the_job_travels_with_what_it_needs(job):
    there = RefineJob.from_plain(unpack(pack(replace(job, defaults={"C30": 1.0}, ends_at_once=True).to_plain())))
    assert (there.methods, there.values, there.defaults, there.ends_at_once) == (
        ("com",), {"C10": -40.0, "detector_transform": "none"}, {"C30": 1.0}, True,
    )  # fmt: skip


def test_a_stop_while_maps_are_made(job):
    with pytest.raises(RefinementError, match="stopped on request before the maps were made"):
        made(job, lambda: True)
    assert not job.results.exists()


def test_damage_missing_optics_and_another_s_results_are_told_before_any_work(job):
    job.recording.write_bytes(job.recording.read_bytes()[:2000])
    with pytest.raises(InputFileError, match=r"a\.h5"):
        made(job)


def test_missing_optics_are_named(job):
    with h5py.File(job.recording, "r+") as file:
        del file["metadata"].attrs["energy_eV"]
    with pytest.raises(MetadataError, match="the refinement needs energy_eV"):
        made(job)


def test_results_of_another_scan_stay_theirs(job):
    from results_writers import save

    save(job.results)
    with h5py.File(job.results, "r+") as file:
        file["settings"].attrs["scan_file"] = "b.h5"
    with pytest.raises(InputFileError, match=r"holds the results of another scan, b\.h5"):
        made(job)


def test_all_maps_have_their_settings_and_virtual_detectors_are_among_them(job):
    asked = {"map_settings": {"wdd.epsilon": 0.2, "idpc.highpass_invA": 0.05}, "detectors": {"inner": "disc:3"}}
    there = RefineJob.from_plain(unpack(pack(replace(job, methods=("wdd",), **asked).to_plain())))
    made(there)
    stored = StoredMaps.read(job.results).maps
    assert stored["wdd_phase"].settings["epsilon"] == 0.2
    assert stored["idpc"].settings["highpass_invA"] == 0.05, "the start's too"
    assert stored["vd_inner"].data.shape == (8, 8)


def test_the_start_is_made_with_its_settings_and_its_amplitude(job):
    """Stored maps that were made otherwise are made again, also where others are taken as they are."""
    plain, _ = made(job)
    preset = Preset.from_mapping({"start_map": "ssb", "ssb.crop": 0.7, "start_map_amplitude": True})
    first, _ = made(replace(job, preset=preset, methods=("ssb",)))
    assert first.start.amplitude.shape == first.start.phase.shape
    assert abs(float(first.start.amplitude.mean()) - 1) < 0.05
    there = RefineJob.from_plain(unpack(pack(first.to_plain())))
    np.testing.assert_array_equal(there.start.amplitude, first.start.amplitude)
    taken, said = made(replace(job, preset=preset, takes_maps=True))
    assert said == []
    other = Preset.from_mapping({"start_map": "ssb", "ssb.crop": 0.5})
    again, said = made(replace(job, preset=other, takes_maps=True))
    assert said[-1] == {"kind": "maps"}
    assert again.start.amplitude is None and plain.start.amplitude is None
    assert not np.allclose(again.start.phase, taken.start.phase, rtol=1e-3)
