"""Scores of maps: sensitive to sign and position, not to smooth surfaces and blur, for any scan with a truth."""

import h5py
import numpy as np
import pytest
from scipy import ndimage
from zoo_scans import SAMPLING_A, small_draw, written_scan

from benchmarks.zoo.map_score import MapTruth, score_map

SHAPE = {"shape": (14, 18)}


def seen_at_the_points(scan, sigma_A=1.0):
    """The blurred phase at the true positions, each row from its first point on."""
    soft = ndimage.gaussian_filter(scan.slices.sum(0), sigma_A / SAMPLING_A, mode="nearest")
    return ndimage.map_coordinates(soft, scan.positions.transpose(2, 0, 1) / SAMPLING_A, order=3, mode="nearest")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A truth, and a map that shows all of it apart from a blur."""
    path, scan = written_scan(tmp_path_factory.mktemp("scene"), small_draw(**SHAPE))
    return MapTruth.read(path), seen_at_the_points(scan)


def test_a_blurred_truth_is_a_perfect_map(scene):
    truth, seen = scene
    found = score_map(truth, seen)
    # the blurs tried differ by 16 %
    assert found["corr"] > 0.998 and found["blur_A"] == pytest.approx(1.0, rel=0.16)


def test_the_sign_counts(scene):
    truth, seen = scene
    assert score_map(truth, -seen)["corr"] == -score_map(truth, seen)["corr"]


def test_surfaces_and_factors_do_not_count(scene):
    truth, seen = scene
    rows, columns = np.indices(seen.shape)
    tilted = 3 * seen + 0.5 * rows - 0.1 * columns**2 + 0.2 * rows * columns + 7
    assert score_map(truth, tilted)["corr"] == pytest.approx(score_map(truth, seen)["corr"], abs=1e-4)


def test_a_map_out_of_place_is_worse(scene):
    truth, seen = scene
    assert score_map(truth, np.roll(seen, 1, axis=1))["corr"] < 0.9 * score_map(truth, seen)["corr"]


def test_the_border_does_not_count(scene):
    truth, seen = scene
    framed = np.pad(seen[2:-2, 2:-2], 2, constant_values=1e3)
    assert score_map(truth, framed) == score_map(truth, seen)


def test_a_finer_map_is_read_at_the_scan_points(scene):
    truth, seen = scene
    fine = ndimage.zoom(seen, [(2 * n - 1) / n for n in seen.shape], order=3)
    found = score_map(truth, fine, (truth.step_A[0] / 2, truth.step_A[1] / 2))
    assert found["corr"] == pytest.approx(score_map(truth, seen)["corr"], abs=0.01)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_map_of_nothing_scores_nothing(scene, value):
    truth, seen = scene
    assert score_map(truth, np.full(seen.shape, value)) == {"corr": 0.0, "blur_A": 0.0}


def test_a_snake_with_flyback_is_put_in_order(tmp_path, scene):
    """Rows of positions are stored in the order of acquisition, maps from left to right."""
    path, scan = written_scan(tmp_path, small_draw(**SHAPE, pattern="snake", flyback=2))
    taken = seen_at_the_points(scan)[:, :18]
    taken[1::2] = taken[1::2, ::-1].copy()
    assert score_map(MapTruth.read(path), taken)["corr"] > 0.998


def test_a_file_that_knows_no_truth_is_refused_with_what_is_missing(tmp_path):
    path, _ = written_scan(tmp_path, small_draw())
    with h5py.File(path, "r+") as file:
        del file["truth/positions_A"]
    with pytest.raises(SystemExit, match="there is no 'truth/positions_A'"):
        MapTruth.read(path)


def test_nothing_that_only_the_zoo_writes_is_needed(tmp_path, scene):
    path, scan = written_scan(tmp_path, small_draw(**SHAPE))
    with h5py.File(path, "r+") as file:
        for name in ("nominal_positions_A", "slices", "probe"):
            del file["truth"][name]
        for name in ("draw", "layout", "thickness_A", "probe_sampling_A"):
            del file["truth"].attrs[name]
    assert score_map(MapTruth.read(path), seen_at_the_points(scan)) == score_map(*scene)
