"""Plans made from numbers, from a file, and from a file with some numbers overridden."""

import doctest

import h5py
import numpy as np
import pytest

import ptylive
from ptylive.application import planning
from ptylive.application.offline import refinable
from ptylive.engine.planning.figure import Verdict
from ptylive.engine.refine import check
from ptylive.schema import InputFileError, MetadataError
from ptylive.simulators.data import bundled

OPTICS = {"energy_eV": "80 keV", "convergence_semiangle_mrad": "25 mrad"}


def test_the_example():
    done = doctest.testmod(planning)
    assert (done.attempted, done.failed) == (3, 0)


def test_a_bundled_scan_is_what_it_is_known_to_be():
    """Gold at 300 kV: 48² points of 2.5 Å, 80² pixels of 0.855 mrad, 20 mrad, 400 Å of underfocus."""
    found = ptylive.plan(bundled("au_ac_300kV_parallax"))
    assert found["wavelength_A"].value == pytest.approx(0.0196875, rel=1e-5)
    assert found["overlap"].value == pytest.approx(1 - 2.5 / found["probe_diameter_A"].value)
    assert found["recording_bytes"].value == 48 * 48 * 80 * 80 * 2
    assert found["dose_e_per_A2"].verdict is Verdict.UNKNOWN


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mos2_svac_80kV_focus", "au_ac_300kV_parallax"])
def test_memory_is_that_which_the_refinement_itself_expects(name):
    scan = ptylive.open_scan(bundled(name))
    with scan.access.open() as source:
        dataset = refinable(source, scan.reconstruct(["obf"]).calibration)
    expected = check(dataset, ptylive.Preset(num_slices=1)).memory_bytes
    # a plan does not read the counts; small ones take a byte each in memory
    assert ptylive.plan(bundled(name))["refinement_bytes"].value == pytest.approx(expected, rel=0.1)


def test_values_win_over_the_file():
    path = bundled("mos2_svac_80kV_focus")
    plain, changed = ptylive.plan(path), ptylive.plan(path, scan_step_A="0.8 Å", defocus_A="10 nm", dose_e_per_A2=1e4)
    assert changed["field_of_view_A"].value == pytest.approx(2 * plain["field_of_view_A"].value)
    assert changed["probe_diameter_A"].value > plain["probe_diameter_A"].value
    assert changed["electrons_per_pattern"].value == pytest.approx(6400)


def test_another_scan_than_the_file_s_is_planned():
    path = bundled("mos2_svac_80kV_focus")
    larger = ptylive.plan(path, scan_shape=(512, 512), detector_shape=(128, 128))
    assert larger["recording_bytes"].value == 512 * 512 * 128 * 128 * 2
    same = ptylive.plan(path, detector_pixel_invA=0.1)
    assert same["window_A"].value == pytest.approx(10.0)  # overrides the pixel in mrad from the file


def test_a_beam_centre_belongs_to_its_detector(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["data"] = np.zeros((2, 2, 16, 16), np.uint16)
        file.create_group("metadata").attrs.update(energy_eV=80e3, beam_center_px=(3.5, 7.5), detector_pixel_mrad=1.0)
    assert ptylive.plan(tmp_path / "scan.h5")["object_pixel_A"].value == pytest.approx(41.757 / 16, rel=1e-4)
    edge = ptylive.plan(tmp_path / "scan.h5", **OPTICS)["detector_edge_mrad"]
    assert edge.value == pytest.approx(4.0)
    moved = ptylive.plan(tmp_path / "scan.h5", **OPTICS, detector_shape=64)
    assert moved["detector_edge_mrad"].value == pytest.approx(32.0)
    told = ptylive.plan(tmp_path / "scan.h5", **OPTICS, detector_shape=64, beam_center_px=(9.5, 31.5))
    assert told["detector_edge_mrad"].value == pytest.approx(10.0)


def test_an_impossible_value_of_a_file_can_be_replaced(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["data"] = np.zeros((2, 2, 8, 8), np.uint16)
        file.create_group("metadata").attrs["energy_eV"] = -1.0
    with pytest.raises(InputFileError, match="energy_eV"):
        ptylive.plan(tmp_path / "scan.h5")
    assert ptylive.plan(tmp_path / "scan.h5", energy_eV=80e3)["wavelength_A"].value == pytest.approx(0.041757, rel=1e-4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "nothing is known"),
        ({"energy_eV": 80}, "did you mean 80 keV"),
        ({"energy": 80e3}, "unknown setting 'energy'"),
        ({"beam_current_pA": "10 nm"}, "is not a unit for a current"),
        ({"beam_current_pA": -1}, "is impossible"),
        ({"beam_current_pA": 1e7}, "did you mean"),
        ({"thickness_A": 1e6}, "thickness_A = 1e\\+06 Å"),
        ({"beam_current_pA": 1, "dose_e_per_A2": 1}, "have the same meaning"),
        ({"detector_pixel_mrad": 1, "detector_pixel_invA": 1}, "have the same meaning"),
        ({"energy_eV": 80e3, "optics.energy_eV": 60e3}, "energy_eV is given twice"),
        ({"detector_shape": (64, 64, 64)}, "is not two whole numbers"),
        ({"detector_shape": "many"}, "is not two whole numbers"),
        ({"detector_shape": (64, True)}, "is not two whole numbers"),
        ({"detector_shape": (64, 8193)}, "64 x 8193 is impossible"),
        ({"scan_shape": (0, 4)}, "impossible scan shape"),
    ],
)
def test_impossible_values_are_refused_with_their_name(values, words):
    with pytest.raises(MetadataError, match=words):
        ptylive.plan(**values)


def test_units_of_what_no_file_has():
    made = ptylive.plan(**OPTICS, beam_current_pA="0.01 nA", dwell_time_us="0.1 ms", thickness_A="20 nm")
    assert made["electrons_per_pattern"].value == pytest.approx(6241.5, rel=1e-4)
    assert made["slices"].text == "9 of 22.2 Å"
    dose = ptylive.plan(**OPTICS, scan_step_A=1, dose_e_per_A2="500 e/nm²")
    assert dose["dose_e_per_A2"].value == pytest.approx(5.0)


@pytest.mark.parametrize("shape", [64, np.int64(64), (64, 64), np.array([64, 64]), "64,64", "64x64"])
def test_a_detector_is_told_by_two_whole_numbers_or_one(shape):
    told, square = (ptylive.plan(**OPTICS, detector_pixel_mrad=1.0, detector_shape=one) for one in (shape, [64, 64]))
    assert [figure.text for figure in told.figures] == [figure.text for figure in square.figures]
