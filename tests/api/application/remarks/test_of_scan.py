"""Remarks: implausible values sent by a microscope are questioned; values given by a user are accepted as meant."""

from dataclasses import replace

import numpy as np
import pytest

from ptylive.application.remarks.of_scan import (
    assumed_center_remarks,
    axes_remarks,
    flash_remarks,
    frame_remarks,
    remarks,
    saturation_remarks,
)
from ptylive.schema import Calibration, Detector, Optics, Origin, Quantity, Scan, ScanHeader


def header(energy_eV=80e3):
    scan = Scan(shape=(4, 5), step_A=0.5)
    return ScanHeader("uid", "series", scan.frames, scan, Optics(energy_eV=energy_eV), Detector(shape=(8, 8)))


PLACE = {"beam_center_px": (23.5, 31.5), "disc_radius_px": 12.0}


def with_masked(count):
    return Calibration().having(masked_counts=Quantity(count, Origin.ESTIMATED))


def test_plausible_values_are_not_asked_about():
    assert remarks(header(), header(), Calibration()) == []


def test_what_a_sender_told_is_asked_about_and_what_a_user_gave_is_not():
    (asked,) = remarks(header(80.0), header(80.0), Calibration())
    assert asked.startswith("is this right? ")
    assert "80" in asked
    assert remarks(header(80.0), header(80e3), Calibration()) == [], "a user has put it right"
    assert remarks(replace(header(), optics=Optics()), header(80.0), Calibration()) == [], (
        "a user has given it, and means it"
    )


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, []),
        (1, ["1 count is NaN, infinite or above 1e12: used as 0"]),
        (7, ["7 counts are NaN, infinite or above 1e12: used as 0"]),
    ],
)
def test_counts_that_were_no_numbers_are_told(count, said):
    assert remarks(header(), header(), with_masked(count)) == said


def test_counts_that_were_no_numbers_are_told_where_none_is_left():
    masked, empty = remarks(header(), header(), with_masked(7), np.zeros((8, 8)))
    assert masked.startswith("7 counts are NaN")
    assert empty.startswith("all counts are 0")


def with_disc(**given):
    """8 pixels of 0.04 1/Å at 80 keV: 13.4 mrad."""
    told = {"energy_eV": 80e3, "disc_radius_px": 8.0, "detector_pixel_invA": 0.04, **given}
    return Calibration().having(**{name: Quantity(value, Origin.GIVEN) for name, value in told.items()})


@pytest.mark.parametrize("semiangle_mrad", [6.7, 26.7, 15.8])
def test_a_disc_that_is_not_the_semiangle_is_told_with_both(semiangle_mrad):
    (said,) = remarks(header(), header(), with_disc(convergence_semiangle_mrad=semiangle_mrad))
    assert said.startswith("the disc has a radius of 13.4 mrad (8 px of 0.04 1/Å)")
    assert f"convergence_semiangle_mrad is {semiangle_mrad:g}" in said


def overlapping_discs(radius_px=10.0):
    """Discs on a square lattice that overlap, as of a thick crystal: fainter outwards, the central one brightest."""
    rows, columns = np.indices((64, 64)) - 31.5
    total = np.zeros((64, 64))
    for order in np.ndindex(7, 7):
        h, k = np.array(order) - 3
        strength = 30.0 if (h, k) == (0, 0) else 20.0 * np.exp(-0.5 * (h**2 + k**2))
        total += strength * (np.hypot(rows - 7 * h, columns - 7 * k) < radius_px)
    return total


@pytest.mark.parametrize(("semiangle_mrad", "is_right"), [(16.7, True), (26.0, False), (10.0, False)])
def test_a_disc_with_diffracted_ones_over_it_does_not_contradict_a_semiangle_that_has_an_edge(semiangle_mrad, is_right):
    """Regression: for gold of 20 nm the disc is found too large, and a right semi-angle was called wrong."""
    pixel = {"energy_eV": 80e3, "detector_pixel_invA": 0.04, "beam_center_px": (31.5, 31.5), "disc_radius_px": 12.0}
    told = {"convergence_semiangle_mrad": semiangle_mrad, **pixel}
    calibration = Calibration().having(**{name: Quantity(value, Origin.ESTIMATED) for name, value in told.items()})
    (said,) = remarks(header(), header(), calibration, overlapping_discs())
    assert said.startswith("the disc seems to have a radius of 20 mrad (12 px") == is_right
    assert ("that is probably right; in a thick crystal" in said) == is_right
    assert ("phases are wrong if either is" in said) != is_right


