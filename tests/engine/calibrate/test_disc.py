"""Displacement of the disc's edge, independent of what happens inside the disc."""

import numpy as np
import pytest
from scipy import ndimage

from ptylive.engine.calibrate.disc import (
    REACH_PX,
    RING_PX,
    Disc,
    DiscEdge,
    beyond,
    edge_of,
    filled,
    find_disc,
)

DISC = Disc((20.0, 22.0), 11.0)
SHAPE = (40, 44)


def disc_pattern(row, col, tilt=(0.0, 0.0)):
    rows, cols = np.indices(SHAPE)
    edge = 1 / (1 + np.exp((np.hypot(rows - row, cols - col) - 11.0) / 0.6))
    return edge * (1 + tilt[0] * (rows - row) / 11 + tilt[1] * (cols - col) / 11)


def disc_shifts(patterns):
    """Displacement (n, 2), pixels, of the disc's edge in each pattern (n, Qy, Qx) relative to their mean."""
    mean = patterns.mean(axis=0)
    return DiscEdge.of(mean, DISC).shifts(patterns[:, edge_of(DISC, mean.shape)])


def test_the_edge_of_the_disc_does_not_mind_what_happens_inside():
    rng = np.random.default_rng(3)
    places = rng.uniform(-0.4, 0.4, (12, 2))
    tilts = rng.uniform(-0.5, 0.5, (12, 2))
    patterns = np.stack([disc_pattern(20 + r, 22 + c, tilt) for (r, c), tilt in zip(places, tilts, strict=True)])
    rows, cols = np.indices((40, 44))
    com = np.stack([(patterns * axis).sum((1, 2)) / patterns.sum((1, 2)) for axis in (rows - 20, cols - 22)], 1)
    found = disc_shifts(patterns)
    wrong = np.abs((com - com.mean(0)) - (places - places.mean(0))).max()
    assert np.abs((found - found.mean(0)) - (places - places.mean(0))).max() < 0.1 < wrong


def test_displacements_are_told_to_scale():
    """Differences of neighbouring pixels underestimate the slope of a one-pixel edge: 0.15 was measured as 0.161."""
    places = np.array([[0.15, -0.1], [-0.15, 0.1], [0.1, 0.0], [-0.1, 0.0]])
    found = disc_shifts(np.stack([disc_pattern(20 + r, 22 + c) for r, c in places]))
    assert found == pytest.approx(places, abs=0.004)


def test_only_pixels_around_the_edge_are_read():
    rows, cols = np.indices(SHAPE)
    distance = np.abs(np.hypot(rows - 20, cols - 22) - 11)
    ring = edge_of(DISC, SHAPE)
    assert not ring[distance > RING_PX + 2**0.5 * REACH_PX].any()
    edge, mean = DiscEdge.of(disc_pattern(20, 22), DISC), disc_pattern(20, 22)
    assert edge.weights.shape == (5, ring.sum())
    # includes every pixel that contributes to the smoothed ring: the mean pattern yields no shift of itself
    assert edge.shifts(mean[None, ring]) == pytest.approx(0, abs=1e-9)
    assert edge.weights @ mean[ring] == pytest.approx([0, 0, 1, 0, 0], abs=1e-9)


def test_nothing_lies_nowhere_else():
    edge = DiscEdge.of(disc_pattern(20, 22), DISC)
    assert not edge.shifts(np.zeros((3, edge.weights.shape[1]))).any()


def test_what_is_beyond_lies_farther_from_the_middle():
    rows, cols = np.indices(SHAPE)
    assert (beyond(DISC, SHAPE, 13.0) == (np.hypot(rows - 20, cols - 22) > 13.0)).all()


def test_holes_are_filled_as_scipy_fills_them():
    rng = np.random.default_rng()  # another mask each time: none may differ
    for _ in range(200):
        mask = rng.random(rng.integers(1, 24, 2)) < rng.random()
        assert (filled(mask) == ndimage.binary_fill_holes(mask)).all(), mask.tolist()


@pytest.mark.parametrize("seed", range(12))
def test_a_disc_that_is_cut_off_is_found_where_it_is(seed):
    """Regression: a disc 5 px beyond the detector was placed 1.3 px away, with a radius 6 % too small."""
    rng = np.random.default_rng(seed)
    radius = rng.uniform(9, 16)
    center = np.array([rng.uniform(-0.1, 0.8) * radius, rng.uniform(10, 34)])
    rows, cols = np.indices((56, 44))
    mean = 30 * np.clip(radius + 0.5 - np.hypot(rows - center[0], cols - center[1]), 0, 1) + 0.3
    found = find_disc(rng.poisson(200 * mean) / 200, np.zeros(mean.shape, dtype=bool))
    assert found is not None
    assert found.center_px == pytest.approx(center, abs=0.15)
    assert found.radius_px == pytest.approx(radius, abs=0.15)


def test_what_is_cut_off_and_no_circle_keeps_its_area():
    rows, cols = np.indices((40, 44))
    bar = np.where((rows < 6) & (abs(cols - 20) < 12), 30.0, 0.1)
    found = find_disc(bar, np.zeros(bar.shape, dtype=bool))
    assert found is not None and found.radius_px == pytest.approx(np.sqrt((bar > 1).sum() / np.pi), rel=0.1)
