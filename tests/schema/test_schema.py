"""The shared vocabulary: names, conversions, refusals."""

import numpy as np
import pytest

from ptylive.schema import Calibration, Detector, MetadataError, Optics, Origin, Quantity, Scan, ScanHeader
from ptylive.schema.metadata import build, fill_in, locate, overlay, overruled_values, to_attributes
from ptylive.schema.units import interaction_rad_per_VA, invA_to_mrad, mrad_to_invA, wavelength_A


def header(**sections) -> ScanHeader:
    parts = {name: build(name, sections.get(name, {}), "test") for name in ("scan", "optics", "detector")}
    return ScanHeader("uid", "series", 20, **parts)


def test_the_wavelength_is_the_tabulated_one():
    assert wavelength_A(80e3) == pytest.approx(0.0417572, rel=1e-5)
    assert wavelength_A(300e3) == pytest.approx(0.0196875, rel=1e-5)


def test_the_interaction_constant_is_that_of_textbooks():
    """Kirkland, Advanced Computing in Electron Microscopy, table 5.1: rad/kV/Å, four digits."""
    for energy, sigma in ((100e3, 0.9244e-3), (200e3, 0.7288e-3), (300e3, 0.6526e-3)):
        assert interaction_rad_per_VA(energy) == pytest.approx(sigma, abs=1e-7)


def test_an_angle_is_the_wavelength_times_its_frequency():
    assert invA_to_mrad(0.5, 0.04) == pytest.approx(20.0)
    assert mrad_to_invA(20.0, 0.04) == pytest.approx(0.5)


def test_familiar_names_of_aberrations_become_krivanek_coefficients():
    optics = Optics.model_validate({"defocus_A": 150.0, "astigmatism_A": 10.0, "astigmatism_deg": 45.0, "Cs_A": 1e4})
    assert optics.aberrations["C10"] == -150.0
    assert optics.aberrations["C12a"] == pytest.approx(0.0, abs=1e-12)
    assert optics.aberrations["C12b"] == pytest.approx(10.0)
    assert optics.aberrations["C30"] == 1e4


def test_cartesian_names_win_over_aliases():
    assert Optics.model_validate({"defocus_A": 150.0, "C10": -20.0}).aberrations == {"C10": -20.0}


def test_frames_of_a_snake_scan_with_flyback_find_their_points():
    scan = Scan(shape=(3, 4), pattern="snake", flyback_frames=2, skip_first=1)
    assert scan.frames == 1 + 3 * 6
    points = scan.point_of(np.arange(scan.frames))
    assert points[0] == -1
    np.testing.assert_array_equal(points[1:7], [0, 1, 2, 3, -1, -1])
    np.testing.assert_array_equal(points[7:13], [7, 6, 5, 4, -1, -1])
    assert scan.point_of(np.array([scan.frames])) == -1
    for point in range(scan.require_shape()[0] * scan.require_shape()[1]):
        assert np.array_equal(scan.acquired_at(np.array([point]))[0], np.flatnonzero(points == point))


@pytest.mark.parametrize("pattern", ["raster", "snake"])
@pytest.mark.parametrize(("flyback", "repeats", "skip"), [(0, 1, 0), (0, 1, 2), (0, 3, 2), (1, 1, 0), (2, 2, 1)])
def test_frames_belong_to_the_points_they_were_acquired_at(pattern, flyback, repeats, skip):
    scan = Scan(shape=(3, 4), pattern=pattern, flyback_frames=flyback, repeats=repeats, skip_first=skip)
    acquired = scan.acquired_at(np.arange(12))
    expected = np.full(scan.frames + 5, -1)
    for point in range(12):
        expected[acquired[point]] = point
    np.testing.assert_array_equal(scan.point_of(np.arange(scan.frames + 5)), expected)
    assert scan.point_of(np.array([-1])) == -1


def test_repeats_share_a_point():
    scan = Scan(shape=(2, 2), repeats=3)
    np.testing.assert_array_equal(scan.point_of(np.arange(12)), np.repeat([0, 1, 2, 3], 3))


def test_positions_are_in_the_detector_frame():
    scan = Scan(shape=(2, 2), step_A=(1.0, 2.0))
    np.testing.assert_allclose(scan.positions_A(90.0), [[0, 0], [-2, 0], [0, 1], [-2, 1]], atol=1e-12)


TYPED_SHAPES = ("4,6", " 4, 6 ", "4x6", "4X6", "4 x 6", "4×6", "4 6", "(4, 6)", "[4,6]", "4.0x6")


