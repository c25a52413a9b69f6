"""A scan not processed before: its maps are made and stored, and what they were made with starts a refinement."""

import itertools
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from quick_first import quick_first

from ptylive.application.conversion import convert_file
from ptylive.engine.bases.choice import parse_basis
from ptylive.engine.preparation import Preparation
from ptylive.engine.stored_maps import StoredMaps
from ptylive.schema import Calibration, InputFileError, MetadataError
from ptylive.schema.calibration import Origin
from ptylive.schema.detector import Detector
from ptylive.schema.errors import StoppedError
from ptylive.schema.metadata import not_overridden
from ptylive.schema.preset import Preset
from ptylive.schema.units import mrad_to_invA, wavelength_A
from ptylive.server.refinement.maps_first import with_maps
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.wire.messages import pack, unpack


def a_job(folder):
    rows, cols = np.indices((16, 16)) - 7.5
    counts = np.random.default_rng(3).poisson(20.0 * (np.hypot(rows, cols) < 5), (8, 8, 16, 16)).astype(np.uint16)
    with h5py.File(folder / "a.h5", "w") as file:
        file["data"] = counts
        values = {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "scan_step_A": 0.5, "rotation_deg": 0.0}
        file.create_group("metadata").attrs.update(values)
    given = RefineJob(folder / "a.h5", folder / "a_results.h5", "run1", Preset(start_map="idpc"), Calibration())
    return replace(given, methods=("com",), values={"C10": -40.0, "detector_transform": "none"}, backend="cpu")


