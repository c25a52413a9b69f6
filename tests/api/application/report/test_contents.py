"""Contents of a report, for files written by servers, by commands and by other programs."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image
from stored_runs import PIXEL_A, write_results

from ptylive.application.report import read_report
from ptylive.application.report.contents import FIRST, spelt
from ptylive.engine.results import write_maps
from ptylive.schema import Calibration, InputFileError, LiveMap, MetadataError, Origin
from ptylive.schema.calibration import Quantity

GIVEN = {"rotation_deg": 0.0, "rotation_deg_origin": "given", "C10": -150.0, "C10_origin": "estimated"}


def with_maps(path, *names, sampling=(0.5, 0.5), coverage=None):
    """A results file with maps of noise on 6 × 7 points."""
    rng = np.random.default_rng(1)
    maps = [LiveMap(name, rng.normal(size=(6, 7)).astype(np.float32), "rad", sampling, 42, name) for name in names]
    there = np.ones((6, 7), bool) if coverage is None else coverage
    write_maps(path, maps, there, Calibration.from_attributes({**GIVEN, "C10_uncertainty": 3.0}), {"version": "1.2"})
    return path


def test_a_scan_that_was_refined(tmp_path):
    path = tmp_path / "a_results.h5"
    write_results(path)
    report = read_report(with_maps(path, "obf", "adf"))
    assert report.title == "a"
    assert report.details == (
        ("scan", "6 × 7 points"),
        ("patterns", "42 (100 % of the points)"),
        ("field", "0.3 × 0.35 nm"),
    )
    titles = [one.title for one in report.pictures]
    assert titles[0].startswith("refined phase (run1, 3 slices)")
    assert titles[1:] == ["phase (OBF)", "annular DF"]
    assert any(line.startswith("correlation with run1") for line in report.pictures[1].lines)
    assert ("C10", "-150 ± 3 Å", "estimated") in report.calibration
    assert ("results file", "a_results.h5") in report.provenance
    assert ("version", "1.2") in report.provenance
    assert [run.name for run in report.runs] == ["run1"]


def test_pictures_are_as_large_as_each_other_and_carry_a_scale_bar(tmp_path):
    path = tmp_path / "r.h5"
    write_results(path)
    report = read_report(with_maps(path, "obf"))
    for one in report.pictures:
        with Image.open(io.BytesIO(one.png)) as picture:
            assert max(picture.size) == 512
            corner = np.asarray(picture)[-90:, :200]
            assert (corner == 255).all(axis=-1).any(), one.title


def test_a_scan_that_was_not_refined_and_one_without_maps(tmp_path):
    report = read_report(with_maps(tmp_path / "maps.h5", "idpc"))
    assert ([one.title for one in report.pictures], report.runs) == (["iDPC phase"], ())
    write_results(tmp_path / "run.h5")
    report = read_report(tmp_path / "run.h5")
    assert (report.pictures, report.details, len(report.runs)) == ((), (), 1)


def test_a_scan_with_none_of_the_usual_maps_shows_those_it_has(tmp_path):
    """Regression: of maps of virtual detectors it was said that there were no maps."""
    report = read_report(with_maps(tmp_path / "r.h5", "vd_ring", "com_row"))
    assert [one.title for one in report.pictures] == ["centre of mass, rows", "vd_ring"]
    many = read_report(with_maps(tmp_path / "many.h5", *(f"vd_{number}" for number in range(20))))
    assert len(many.pictures) == len(FIRST)


def test_maps_without_a_scale_stand_beside_a_refinement(tmp_path):
    path = tmp_path / "r.h5"
    write_results(path)
    report = read_report(with_maps(path, "obf", sampling=None))
    assert [one.title for one in report.pictures] == ["phase (OBF)"]
    assert len(report.runs) == 1


def test_frames_that_did_not_arrive_are_told(tmp_path):
    coverage = np.arange(42).reshape(6, 7) < 21
    report = read_report(with_maps(tmp_path / "r.h5", "obf", coverage=coverage))
    assert ("patterns", "21 (50 % of the points)") in report.details


def test_what_is_shown_can_be_chosen(tmp_path):
    path = tmp_path / "r.h5"
    write_results(path)
    with_maps(path, *FIRST, "com_row")
    assert [one.title for one in read_report(path, runs=[]).pictures][:2] == ["phase (OBF)", "tilt-corrected BF"]
    report = read_report(path, maps=["com_row"], runs=["run1"])
    assert len(report.pictures) == 2
    with pytest.raises(MetadataError, match="no map 'obg'"):
        read_report(path, maps=["obg"])
    with pytest.raises(InputFileError, match="no run 'run9'"):
        read_report(path, runs=["run9"])


def test_a_file_without_anything_is_refused(tmp_path):
    path = tmp_path / "r.h5"
    with h5py.File(path, "w") as file:
        file.create_group("calibration")
    with pytest.raises(MetadataError, match="neither maps nor a refinement"):
        read_report(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputFileError, match=r"r\.h5"):
        read_report(path)


RIVALS_SPELT = "the other handedness, 40.0° with C10 -80 Å; 7.0° with C10 30 Å"


@pytest.mark.parametrize(
    ("name", "value", "doubt", "text"),
    [
        ("C10", -0.0, None, "0 Å"),
        ("scan_step_A", (0.4, 0.41), None, "0.4, 0.41 Å"),
        ("disc_radius_px", 12.4824, 0.123, "12.482 ± 0.12 px"),
        ("dose_e_per_A2", 99848.3, None, "99\u2009800 e/Å²"),
        ("detector_transform", "none", None, "none"),
        ("somebody_elses", 3.0, None, "3"),
        ("rival_orientations", (1.0, 40.0, -80.0, 0.0, 7.0, 30.0), None, RIVALS_SPELT),
    ],
)
def test_values_are_spelt_with_unit_and_uncertainty(name, value, doubt, text):
    assert spelt(name, Quantity(value, Origin.ESTIMATED, doubt)) == text


def test_the_pixel_of_the_object_is_told(tmp_path):
    write_results(tmp_path / "r.h5")
    (run,) = read_report(tmp_path / "r.h5").runs
    assert dict(run.details)["object"] == f"3 slices of 10 Å, {PIXEL_A:g} Å pixels"