@pytest.mark.parametrize("shape", [(4, 6), [4.0, 6], np.array([4, 6]), *TYPED_SHAPES])
def test_a_shape_is_two_whole_numbers_however_they_are_written(shape):
    """Regression: 4x6 was refused."""
    assert build("scan", {"shape": shape}, "file.h5").shape == (4, 6)
    assert build("detector", {"shape": shape}, "file.h5").shape == (4, 6)
    assert build("scan", {"shape": shape, "field_of_view_A": 3.0}, "file.h5").step_A == (0.5, 0.5)


NO_SHAPES = ("4", "x", "4x", "x6", "4x6x8", "4,6,8", "4xx6", "4-6", "4.5x6", "fourxsix", "nanx6", "")


@pytest.mark.parametrize("shape", NO_SHAPES)
def test_other_texts_are_no_shape(shape):
    for section in ("scan", "detector"):
        with pytest.raises(MetadataError, match="is not two whole numbers, ROWS,COLUMNS"):
            build(section, {"shape": shape}, "file.h5")


@pytest.mark.parametrize("shape", [(0, 5), (-1, 5), (2**20, 2**20)])
def test_impossible_scan_shape(shape):
    with pytest.raises(MetadataError, match="impossible scan shape"):
        build("scan", {"shape": shape}, "file.h5")


def test_unknown_setting_names_the_nearest():
    with pytest.raises(MetadataError) as caught:
        locate("defocu_A")
    assert "defocus_A" in caught.value.line()


def test_values_that_a_scan_outvotes_are_named_under_any_name():
    given = header(optics={"energy_eV": 80e3, "defocus_A": 150.0}, scan={"step_A": 0.4, "pattern": "snake"})
    other = {"energy_eV": 80.01e3, "C10": -90.0, "scan_step_A": 0.5, "scan_pattern": "raster", "rotation_deg": 3.0}
    assert overruled_values(given, other) == [
        "scan_step_A 0.4 0.4, not 0.5 0.5", "scan_pattern snake, not raster", "C10 -150, not -90"
    ]  # fmt: skip


def test_a_size_of_a_detector_pixel_replaces_the_one_in_the_other_unit():
    """Regression: a file's 1/Å outvoted the mrad that a user gave, and a configured 1/Å the mrad of the file."""
    plain = ScanHeader("uid", "series", 4, Scan(shape=(2, 2)), Optics(), Detector(shape=(8, 8)))
    for name, other in (("pixel_mrad", "pixel_invA"), ("pixel_invA", "pixel_mrad")):
        told = overlay(plain, {f"detector_{other}": 0.5})
        corrected = overlay(told, {f"detector_{name}": 0.25}).detector
        assert (getattr(corrected, name), getattr(corrected, other)) == (0.25, None)
        assert fill_in(told, {f"detector_{name}": 0.25}).detector == told.detector
        assert overlay(told, {f"detector_{name}": None}).detector == told.detector
    both = overlay(plain, {"detector_pixel_mrad": 0.5, "detector_pixel_invA": 0.1}).detector
    assert (both.pixel_mrad, both.pixel_invA) == (0.5, 0.1)


def test_overlay_wins_and_fill_in_yields():
    given = header(optics={"energy_eV": 80e3, "defocus_A": 10.0}, scan={"shape": (4, 5)})
    assert overlay(given, {"optics.energy_eV": 60e3}).optics.energy_eV == 60e3
    assert overlay(given, {"defocus_A": 99.0}).optics.aberrations == {"C10": -99.0}
    filled = fill_in(given, {"energy_eV": 60e3, "scan_step_A": 0.4, "defocus_A": 99.0})
    assert filled.optics.energy_eV == 80e3
    assert filled.optics.aberrations == {"C10": -10.0}
    assert filled.scan.step_A == (0.4, 0.4)


def test_attributes_round_trip():
    given = header(
        scan={"shape": (4, 5), "step_A": (0.4, 0.5), "rotation_deg": -15.0, "pattern": "snake"},
        optics={"energy_eV": 80e3, "C10": -20.0, "C12b": 3.0},
        detector={"pixel_mrad": 2.0, "transform": "transpose+flip_rows", "beam_center_px": (3.5, 4.0)},
    )
    again = overlay(header(), to_attributes(given))
    assert again.scan == given.scan
    assert again.optics == given.optics
    assert again.detector.transform == given.detector.transform
    assert again.detector.transform_given
    assert again.detector.beam_center_px == (3.5, 4.0)


def test_a_default_transform_is_not_called_given():
    assert "detector_transform" not in to_attributes(header())


