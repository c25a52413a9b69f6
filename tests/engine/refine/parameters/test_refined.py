"""Refined quantities from the blocks of a parameter vector."""

import numpy as np

from ptylive.engine.refine.parameters.parameter_vector import BlockName
from ptylive.engine.refine.parameters.refined import Refined, ScanReport

NOMINAL_A = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0]])
SHIFTS_PX = np.array([[0.25, 0.0], [0.0, 0.5], [-0.25, 0.0]])


def of(**values):
    return Refined.of(
        {getattr(BlockName, name): np.asarray(v) for name, v in values.items()}, NOMINAL_A, SHIFTS_PX, 0.5
    )


def test_what_was_fixed_is_none():
    found = of()
    np.testing.assert_array_equal(found.positions_A, NOMINAL_A)
    np.testing.assert_array_equal(found.common_shift_A, [0.0, 0.0])
    assert not found.moved
    names = "beam_current background slice_distances_A aberrations_A tilts_mrad relative_thickness detector_psf_px"
    assert {getattr(found, name) for name in names.split()} == {None}


def test_positions_keep_their_mean_and_the_object_moves_with_the_rest():
    moved_px = np.array([[1.0, 2.0], [1.0, 2.0], [4.0, 2.0]])
    found = of(SHIFTS=SHIFTS_PX + moved_px)
    assert found.moved
    np.testing.assert_allclose(found.common_shift_A, [1.0, 1.0])
    np.testing.assert_allclose(found.positions_A - NOMINAL_A, [[-0.5, 0.0], [-0.5, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(found.positions_A.mean(axis=0), NOMINAL_A.mean(axis=0))


def test_other_quantities_are_in_the_units_of_a_results_file():
    background = np.zeros((4, 4))
    background[0, 0] = 7.0
    found = of(
        CURRENT=[1.0, 2.0, 3.0], BACKGROUND=background, DISTANCES=[5, 8], SPREAD=[0.25], STRETCH=[0.0, 0.1, -0.1],
        TILTS=np.ones((1, 6), np.float32), ABERRATIONS=np.float32([3.0]),
    )  # fmt: skip
    np.testing.assert_allclose(found.beam_current, [0.5, 1.0, 1.5])
    assert found.background[2, 2] == 7.0 and found.background.sum() == 7.0
    assert found.slice_distances_A == (5.0, 8.0) and found.detector_psf_px == 0.5
    np.testing.assert_allclose(found.relative_thickness, [1.0, 1.1, 0.9])
    assert found.tilts_mrad.dtype == found.aberrations_A.dtype == np.float64


def test_patterns_move_with_their_scan():
    shifts_A = np.array([[0.0, 0.0], [1.0, -1.0]])
    report = ScanReport(("a", "b"), np.zeros((2, 2)), shifts_A, np.ones(2), np.array([2, 1]))
    found = of().of_scans(report, np.array([0, 0, 1]))
    np.testing.assert_allclose(found.positions_A - NOMINAL_A, [[0, 0], [0, 0], [1, -1]])
    assert found.scans is report
