"""Continuous test objects: slopes, heights, areas, and balls cut into slices."""

import math

import numpy as np
import pytest

from ptylive.engine.simulation import continuous
from ptylive.engine.simulation.object_grid import ObjectGrid
from ptylive.schema import MetadataError
from ptylive.schema.simulation.groups import SpecimenSettings
from ptylive.schema.units import interaction_rad_per_VA

GRID = ObjectGrid((160, 120), 0.5, (0.0, 0.0))


def test_a_gradient_rises_along_its_direction():
    asked = SpecimenSettings(specimen="gradient", phase_rad=0.4, feature_A=8.0, orientation_deg=30.0)
    slopes = np.gradient(continuous.gradient(asked, GRID), GRID.pixel_A)
    assert slopes[0].mean() == pytest.approx(0.05 * math.cos(math.radians(30)), rel=1e-5)  # single precision
    assert slopes[1].mean() == pytest.approx(0.05 * math.sin(math.radians(30)), rel=1e-5)


def test_a_gradient_that_pixels_do_not_resolve_is_refused():
    with pytest.raises(MetadataError, match="too steep"):
        continuous.gradient(SpecimenSettings(specimen="gradient", phase_rad=40, feature_A=10), GRID)


def test_gaussians_have_their_height_and_number():
    asked = SpecimenSettings(specimen="gaussians", phase_rad=0.3, feature_A=2.0, coverage=0.05)
    phase = continuous.gaussians(asked, GRID, np.random.default_rng(1))
    count = round(0.05 * 80 * 60 / (math.pi * 4))
    full = count * 0.3 * 2 * math.pi * 4 / GRID.pixel_A**2
    assert 0.6 * full < phase.sum() <= full * (1 + 1e-3)  # some lie on the rim
    assert 0.28 < phase.max() < 0.6


def test_circles_cover_their_share():
    asked = SpecimenSettings(specimen="circles", phase_rad=1.0, feature_A=5.0, coverage=0.3)
    phase = continuous.circles(asked, GRID, np.random.default_rng(1))
    assert phase.max() == pytest.approx(1.0)
    assert phase.min() == 0
    # 18 circles, of each of which up to a half may lie outside the rim
    assert 0.15 < phase.mean() < 0.31


def test_balls_are_what_they_weigh_whatever_the_slices():
    asked = SpecimenSettings(
        specimen="particles", thickness_A=40, feature_A=8, coverage=0.1, ice_texture=0.0, ice_potential_V=4.0
    )
    sums = [
        np.sum(list(continuous.particles(asked, GRID, 300e3, layers, np.random.default_rng(2))), axis=0)
        for layers in (1, 2, 5)
    ]
    np.testing.assert_allclose(sums[1], sums[0], rtol=1e-4)  # five sums in single precision
    np.testing.assert_allclose(sums[2], sums[0], rtol=1e-4)
    sigma = interaction_rad_per_VA(300e3)
    assert sums[0].min() == pytest.approx(sigma * 4.0 * 40, rel=1e-5)
    assert sums[0].max() == pytest.approx(sigma * (4.0 * 40 + 3.0 * 16), rel=0.01)  # a pixel off a ball's middle


def test_ice_has_the_texture_that_was_asked_for():
    asked = SpecimenSettings(specimen="particles", thickness_A=3, feature_A=1, coverage=1e-6, ice_texture=0.2)
    (phase,) = continuous.particles(asked, GRID, 300e3, 1, np.random.default_rng(2))
    assert phase.std() / phase.mean() == pytest.approx(0.2, rel=0.05)  # plus one small ball