def test_unknown_transform_word():
    with pytest.raises(MetadataError, match="mirror"):
        build("detector", {"transform": "mirror"}, "test")


def test_detector_refuses_objects():
    with pytest.raises(ValueError, match="not supported"):
        Detector(dtype="|O8")


def test_calibration_round_trip():
    calibration = Calibration(
        {"rotation_deg": Quantity(-15.0, Origin.ESTIMATED, 0.4), "beam_center_px": Quantity((1.0, 2.0), Origin.GIVEN)}
    )
    again = Calibration.from_plain(calibration.to_plain())
    assert again == calibration
    attributes = calibration.to_attributes()
    assert attributes["rotation_deg_origin"] == "estimated"
    assert attributes["rotation_deg_uncertainty"] == 0.4
    with pytest.raises(MetadataError, match="iDPC needs energy_eV"):
        calibration.require("energy_eV", "iDPC")


def test_a_matrix_stands_for_steps_however_it_is_written():
    square = Scan(shape=(2, 3), matrix=((0.0, 0.5), (-0.4, 0.1)))
    plain = Scan(shape=(2, 3), matrix=[[0.3, 0], [0, 0.5]], step_A=7.0)
    assert (plain.matrix, plain.step_A) == (None, (0.3, 0.5)), "a diagonal one is but two steps"
    assert Scan(shape=(2, 3), matrix=[0.0, 0.5, -0.4, 0.1]) == square
    assert square.positions_A(0.0)[[1, 3]].tolist() == [[0.5, 0.1], [0.0, -0.4]]
    known = ScanHeader(uid="", series="", frames=0, scan=Scan(shape=(2, 3), step_A=0.3))
    turned = overlay(known, {"scan_matrix": "0, 0.5 Å, -0.04 nm, 0.1"})
    assert turned.scan.step_A is None
    assert turned.scan.matrix == pytest.approx(np.array(square.matrix))
    for name, value, step in (("scan_step_A", 0.3, 0.3), ("field_of_view_A", 1.5, 0.5)):
        again = overlay(turned, {name: value}).scan
        assert (again.matrix, again.step_A) == (None, (step, step))
    assert overlay(known, {"scan_matrix": [[0, 0.5], [-0.4, 0.1]]}).scan.matrix == square.matrix
    for configured in ({"scan_step_A": 0.3}, {"field_of_view_A": 3.0}, {"scan_matrix": [0.0, 1.0, 1.0, 0.0]}):
        assert fill_in(turned, configured).scan == turned.scan, "what the stream gave wins"
        assert fill_in(known, configured).scan == known.scan
    for wrong in ([1, 2, 3], [1, 2, 3, np.nan], [1, 2, 2, 4], [0, 0, 0, 0], "much"):
        with pytest.raises(MetadataError, match="matrix"):
            overlay(known, {"scan_matrix": wrong})


def test_a_field_of_view_stands_for_the_step():
    assert Scan(shape=(20, 40), field_of_view_A=20.0).step_A == (0.5, 0.5)
    assert Scan(shape=(20, 40), field_of_view_A=20.0, step_A=0.3).step_A == (0.3, 0.3)
    unknown = Scan(field_of_view_A=20.0)
    assert unknown.step_A is None
    assert unknown.with_frames(100).step_A == (2.0, 2.0)
    known = header(scan={"shape": (5, 4), "step_A": 0.3})
    assert overlay(known, {"field_of_view_A": 8.0}).scan.step_A == (2.0, 2.0)
    with pytest.raises(MetadataError, match="field_of_view_A"):
        overlay(known, {"field_of_view_A": -1.0})


def test_the_nearest_name_of_an_array_is_told():
    with pytest.raises(MetadataError) as refused:
        locate("dp_maks")
    assert refused.value.line() == "unknown setting 'dp_maks': did you mean 'dp_mask'?"


@pytest.mark.parametrize("flyback", [0, 1, 4, 7])
@pytest.mark.parametrize(("repeats", "skipped"), [(1, 0), (3, 5)])
def test_a_guessed_shape_leaves_room_for_frames_that_are_no_points(flyback: int, repeats: int, skipped: int) -> None:
    known = Scan(flyback_frames=flyback, repeats=repeats, skip_first=skipped)
    for side in (1, 2, 6, 256):
        frames = skipped + side * (side + flyback) * repeats
        assert known.with_frames(frames).shape == (side, side)
    line = known.with_frames(skipped + (7 + flyback) * repeats)
    assert (line.shape, line.frames) == ((1, 7), skipped + (7 + flyback) * repeats)
