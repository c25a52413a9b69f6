"""Several scans joined into one data set, and combinations that are refused."""

from dataclasses import replace

import numpy as np
import pytest
from tilted_scans import TiltedScans

from ptylive.engine.refine.data.lattice import Lattice
from ptylive.engine.refine.data.series.joint_scans import joined, under_one_calibration
from ptylive.schema import MetadataError, Origin, Quantity

SPECIMEN = TiltedScans(np.array([[3.0, 3.0, 10.0]]), np.array([0.4]), 20.0, points=3, pixels=16, pixel_mrad=4.0)
NAMES = ("a.h5", "b.h5")


def two(**others):
    first = SPECIMEN.scan()
    return first, replace(SPECIMEN.scan((5.0, 0.0), seed=1), **others)


def test_patterns_of_all_scans_are_read_where_they_lie():
    first, second = two()
    both = joined([first, second], NAMES, np.array([[0, 0], [1.5, -0.5]]))
    assert both.scan_of.tolist() == [0] * 9 + [1] * 9 and both.scan_names == NAMES
    order = np.array([17, 0, 9, 8])
    np.testing.assert_array_equal(
        both.patterns[order], [second.patterns[8], first.patterns[0], second.patterns[0], first.patterns[8]]
    )
    np.testing.assert_allclose(both.positions_A[9:] - second.positions_A, [[1.5, -0.5]] * 9)
    np.testing.assert_allclose(both.positions_A[:9], first.positions_A)
    part = both.part(order)
    assert part.scan_of.tolist() == [1, 0, 1, 0]
    assert Lattice.of(replace(both, scan_shape=(40, 40))) is None


def test_rasters_stand_apart_also_of_different_widths():
    first, second = two()
    second = replace(second, scan_shape=(2, 4), point=np.arange(8), patterns=second.patterns[:8])
    second = replace(second, positions_A=second.positions_A[:8])
    both = joined([first, second], NAMES, np.zeros((2, 2)))
    assert both.scan_shape == (6, 4)
    assert both.point.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, *range(16, 24)]


def test_a_beam_that_has_moved_moves_the_model():
    first, second = two(beam_center_px=np.array([8.5, 7.75]))
    assert joined([first, two()[1]], NAMES, np.zeros((2, 2))).offsets_px is None
    both = joined([first, second], NAMES, np.zeros((2, 2)))
    np.testing.assert_allclose(both.offsets_px, [[0, 0]] * 9 + [[0.5, -0.25]] * 9)


def test_a_pixel_that_is_bad_in_one_scan_counts_in_none():
    bad = np.zeros((16, 16), bool)
    bad[2, 3] = True
    assert joined([*two(bad_pixels=bad)], NAMES, np.zeros((2, 2))).bad_pixels.sum() == 1


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ({"patterns": np.zeros((9, 16, 14))}, "b.h5 has patterns of 16 x 14"),
        ({"masks": np.zeros((2, 16, 16))}, "b.h5 holds coefficients"),
        ({"scan_of": np.zeros(9, int)}, "b.h5 already consists of several scans"),
        ({"beam_center_px": np.array([12.0, 8.0])}, "the beam of b.h5 is 4 px"),
        ({"calibration": SPECIMEN.calibration(energy_eV=80e3)}, "energy_eV"),
        ({"calibration": SPECIMEN.calibration(convergence_semiangle_mrad=30.0)}, "convergence_semiangle_mrad"),
        ({"calibration": SPECIMEN.calibration(detector_pixel_invA=0.2)}, "detector_pixel_invA"),
    ],
)
def test_what_does_not_go_together_is_named(others, named):
    with pytest.raises(MetadataError, match=named):
        joined([*two(**others)], NAMES, np.zeros((2, 2)))


def test_estimates_are_those_of_the_first_scan():
    first = SPECIMEN.calibration()
    guessed = {"rotation_deg": 4.0, "detector_pixel_invA": 0.2, "beam_center_px": (7.0, 8.0)}
    other = first.having(**{name: Quantity(value, Origin.ESTIMATED) for name, value in guessed.items()})
    other = other.having(C10=Quantity(-80.0, Origin.GIVEN))
    common = under_one_calibration(first, other)
    assert common.get("rotation_deg") == 0.0 and common.get("C10") == -80.0
    assert common.get("detector_pixel_invA") == first.get("detector_pixel_invA")
    assert common.get("beam_center_px") == (7.0, 8.0)


def test_the_beam_current_is_that_of_every_scan():
    first, second = two()
    assert joined([first, second], NAMES, np.zeros((2, 2))).current is None
    both = joined([first, replace(second, current=np.full(9, 1.1))], NAMES, np.zeros((2, 2)))
    np.testing.assert_array_equal(both.current, [1.0] * 9 + [1.1] * 9)
