"""A refined object in the frame of the maps: rotated, resampled, with the phase of all slices summed."""

from dataclasses import replace

import numpy as np
import pytest
from stored_runs import write_results

from ptylive.engine.analysis import scan_frame
from ptylive.engine.analysis.scan_frame import MOST_PIXELS, ScanFrame, averaged, finer_by, lit, phase_on_scan, wraps

PIXEL_A, ORIGIN_A = 0.1, (-9.0, -8.0)
SHAPE, STEP_A, ROTATION_DEG = (10, 14), (0.5, 0.4), 25.0


def pattern(row_A, col_A):
    """A smooth phase on the scan that resembles none of its mirror images."""
    return 0.6 * np.sin(1.3 * row_A + 0.4) * np.cos(0.9 * col_A) + 0.3 * np.sin(0.5 * row_A - 1.1 * col_A)


@pytest.fixture
def run(tmp_path):
    """Two slices share the pattern; the phase of the first has an arbitrary offset."""
    y, x = np.meshgrid(*(ORIGIN_A[i] + PIXEL_A * np.arange(180) for i in (0, 1)), indexing="ij")
    angle = np.radians(ROTATION_DEG)
    # the object's axes are the detector's: R(rotation) maps scan axes to them, its transpose maps them back
    row, col = np.cos(angle) * y + np.sin(angle) * x, -np.sin(angle) * y + np.cos(angle) * x
    phase = pattern(row, col)
    slices = np.exp(1j * np.stack([0.7 * phase + 2.0, 0.3 * phase]))
    stored = write_results(tmp_path / "r.h5")
    return replace(stored, object=slices[None].astype(np.complex64), pixel_A=PIXEL_A, origin_A=ORIGIN_A)


def expected(finer=1):
    rows, cols = ((np.arange(n * finer) + 0.5) / finer - 0.5 for n in SHAPE)
    return pattern(*np.meshgrid(rows * STEP_A[0], cols * STEP_A[1], indexing="ij"))


@pytest.mark.parametrize("finer", [1, 4])
def test_the_object_is_read_where_the_scan_was(run, finer, monkeypatch):
    monkeypatch.setattr(scan_frame, "BAND_PIXELS", 100)  # processed in bands of a few rows
    found = phase_on_scan(run, ScanFrame.turned(ROTATION_DEG), SHAPE, STEP_A, finer)
    offset = (found - expected(finer)).mean()
    # linear interpolation errs by up to pixel² / 8 times the curvature, which is at most 2
    np.testing.assert_allclose(found - offset, expected(finer), atol=PIXEL_A**2 / 4)


def test_turned_the_other_way_it_is_another_picture(run):
    wrong = phase_on_scan(run, ScanFrame.turned(-ROTATION_DEG), SHAPE, STEP_A)
    assert np.corrcoef(wrong.ravel(), expected().ravel())[0, 1] < 0.9


def test_a_phase_beyond_half_a_turn_is_not_smeared_where_it_jumps(run):
    """Halfway between a pixel at +3.1 rad and one at -3.1 rad the phase is 3.14, not 0."""
    steep = np.exp(1j * 3.1 * np.sign(np.arange(180) - 90.5))[None, None, None, :] * np.ones((1, 1, 180, 1))
    found = phase_on_scan(replace(run, object=steep), ScanFrame.turned(0.0), SHAPE, (0.1, 0.03))
    assert np.abs(found).min() > 3.0 - np.abs(np.angle(steep.sum()))


def test_finer_pixels_show_what_the_object_holds_and_no_more_than_fits(run):
    assert finer_by(run, SHAPE, STEP_A) == 5
    assert finer_by(run, SHAPE, (0.05, 0.05)) == 1
    assert finer_by(run, (1000, 1000), (10.0, 10.0)) == 4
    assert (4 * 1000) ** 2 <= MOST_PIXELS


def test_means_are_those_of_the_finer_pixels():
    fine = np.arange(24.0).reshape(4, 6)
    np.testing.assert_array_equal(averaged(fine, 2), [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])


def positions(run_shape=SHAPE, turned=ROTATION_DEG):
    row, col = np.divmod(np.arange(run_shape[0] * run_shape[1]), run_shape[1])
    angle = np.radians(turned)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.stack([row * STEP_A[0], col * STEP_A[1]], axis=1) @ matrix.T


def test_refined_positions_tell_where_the_scan_lay():
    """The scan is rotated, stretched and shifted as the refinement found, whatever the file's calibration says."""
    jitter = np.random.default_rng(0).normal(scale=0.05, size=(SHAPE[0] * SHAPE[1], 2))
    found = ScanFrame.of_positions(1.03 * positions() + [0.2, -0.1] + jitter, SHAPE, STEP_A)
    np.testing.assert_allclose(found.matrix, 1.03 * ScanFrame.turned(ROTATION_DEG).matrix, atol=0.01)
    np.testing.assert_allclose(found.origin_A, [0.2, -0.1], atol=0.04)
    there_and_back = positions().reshape(*SHAPE, 2)
    there_and_back[1::2] = there_and_back[1::2, ::-1]
    again = ScanFrame.of_positions(there_and_back.reshape(-1, 2), SHAPE, STEP_A)
    np.testing.assert_allclose(again.matrix, ScanFrame.turned(ROTATION_DEG).matrix, atol=1e-9)
    assert ScanFrame.of_positions(positions()[:-1], SHAPE, STEP_A) is None, "points are missing"
    shuffled = np.random.default_rng(0).permutation(positions())
    assert ScanFrame.of_positions(shuffled, SHAPE, STEP_A) is None, "not row by row"
    assert ScanFrame.of_positions(positions((1, 5)), (1, 5), STEP_A) is None


def test_only_pixels_beside_a_position_were_lit(run):
    """Tested on a refinement of the first rows of a scan."""
    first = replace(run, positions_A=positions()[: 4 * SHAPE[1]])
    seen = lit(first, ScanFrame.turned(ROTATION_DEG), SHAPE, STEP_A, float(np.hypot(*STEP_A)))
    assert seen[:4].all()
    assert not seen[5:].any()


def test_a_phase_beyond_half_a_turn_is_noticed(run):
    whole = replace(run, positions_A=positions())
    assert not wraps(whole)
    assert wraps(replace(whole, object=whole.object**12))