@pytest.fixture
def job(tmp_path):
    return a_job(tmp_path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The files of a job whose maps exist."""
    job = a_job(tmp_path_factory.mktemp("stored"))
    made(job)
    return job.recording.parent


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
    ready, said = made(replace(job, defaults={"energy_eV": 300e3, "dwell_time_us": 10.0, "C10": 9.0}))
    assert "and counts: energy_eV 80000, not 300000; --set overrides both" in said[0]["message"], "and C10 was typed"
    assert ready.calibration.get("energy_eV") == 80e3 and ready.values.keys() == {*job.values, "dwell_time_us"}


def test_the_job_travels_with_what_it_needs(job):
    there = RefineJob.from_plain(unpack(pack(replace(job, defaults={"C30": 1.0}, ends_at_once=True).to_plain())))
    assert (there.methods, there.values, there.defaults, there.ends_at_once) == (
        ("com",), {"C10": -40.0, "detector_transform": "none"}, {"C30": 1.0}, True,
    )  # fmt: skip


def test_a_stop_while_maps_are_made(job):
    with pytest.raises(StoppedError, match="stopped on request before the maps were made"):
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


def test_stored_maps_of_other_settings_are_made_again_with_what_people_gave(job):
    """This holds for all maps, not only the one to start from: the file holds what was requested of a server."""
    made(replace(job, methods=("wdd",)))
    asked = replace(job, methods=("wdd",), values={}, takes_maps=True, map_settings={"wdd.epsilon": 0.2})
    again, said = made(asked)
    assert said[-1] == {"kind": "maps"}
    assert StoredMaps.read(job.results).maps["wdd_phase"].settings["epsilon"] == 0.2
    assert (again.calibration.get("C10"), again.calibration.origin("C10")) == (-40.0, Origin.GIVEN)
    assert made(asked)[1] == [], "and then they are there"


def test_an_order_of_the_frames_that_was_corrected_while_a_scan_ran_holds_for_its_refinement(job):
    """Regression: the Library's batch refined such a scan in the order and shape with which it had been sent."""
    corrected = {"scan_pattern": "snake", "flyback_frames": 1, "scan_shape": [8, 7]}
    made(replace(job, methods=("com",), values={**job.values, **corrected}))
    ready, said = made(replace(job, values={}, takes_maps=True))
    assert said == [], "its maps are those"
    assert {name: ready.values[name] for name in corrected} == corrected
    other, said = made(replace(job, values={"scan_pattern": "raster"}, takes_maps=True))
    assert other.values["scan_pattern"] == "raster", "what is asked for now counts"
    assert said[-1] == {"kind": "maps"}, "and its maps are made so"
    assert StoredMaps.read(job.results).places["scan_pattern"] == "raster"


def test_virtual_detectors_are_added_to_maps_that_are_taken(job, tmp_path):
    made(replace(job, methods=("wdd",)))
    with h5py.File(job.results, "r+") as file:
        file["snr/idpc/half_data"] = rings = np.arange(5.0)  # a scan of 8 x 8 points has none of its own
        maps = {name: data[()] for name, data in file["maps"].items()}
    np.save(tmp_path / "small.npy", np.ones((3, 3)))
    asked = {"drawn": "ring:7.5,7.5,2,5", "bright": "above:0.97", "small": str(tmp_path / "small.npy")}
    _, said = made(replace(job, takes_maps=True, detectors=asked))
    assert [message["kind"] for message in said] == ["note", "remark"]
    assert "mask small is 3 x 3 pixels, the detector 16 x 16" in said[1]["message"]
    with h5py.File(job.results) as file, h5py.File(job.recording) as scan:
        assert set(file["maps"]) == {*maps, "vd_drawn", "vd_bright"}
        np.testing.assert_array_equal(file["snr/idpc/half_data"], rings)
        for name, data in maps.items():
            np.testing.assert_array_equal(file["maps"][name], data)
        counts, radius = scan["data"][()], np.hypot(*(np.indices((16, 16)) - 7.5))
        ring, bright = (radius >= 2) & (radius < 5), counts.mean(axis=(0, 1)) >= 0.97 * counts.mean(axis=(0, 1)).max()
        for name, mask in (("vd_drawn", ring), ("vd_bright", bright)):
            np.testing.assert_array_equal(file["maps"][name], counts[:, :, mask].sum(axis=2))  # whole numbers < 2^24


def test_coefficients_have_no_virtual_detectors_and_are_refined_all_the_same(job):
    target = job.recording.with_name("c.h5")
    convert_file(job.recording, target, parse_basis("zernike:21+1"), Preparation(), job.values)
    told = replace(job, recording=target, results=target.with_name("c_results.h5"), detectors={"a": "lost"})
    ready, said = made(told)
    assert ready.start is not None
    assert said[-1] == {"kind": "remark", "message": "virtual detectors need raw frames, and c.h5 holds coefficients"}


def test_the_start_is_made_with_its_settings_and_its_amplitude(job):
    """Stored maps made with other settings are remade, even where other maps are used as they are."""
    plain, _ = made(job)
    preset = Preset.from_mapping({"start_map": "ssb", "ssb.crop": 0.7, "start_map_amplitude": True})
    first, _ = made(replace(job, preset=preset, methods=("ssb",)))
    assert first.start.amplitude.shape == first.start.phase.shape
    assert abs(float(first.start.amplitude.mean()) - 1) < 0.05
    plainly = RefineJob.from_plain(unpack(pack(first.to_plain()))).start.amplitude
    np.testing.assert_array_equal(plainly, first.start.amplitude)
    taken, said = made(replace(job, preset=preset, takes_maps=True))
    assert said == []
    other = Preset.from_mapping({"start_map": "ssb", "ssb.crop": 0.5})
    again, said = made(replace(job, preset=other, takes_maps=True))
    assert said[-1] == {"kind": "maps"}
    assert again.start.amplitude is None and plain.start.amplitude is None
    assert not np.allclose(again.start.phase, taken.start.phase, rtol=1e-3)


def test_what_is_asked_now_wins_over_what_was_given_by_any_name(job):
    with h5py.File(job.recording, "r+") as file:
        del file["metadata"].attrs["rotation_deg"]
    made(replace(job, methods=("wdd",), values={**job.values, "detector_pixel_mrad": 4.0, "rotation_deg": 3.0}))
    now = {"defocus_A": 80.0, "detector_pixel_invA": 0.1, "scan_step_A": (0.7, 0.7)}
    asked = replace(job, values=now, defaults={"rotation_deg": 9.0}, takes_maps=True)
    again, _ = made(replace(asked, map_settings={"wdd.epsilon": 0.2}))
    found = [again.calibration.get(name) for name in ("C10", "detector_pixel_invA", "rotation_deg")]
    assert found == [-80.0, 0.1, 3.0], "and what was given of this scan over a default"
    assert again.calibration.get("scan_step_A") == pytest.approx((0.7, 0.7))
    assert again.calibration.get("detector_transform") == "none"
    assert set(again.values) & {"C10", "detector_pixel_mrad"} == set()


@pytest.mark.parametrize("says", quick_first([True, False]), ids=["as now", "as earlier versions"])
def test_a_given_beam_centre_stays_where_it_is_with_every_remake(job, says):
    """A distortion corrects it once: the stored centre is no longer the recorded one."""
    told = {**job.values, "distortion": (0.05, 0.02, 0.0, 0.0), "beam_center_px": (7.0, 8.0)}
    first, _ = made(replace(job, values=told, methods=("wdd",)))
    assert first.calibration.get("beam_center_px") != (7.0, 8.0)
    told.pop("beam_center_px")
    if not says:
        with h5py.File(job.results, "r+") as file:
            del file["settings"].attrs["distortion"]
    with h5py.File(job.recording, "r+") as file:
        file["metadata"].attrs["beam_center_px"] = (7.0, 8.0)
    again, said = made(replace(job, values=told, takes_maps=True, map_settings={"wdd.epsilon": 0.2}))
    assert said[-1] == {"kind": "maps"}
    assert again.calibration.get("beam_center_px") == first.calibration.get("beam_center_px")


def test_a_resumed_scan_keeps_its_calibration_whatever_becomes_of_other_maps(job):
    job = replace(job, methods=("wdd",))
    made(job)
    with h5py.File(job.results, "r+") as file:
        file["calibration"].attrs["detector_pixel_invA"] *= 1 + 1e-4  # as another machine finds it
        there = float(file["calibration"].attrs["detector_pixel_invA"])
    resumed = replace(job, resume=True, takes_maps=True, map_settings={"wdd.epsilon": 0.2})
    again, said = made(resumed)
    assert (said, again.calibration.get("detector_pixel_invA")) == ([], there)
    other = Preset.from_mapping({"start_map": "idpc", "idpc.highpass_invA": 0.05})
    assert made(replace(resumed, preset=other))[1][-1] == {"kind": "maps"}


@pytest.mark.slow
def test_going_back_to_a_default_is_noticed(job):
    """One setting with a number, one that the method omits; an upsampling that the method chose is no setting."""
    job = replace(job, methods=("obf", "wdd"), takes_maps=True)
    for setting in ({"wdd.epsilon": 0.2}, {"idpc.highpass_invA": 0.05}):
        made(replace(job, map_settings=setting))
        assert made(job)[1][-1] == {"kind": "maps"}
        assert made(job)[1] == []
    stored = StoredMaps.read(job.results).maps
    assert stored["wdd_phase"].settings["epsilon"] == 0.01
    assert "highpass_invA" not in stored["idpc"].settings and "upsample" in stored["obf"].settings


def test_a_map_that_the_refinement_does_not_need_may_be_refused(job):
    """An aligned bright field has no depth of its own: the two exclude each other."""
    both = {"tcbf.depth_A": 5.0, "tcbf.align_order": 1}
    ready, said = made(replace(job, methods=("tcbf",), map_settings=both))
    assert ready.start is not None
    remarks = [message["message"] for message in said if message["kind"] == "remark"]
    assert "tcbf was not made: tcbf.depth_A and aligned images exclude each other: leave one of them out" in remarks
    needed = Preset.from_mapping({"start_map": "tcbf", **both})
    with pytest.raises(MetadataError, match="exclude each other"):
        made(replace(job, preset=needed))


@pytest.mark.slow
def test_virtual_detectors_of_before_stay_when_maps_are_made_again(job):
    made(replace(job, methods=("wdd",), detectors={"old": "disc:3", "both": "disc:3"}))
    before = StoredMaps.read(job.results).maps
    asked = {"takes_maps": True, "map_settings": {"wdd.epsilon": 0.2}, "detectors": {"both": "disc:1"}}
    made(replace(job, methods=("wdd",), **asked))
    after = StoredMaps.read(job.results).maps
    np.testing.assert_array_equal(after["vd_old"].data, before["vd_old"].data)
    assert after["vd_both"].data.sum() < before["vd_both"].data.sum()
    made(replace(job, methods=("wdd",)))
    assert "vd_old" not in StoredMaps.read(job.results).maps, "where nothing is taken all is new"


@pytest.mark.parametrize("settings", quick_first([{}, {"wdd.epsilon": 0.2}]), ids=["taken", "made again"])
def test_a_distortion_that_was_given_earlier_stays(job, settings):
    """Stored places refer to patterns without the distortion, so frames must be corrected now as well."""
    told = {**job.values, "distortion": (0.05, 0.02, 0.0, 0.0), "beam_center_px": (7.0, 8.0)}
    first, _ = made(replace(job, values=told, methods=("wdd",)))
    again, said = made(replace(job, takes_maps=True, methods=("wdd",), map_settings=settings))
    assert (said == []) == (not settings)
    assert list(again.values["distortion"])[:2] == list(Detector(distortion=told["distortion"]).distortion)[:2]
    if not settings:
        assert again.calibration.to_plain() == first.calibration.to_plain()
    none, _ = made(replace(job, takes_maps=True, values={**job.values, "distortion": (0.0,)}))
    assert list(none.values["distortion"]) == [0.0], "what is asked now wins"


def test_a_distortion_that_was_taken_back_stays_away(job):
    """The recording states a distortion, and somebody gave 0 for the stored maps."""
    with h5py.File(job.recording, "r+") as file:
        file["metadata"].attrs["distortion"] = (0.05, 0.02, 0.0, 0.0)
    first, _ = made(replace(job, values={**job.values, "distortion": (0.0,)}, methods=("wdd",)))
    again, said = made(replace(job, takes_maps=True, methods=("wdd",)))
    assert (said, list(again.values["distortion"])) == ([], [0.0])
    assert again.calibration.to_plain() == first.calibration.to_plain()


ANOTHER = [0.05, 0.02, 0.0, 0.0]
BOTH = [[-0.05, 0.0, 0.03, 0.0], [0.0]]


@pytest.mark.parametrize(("before", "asked_for"), quick_first([(ANOTHER, [[0.0]]), (ANOTHER, BOTH), (None, BOTH)]))
@pytest.mark.parametrize("taken", quick_first([{"resume": True}, {"takes_maps": True}]), ids=["gone on with", "taken"])
def test_another_distortion_makes_maps_anew(job, before, taken, asked_for):
    """Places in stored maps refer to patterns corrected with the distortion of those maps."""
    made(replace(job, values={**job.values, **({"distortion": before} if before else {})}, methods=("wdd",)))
    for numbers in asked_for:
        asked = replace(job, values={**job.values, "distortion": numbers}, methods=("wdd",), **taken)
        again, said = made(asked)
        assert said[-1] == {"kind": "maps"}
        fresh, _ = made(replace(asked, results=job.results.with_name("other_results.h5")))
        assert again.calibration.to_plain() == fresh.calibration.to_plain()
        assert made(asked)[1] == [], "and then they are there"
    with h5py.File(job.results, "r+") as file:
        del file["settings"].attrs["distortion"]
    assert made(replace(asked, values={**job.values, "distortion": before or (0.1, 0.0, 0.0, 0.0)}))[1] == []


OTHERS = {
    "energy_eV": 300e3, "convergence_semiangle_mrad": 21.0, "depth_A": 5.0, "scan_step_A": (0.6, 0.6),
    "field_of_view_A": 3.2, "scan.rotation_deg": 5.0, "defocus_A": 80.0, "astigmatism_A": 10.0, "Cs_A": 1e4,
    "detector_pixel_mrad": 4.0, "detector_pixel_invA": 0.1, "beam_center_px": (7.0, 8.0),
    "descan_px": (0.1, 0.0, 0.0, 0.2), "detector.transform": "transpose", "counts_per_electron": 2.0,
}  # fmt: skip


EACH_ONE_WAY = [("energy_eV", "resume"), ("depth_A", "resume"), *zip(OTHERS, itertools.cycle(("takes_maps", "resume")))]
"""The existing maps are examined before any value: two values are tested both ways, the others alternate."""


@pytest.mark.parametrize(("name", "way"), quick_first(EACH_ONE_WAY, 2))
def test_another_value_makes_maps_anew(job, stored, name, way):
    """By any of its names; values not given now stay as they were given for the stored maps."""
    shutil.copytree(stored, job.recording.parent, dirs_exist_ok=True)
    asked = replace(job, values={name: OTHERS[name]}, **{way: True})
    again, said = made(asked)
    assert said[-1] == {"kind": "maps"}
    fresh, _ = made(replace(asked, values={**not_overridden(job.values, asked.values), **asked.values},
                            results=job.results.with_name("other_results.h5")))  # fmt: skip
    assert again.calibration.to_plain() == fresh.calibration.to_plain()
    np.testing.assert_array_equal(again.start.phase, fresh.start.phase)
    assert made(asked)[1] == [], "and then they are there"
    assert made(replace(asked, values={}))[1] == [], "also for whoever asks for nothing"


def test_another_shape_of_the_scan_makes_maps_anew(job):
    """For frames in a row; without a given shape that of the recording counts."""
    with h5py.File(job.recording, "r+") as file:
        counts = file["data"][()]
        del file["data"]
        file["data"] = counts.reshape(64, 16, 16)
        file["metadata"].attrs["scan_shape"] = (8, 8)
    made(job)
    asked = replace(job, takes_maps=True, values={**job.values, "scan.shape": (4, 16)})
    again, said = made(asked)
    assert said[-1] == {"kind": "maps"}
    assert again.start.phase.shape == (4, 16)
    assert made(asked)[1] == [], "and then they are there"


ANGLE = ({"detector_pixel_mrad": 4.0}, mrad_to_invA(4.0, wavelength_A(300e3)))


@pytest.mark.parametrize(("given", "at_300"), quick_first([ANGLE, ({"detector_pixel_invA": 0.1}, 0.1)]))
def test_an_angle_that_was_given_for_a_pixel_stays_an_angle_at_another_energy(job, given, at_300):
    """1/Å follows from the angle; a pixel given in 1/Å stays the same."""
    made(replace(job, methods=("wdd",), values={**job.values, **given}))
    asked = replace(job, takes_maps=True, values={"energy_eV": 300e3}, map_settings={"wdd.epsilon": 0.2})
    again, said = made(asked)
    assert said[-1] == {"kind": "maps"}
    assert again.calibration.get("energy_eV") == 300e3
    assert again.calibration.get("detector_pixel_invA") == pytest.approx(at_300, rel=1e-12)


def test_an_upsample_that_is_taken_back_is_noticed(job):
    job = replace(job, methods=("obf",), takes_maps=True)
    made(replace(job, map_settings={"obf.upsample": 3.0}))
    assert StoredMaps.read(job.results).maps["obf"].settings["upsample"] == 3.0
    assert made(job)[1][-1] == {"kind": "maps"}
    assert StoredMaps.read(job.results).maps["obf"].settings["upsample"] < 3
    assert made(job)[1] == []