@pytest.mark.parametrize("semiangle_mrad", [12.0, 13.4, 15.0])
def test_a_nominal_semiangle_near_the_disc_is_not_asked_about(semiangle_mrad):
    assert remarks(header(), header(), with_disc(convergence_semiangle_mrad=semiangle_mrad)) == []


def pattern(background=0.0):
    """A disc and scattering that decreases outwards."""
    rows, columns = np.indices((48, 64)) - np.array([23.5, 31.5])[:, None, None]
    radius = np.hypot(rows, columns)
    return np.where(radius < 12, 30.0, 200.0 / (radius + 1) ** 2) + background


@pytest.mark.parametrize(
    ("C10_A", "origin", "asked"), [(-1e5, "GIVEN", True), (-100.0, "GIVEN", False), (-1e5, "ESTIMATED", False)]
)
def test_a_given_defocus_that_makes_the_probe_wider_than_its_window_is_asked_about(C10_A, origin, asked):
    """Regression: 10 µm instead of 10 nm gave maps and a refined object without a word."""
    calibration = with_disc(convergence_semiangle_mrad=13.4).having(C10=Quantity(C10_A, Origin[origin]))
    said = remarks(header(), header(), calibration)
    assert [line[:43] for line in said] == ["at the given defocus of 10.0 µm the probe i"] * asked


@pytest.mark.parametrize(
    ("step_A", "C10_A", "told"), [(0.4, 0.0, False), (20.0, 0.0, True), (20.0, -500.0, False), (500.0, -500.0, True)]
)
def test_probes_that_do_not_overlap_are_told(step_A, C10_A, told):
    """Regression: phase maps of such a scan, or of one whose step was in another unit, were made without a word."""
    optics = {"convergence_semiangle_mrad": 13.4, "scan_step_A": (0.5 * step_A, step_A), "C10": C10_A}
    said = remarks(header(), header(), with_disc(**optics))
    assert ["do not overlap" in line for line in said] == [True] * told


def test_exchanged_axes_of_scan_and_detector_are_asked_about():
    flat = np.random.default_rng(0).poisson(30, (20, 24)).astype(float)
    assert axes_remarks(pattern(), flat) == axes_remarks(flat, flat) == axes_remarks(pattern(), pattern()) == []
    (said,) = axes_remarks(flat, pattern())
    assert "numpy.transpose(data, (2, 3, 0, 1))" in said


def test_an_even_level_of_counts_is_asked_about_and_scattering_is_not():
    assert remarks(header(), header(), Calibration(), pattern()) == []
    (said,) = remarks(header(), header(), Calibration(), pattern(background=10.0))
    assert said.startswith("69 % of the counts are spread evenly over the detector, 10.14 in each pixel")
    assert said.endswith("give dark_reference: a scan with the beam blanked, or the number 10.14")


def test_few_counts_and_none_are_no_offset():
    (said,) = remarks(header(), header(), Calibration(), np.zeros((8, 8)))
    assert said.startswith("all counts are 0: was the beam blanked")
    few = np.random.default_rng(1).poisson(0.02, (48, 64)).astype(float)
    assert remarks(header(), header(), Calibration(), few) == []


def test_a_disc_that_was_not_found_is_said_to_be_assumed_and_contradicts_nothing():
    """A quarter of the detector stands for the radius then, which says nothing about the semi-angle."""
    assumed = {name: Quantity(value, Origin.DEFAULT) for name, value in PLACE.items()}
    calibration = with_disc(convergence_semiangle_mrad=26.7).having(**assumed)
    assert remarks(header(), header(), calibration, pattern()) == []
    (said,) = assumed_center_remarks(calibration)
    assert said.startswith("the mean pattern shows no disc with a dark surrounding: beam_center_px 23.5, 31.5,")
    given = calibration.having(beam_center_px=Quantity((20.0, 30.0), Origin.GIVEN))
    assert assumed_center_remarks(given) == []


