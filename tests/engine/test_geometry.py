"""Detector coordinates agree with transforming the data themselves."""

import itertools

import numpy as np
import pytest

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.geometry import DetectorGrid, parabola_vertex, scan_frequencies
from ptylive.schema.detector import undo_transform, undo_transform_of_center

WORDS = ["none", "transpose", "flip_rows", "flip_cols"]


def test_the_vertex_of_a_sampled_parabola_is_found():
    before, peak, after = (3.0 - (step - 0.3) ** 2 for step in (-1, 0, 1))
    assert parabola_vertex(before, peak, after) == pytest.approx(0.3)
    assert parabola_vertex(1.0, 0.0, 2.0) == 0.0, "a minimum"


@pytest.mark.parametrize("words", ["+".join(p) for p in itertools.product(WORDS, WORDS[1:], repeat=1)])
def test_coordinates_follow_the_undone_pattern(words):
    shape, center = (5, 7), (1.75, 4.5)
    grid = DetectorGrid.of(shape, center, words, 0.1)
    turned = undo_transform(np.stack([grid.k_row, grid.k_col]), words)
    middle = undo_transform_of_center(center, shape, words)
    expected = np.stack(np.meshgrid(*(np.arange(n) for n in turned.shape[1:]), indexing="ij")).astype(float)
    expected = (expected - middle[:, None, None]) * 0.1
    np.testing.assert_allclose(turned, expected, atol=1e-12)


def test_scan_frequencies_turn_with_the_scan():
    plain, turned = scan_frequencies((8, 6), (0.5, 0.4), 0.0), scan_frequencies((8, 6), (0.5, 0.4), 90.0)
    np.testing.assert_allclose(turned[:, 0], -plain[:, 1], atol=1e-12)
    np.testing.assert_allclose(turned[:, 1], plain[:, 0], atol=1e-12)


@pytest.mark.parametrize("max_bins", [20, 100, 5000])
def test_bins_partition_the_disc(max_bins):
    grid = DetectorGrid.of((64, 64), (31.2, 33.7), "none", 1.0)
    bad = np.zeros((64, 64), bool)
    bad[30, 30] = True
    basis = BinnedPixels.of(grid, 13.0, bad, max_bins)
    inside = (grid.radius < 13.5) & ~bad
    np.testing.assert_array_equal(basis.bin_of >= 0, inside)
    assert basis.count <= max_bins
    assert set(np.unique(basis.bin_of[inside])) == set(range(basis.count))
    samples = basis.samples(grid)
    assert samples.weight.sum() == pytest.approx(inside.sum())
    assert len(samples.offset) == basis.count + 1
