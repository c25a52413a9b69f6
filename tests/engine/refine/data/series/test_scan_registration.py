"""Displacement of one map from another."""

import numpy as np
import pytest
from quick_first import quick_first
from scipy.ndimage import gaussian_filter, map_coordinates

from ptylive.engine.refine.data.series.scan_registration import registered
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.schema import MetadataError
from ptylive.schema.scan import rotation_matrix

STEP_A = 0.5
LARGE = gaussian_filter(np.random.default_rng(4).normal(size=(160, 160)), 2.0)


def seen(first_A, rotation_deg=0.0, size=40, noise=0.0, image=LARGE):
    """A map whose point (0, 0) lies at ``first_A`` in the frame of the image; pixels of 0.5 Å."""
    raster = np.stack(np.meshgrid(*2 * [np.arange(size) * STEP_A], indexing="ij"), -1)
    place = (raster @ rotation_matrix(rotation_deg).T + np.asarray(first_A)) / STEP_A
    phase = map_coordinates(image, np.moveaxis(place, -1, 0), order=3)
    phase = phase + noise * image.std() * np.random.default_rng(1).normal(size=phase.shape)
    return StartGuess(phase, (STEP_A, STEP_A), rotation_deg)


@pytest.mark.parametrize("rotation_deg", quick_first([30.0, 0.0]))
@pytest.mark.parametrize("moved", [(0.0, 0.0), (1.6, -2.3), (-4.0, 3.1)])
def test_a_displacement_is_found(moved, rotation_deg):
    """It is found within a tenth of a pixel, the error of a parabola through the maximum."""
    found = registered(seen((30.0, 30.0), rotation_deg), seen(np.add((30.0, 30.0), moved), rotation_deg, noise=0.3))
    assert found.shift_A == pytest.approx(moved, abs=0.1 * STEP_A)
    assert found.correlation > 0.8


def test_of_a_crystal_the_nearest_place_counts():
    """With cells of 4 Å, a displacement of 5 Å is also one of 1 Å."""
    y, x = np.indices((160, 160)) * STEP_A
    lattice = np.cos(2 * np.pi * y / 4) + np.cos(2 * np.pi * x / 4)
    found = registered(seen((30.0, 30.0), image=lattice), seen((35.0, 29.0), image=lattice))
    assert found.shift_A == pytest.approx((1.0, -1.0), abs=0.1)


def test_maps_that_have_nothing_in_common_are_refused():
    noise = (np.random.default_rng(seed).normal(size=(160, 160)) for seed in (5, 6))
    with pytest.raises(MetadataError, match="agree nowhere"):
        registered(*(seen((30.0, 30.0), image=image) for image in noise))