@pytest.mark.parametrize(
    ("center_px", "origin", "told"),
    [
        ((23.5, 31.5), Origin.GIVEN, False),
        ((20.5, 33.0), Origin.GIVEN, False),
        ((31.5, 23.5), Origin.GIVEN, True),
        ((5.0, 60.0), Origin.GIVEN, True),
        ((200.0, 200.0), Origin.GIVEN, True),
        ((5.0, 60.0), Origin.ESTIMATED, False),
    ],
)
def test_a_given_centre_beside_the_disc_is_told(center_px, origin, told):
    """A wrong centre spoils all maps but those of the centre of mass, and nothing else reports it."""
    known = {"beam_center_px": Quantity(center_px, origin), "disc_radius_px": Quantity(12.0, Origin.ESTIMATED)}
    said = remarks(header(), header(), Calibration().having(**known), pattern())
    assert [line[:14] for line in said] == ["beam_center_px"] * told
    assert not told or "lies around 23.5, 31.5 (row, column)" in said[0]


def counted(seed=0, counts=20.0):
    """A disc of that many counts a pixel, as it would be counted."""
    return np.random.default_rng(seed).poisson(pattern() * counts / pattern().max()).astype(float)


@pytest.mark.parametrize("marker", [0, 65535])
def test_gaps_that_no_mask_names_are_asked_about(marker):
    """Rows and columns between modules cut the disc to pieces, and the largest piece passes for the disc."""
    seen, mask = counted(), np.zeros((48, 64), dtype=bool)
    mask[22:24] = mask[:, [30, 31]] = True
    seen[mask] = marker
    (said,) = remarks(header(), header(), Calibration(), seen)
    assert said.startswith("all pixels of rows 22, 23 and columns 30, 31 of the detector hold the same number")
    assert remarks(header(), replace(header(), arrays={"bad_pixel_mask": mask}), Calibration(), seen) == []
    beyond = counted()
    beyond[:4] = 0
    assert remarks(header(), header(), Calibration(), beyond) == [], "nothing is beyond the last rows"


def test_a_beam_stop_that_no_mask_names_is_asked_about_and_few_counts_are_none():
    rows, columns = np.indices((48, 64))
    seen = np.where(np.hypot(rows - 24, columns - 30) < 3, 0, counted())
    known = {"beam_center_px": (23.5, 31.5), "disc_radius_px": 12.0}
    calibration = Calibration().having(**{name: Quantity(value, Origin.ESTIMATED) for name, value in known.items()})
    (said,) = remarks(header(), header(), calibration, seen)
    assert said.startswith("25 adjacent pixels in the disc hold no counts in any pattern: a beam stop?")
    for counts in (0.02, 0.3, 2.0):
        assert remarks(header(), header(), calibration, counted(1, counts)) == [], counts


def test_patterns_from_which_too_much_was_subtracted_are_told():
    counts = np.full((4, 6), 100.0)
    counts[1, 2:4] = -3.0
    (said,) = frame_remarks(counts, np.ones(counts.shape, dtype=bool))
    assert said.startswith("the counts of 2 of 24 patterns sum to less than 0: too much subtracted from them?")
    counts[1, 2:4] = 1.0
    assert frame_remarks(counts, np.ones(counts.shape, dtype=bool)) == []


def test_a_flash_and_lost_frames_are_told_and_few_electrons_are_neither():
    rng = np.random.default_rng(2)
    visited = np.ones((20, 24), dtype=bool)
    for counts in (0.01, 1.0, 5.0, 1e4):
        seen = rng.poisson(counts, visited.shape).astype(float)
        assert frame_remarks(seen, visited) == [], counts
    assert frame_remarks(np.where(np.arange(24) < 12, 1e4, 10.0) * visited, visited) == [], "half of it is thick"
    seen[3, 4:9], seen[5, 6] = 0, 1e7
    flash, lost = frame_remarks(seen, visited)
    assert flash.startswith("the pattern at scan point (5, 6) holds")
    assert lost.startswith("5 of 480 patterns hold no counts")
    visited[3, 4:9] = visited[5, 6] = False
    assert frame_remarks(seen, visited) == []


def test_bad_pixels_are_no_offset():
    bad = np.zeros((48, 64), dtype=bool)
    bad[:4] = True
    seen = pattern(background=10.0)
    seen[:4] = np.nan
    (said,) = remarks(header(), replace(header(), arrays={"bad_pixel_mask": bad}), Calibration(), seen)
    assert "are spread evenly" in said


