"""Scores of the zoo: shifts are found, signs count, noise and blur cost; no shift by a lattice spacing is tried."""

import numpy as np
import pytest
from scipy import ndimage
from zoo_scans import SAMPLING_A, small_draw, written_scan

from benchmarks.zoo.score import Reconstruction, Truth, half_data_score, period_below, ring_correlation, score


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A truth, and a perfect reconstruction of it."""
    path, scan = written_scan(tmp_path_factory.mktemp("scene"), small_draw(rotation_deg=20.0))
    origin = tuple(-scan.nominal[0, 0])
    return Truth.read(path), Reconstruction(scan.slices, (SAMPLING_A, SAMPLING_A), origin)


@pytest.fixture(scope="module")
def figures(scene):
    """The figures of the perfect reconstruction."""
    return score(*scene)


def moved(found, by):
    return Reconstruction(found.phase, found.sampling_A, (found.origin_A[0] + by[0], found.origin_A[1] + by[1]))


def changed(found, phase):
    return Reconstruction(phase, found.sampling_A, found.origin_A)


def test_a_perfect_reconstruction(scene, figures):
    truth, _ = scene
    # sharper than the truth with which it is compared
    assert 0.98 < figures["corr"] <= 1
    assert figures["corr_best_blur"] > 0.999 and figures["blur_A"] < truth.blur_A
    assert max(map(abs, figures["shift_A"])) <= 0.05
    assert figures["frc_half_A"] <= 2 * SAMPLING_A * 1.1


def test_planes_and_factors_do_not_count(scene, figures):
    truth, found = scene
    rows, columns = np.indices(found.phase.shape[1:])
    slanted = score(truth, changed(found, 3 * found.phase + 0.01 * rows - 0.02 * columns + 5))
    assert slanted["corr"] == pytest.approx(figures["corr"], abs=2e-4)


def test_slices_are_summed(scene):
    truth, found = scene
    figures = score(truth, changed(found, np.concatenate([0.3 * found.phase, 0.7 * found.phase])))
    assert figures["corr"] > 0.98 and figures["slices"] == 2


def test_a_shift_is_found_and_told(scene):
    truth, found = scene
    figures = score(truth, moved(found, (0.5, -0.7)))
    assert figures["corr"] > 0.98
    np.testing.assert_allclose(figures["shift_A"], (0.5, -0.7), atol=0.05)


def test_a_shift_beyond_the_limit_is_not_followed(scene):
    truth, found = scene
    assert score(truth, moved(found, (3.0, 0.0)))["corr"] < 0.9


def test_a_turned_sign_counts_against_it(scene):
    truth, found = scene
    assert score(truth, changed(found, -found.phase))["corr"] < -0.98


def test_noise_and_blur_cost(scene):
    truth, found = scene
    rng = np.random.default_rng(1)
    noise = 0.5 * found.phase.std() * rng.normal(size=found.phase.shape)
    noisy = score(truth, changed(found, found.phase + noise))
    soft = score(truth, changed(found, ndimage.gaussian_filter(found.phase, (0, 6, 6))))
    assert noisy["corr"] < 0.97
    assert soft["corr"] < soft["corr_best_blur"] and soft["blur_A"] > 0.5
    assert soft["corr_best_blur"] > 0.97


@pytest.mark.slow
def test_another_frame_of_the_detector_is_as_right(scene, figures):
    """A detector flip found as a transposition comes with a quarter turn: the same picture, rotated."""
    truth, found = scene
    rows = found.phase.shape[1]
    quarter = np.rot90(found.phase, axes=(1, 2))
    columns = found.phase.shape[2]
    origin = (-(columns - 1) * SAMPLING_A - found.origin_A[1], found.origin_A[0])
    turned = Reconstruction(quarter, found.sampling_A, origin, 20.0 + 90.0)
    assert quarter.shape[1:] == (columns, rows)
    assert score(truth, turned)["corr"] == pytest.approx(figures["corr"], abs=2e-3)
    untold = Reconstruction(quarter, found.sampling_A, origin)
    assert score(truth, untold)["corr"] < 0.5


def test_positions_that_are_known_to_be_off_do_not_count(tmp_path):
    """A drift does not move the middle of the scan: a picture at the nominal positions is found without a shift."""
    path, scan = written_scan(tmp_path, small_draw(drift_A=(1.0, 0.0)))
    first = scan.nominal[0, 0] + (scan.positions - scan.nominal).reshape(-1, 2).mean(0)
    found = Reconstruction(scan.slices, (SAMPLING_A, SAMPLING_A), tuple(-first))
    assert max(map(abs, score(Truth.read(path), found)["shift_A"])) <= 0.05


def test_halves_correlate_as_their_noise_allows(scene):
    truth, found = scene
    rng = np.random.default_rng(2)
    noisy = [changed(found, found.phase + found.phase.std() * rng.normal(size=found.phase.shape)) for _ in range(2)]
    figures = half_data_score(truth, (noisy[0], noisy[1]))
    assert 0.35 < figures["halves_corr"] < 0.65  # noise as strong as the picture
    assert figures["halves_frc_A"] > half_data_score(truth, (found, found))["halves_frc_A"]


def test_rings_of_the_same_and_of_strangers():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 128, 128))
    inside = np.ones((128, 128), bool)
    assert ring_correlation(a, a, inside, 0.1)[1][1:].min() == pytest.approx(1)
    # a ring at half the highest frequency contains some hundred values: chance is a tenth
    assert np.abs(ring_correlation(a, b, inside, 0.1)[1][20:]).max() < 0.3


def test_where_rings_fall():
    frequency = np.arange(6) * 0.1
    assert period_below(frequency, np.array([1, 0.2, 0.9, 0.8, 0.4, 0.9]), 0.5) == pytest.approx(1 / 0.4)
    assert period_below(frequency, np.array([1, 0.9, 0.9, 0.9, 0.9, 0.9]), 0.5) == pytest.approx(1 / 0.5)
    assert period_below(frequency, np.zeros(6), 0.5) is None