def test_numbers_that_pile_up_at_the_largest_one_are_a_saturated_detector():
    rng = np.random.default_rng(3)
    counts = rng.poisson(pattern(background=0.2), (64, *pattern().shape)).astype(np.uint16)
    assert saturation_remarks(counts, None) == []
    limit = int(np.percentile(counts[counts > 10], 90))
    (said,) = saturation_remarks(np.minimum(counts, limit), None)
    assert f"of the pixels hold {limit}, the largest number" in said
    full = counts == counts.max()
    assert saturation_remarks(np.minimum(counts, limit), (counts >= limit).any(axis=0)) == []
    assert full.sum() < 30


def test_a_disc_that_is_always_saturated_is_told():
    """Regression: pixels that always hold the same number were left out, however many they were."""
    counts = np.random.default_rng(3).poisson(4, (6, 16, 16)).astype("<u4")
    counts[:, 5:9, 6:9] = 2**32 - 1
    (said,) = saturation_remarks(counts, None)
    assert said.startswith("12 pixels always hold 4294967295, the largest number of 32 bits")
    assert saturation_remarks(counts, counts[0] > 100) == []
    assert saturation_remarks(np.minimum(counts, 4094), None) == []
    (said,) = saturation_remarks(np.minimum(counts, 4095), None)
    assert said.startswith("12 pixels always hold 4095, the largest number of 12 bits")
    counts = counts.astype("<u8")
    counts[:, 5:9, 6:9] = 2**64 - 1
    assert "hold 18446744073709551615, the largest number of 64 bits" in saturation_remarks(counts, None)[0]
    assert saturation_remarks(np.minimum(counts, 4095).astype("f4"), None) == []
    counts[:, 7:] = 3  # six pixels are left, which may be hot
    assert saturation_remarks(counts, None) == []


def test_what_bad_pixels_hold_hides_no_saturation():
    counts = np.random.default_rng(3).poisson(4, (6, 16, 16)).astype("<u2")
    counts[:, 5:9, 6:9] = 4095
    bad = np.zeros((16, 16), dtype=bool)
    bad[0, 0], counts[:, 0, 0] = True, 65535
    assert saturation_remarks(counts, None) == []
    (said,) = saturation_remarks(counts, bad)
    assert said.startswith("12 pixels always hold 4095")


def test_no_patterns_or_bad_pixels_only_are_not_saturated():
    counts = np.full((6, 16, 16), 4095, dtype="<u2")
    assert saturation_remarks(counts, np.ones((16, 16), dtype=bool)) == []
    assert saturation_remarks(counts[:0], None) == []


@pytest.mark.parametrize("electrons", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("gain", [1, 100])
def test_few_electrons_flashes_and_dead_pixels_are_no_saturation(electrons, gain):
    counts = (gain * np.random.default_rng(4).poisson(electrons, (64, 48, 48))).astype(np.uint16)
    assert saturation_remarks(counts, None) == []
    counts[:, :4] = 65535
    counts[::3, 20, 20] = 65535
    assert saturation_remarks(counts, None) == []
    assert saturation_remarks(np.zeros((2, 4, 4)), None) == []


def test_single_pixels_far_above_the_brightest_are_flashes():
    counts = np.random.default_rng(5).poisson(pattern(background=0.2), (64, *pattern().shape)).astype(np.uint16)
    most = int(counts.max())
    assert flash_remarks(counts, None) == []
    counts[7, 3, 60], counts[20, 25, 30], counts[20, 2, 2] = 900, 30000, 500
    (said,) = flash_remarks(counts, None)
    assert said.startswith("in 2 of 64 patterns looked at, single pixels hold up to 30000, ")
    limit = int(said.split("saturation_value=")[1].split(",")[0])
    assert most < limit <= 1.5 * most + 1
    assert flash_remarks(np.minimum(counts, limit), None) == []
    bad = np.zeros(counts.shape[1:], dtype=bool)
    bad[3, 60] = bad[25, 30] = bad[2, 2] = True
    assert flash_remarks(counts, bad) == []


def test_bright_patterns_hot_pixels_and_few_electrons_are_no_flashes():
    rng = np.random.default_rng(6)
    counts = rng.poisson(0.5 * pattern(), (64, *pattern().shape)).astype(np.uint16)
    counts[3] = rng.poisson(20 * pattern())
    counts[:, 5, 5] = 65535
    assert flash_remarks(counts, None) == []
    assert flash_remarks(rng.poisson(0.001, (64, 16, 16)) * 100, None) == []
