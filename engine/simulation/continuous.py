"""Specimens without atoms: gradients, gaussians, circles, and particles in ice."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ptylive.engine.simulation.atoms import Random, apart
from ptylive.engine.simulation.object_grid import ObjectGrid
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.simulation.groups import SpecimenSettings
from ptylive.schema.units import interaction_rad_per_VA

FEATURE_A = {"gaussians": 2.0, "circles": 5.0, "particles": 30.0, "gradient": 10.0}
TEXTURE_A = 3.0
"""Side of the cubes in which the potential of ice differs from its mean."""
STEEPEST = math.pi / 2
"""Largest phase difference between pixels: half of the frequencies of the model."""
TAILS = 5.0
"""Number of standard deviations at which a Gaussian is cut off."""


def feature_A(settings: SpecimenSettings) -> float:
    """Size of the features, as given or by default."""
    return settings.feature_A if settings.feature_A is not None else FEATURE_A[settings.specimen]


def gradient(settings: SpecimenSettings, grid: ObjectGrid) -> FloatArray:
    """A phase (rows, cols) that rises along ``orientation_deg`` by ``phase_rad`` on each ``feature_A``."""
    angle = math.radians(settings.orientation_deg)
    rows, cols = (np.arange(n) * grid.pixel_A for n in grid.shape)
    rad_per_A = settings.phase_rad / feature_A(settings)
    if not abs(rad_per_A) * grid.pixel_A < STEEPEST:
        raise MetadataError(
            f"a gradient of {rad_per_A:.3g} rad/Å is too steep for pixels of {grid.pixel_A:.3g} Å",
            "lower phase_rad or raise feature_A",
        )
    rise = math.cos(angle) * rows[:, None] + math.sin(angle) * cols[None, :]
    return np.asarray(rad_per_A * (rise - rise.mean()), dtype=np.float32)


def gaussians(settings: SpecimenSettings, grid: ObjectGrid, rng: Random) -> FloatArray:
    """Gaussians of phase (rows, cols) of ``phase_rad``, no two closer than two standard deviations."""
    sigma = feature_A(settings)
    out = np.zeros(grid.shape, np.float32)
    for region, distance in _regions_around(apart(grid.extent_A, sigma, settings.coverage, rng), TAILS * sigma, grid):
        out[region] += np.float32(settings.phase_rad) * np.exp(-(distance**2) / (2 * sigma**2)).astype(np.float32)
    return out


def circles(settings: SpecimenSettings, grid: ObjectGrid, rng: Random) -> FloatArray:
    """Non-overlapping discs (rows, cols) of the phase ``phase_rad``, with edges one pixel wide."""
    radius, pixel = feature_A(settings), grid.pixel_A
    out = np.zeros(grid.shape, np.float32)
    for region, distance in _regions_around(apart(grid.extent_A, radius, settings.coverage, rng), radius + pixel, grid):
        share = np.clip((radius - distance) / pixel + 0.5, 0.0, 1.0).astype(np.float32)
        out[region] += np.float32(settings.phase_rad) * share
    return out


def particles(
    settings: SpecimenSettings, grid: ObjectGrid, energy_eV: float, layers: int, rng: Random
) -> Iterator[FloatArray]:
    """Phases (rows, cols) of one layer after the other: spheres of one mean inner potential in textured ice."""
    radius, thickness = min(feature_A(settings), settings.thickness_A / 2), settings.thickness_A
    sigma, depth = interaction_rad_per_VA(energy_eV), thickness / layers
    places = apart(grid.extent_A, radius, settings.coverage, rng)
    heights = rng.uniform(radius, max(thickness - radius, radius), len(places))
    contrast = settings.particle_potential_V - settings.ice_potential_V
    for layer in range(layers):
        phase = sigma * settings.ice_potential_V * depth * (1 + settings.ice_texture * _texture(grid, depth, rng))
        top, bottom = layer * depth, (layer + 1) * depth
        for (region, distance), height in zip(_regions_around(places, radius, grid), heights.tolist(), strict=True):
            half = np.sqrt(np.clip(radius**2 - distance**2, 0, None))
            inside = np.clip(np.minimum(height + half, bottom) - np.maximum(height - half, top), 0, None)
            phase[region] += sigma * contrast * inside * (half > 0)
        yield phase.astype(np.float32)


def _texture(grid: ObjectGrid, depth_A: float, rng: Random) -> DoubleArray:
    """Standard normal noise blurred to ``TEXTURE_A`` and averaged along the beam: its spread is that of the mean."""
    from scipy import ndimage

    sigma = TEXTURE_A / (2 * grid.pixel_A)
    noise = ndimage.gaussian_filter(rng.normal(size=grid.shape), sigma, mode="wrap")
    scale = max(float(noise.std()), 1e-12)
    return np.asarray(noise / scale * math.sqrt(min(1.0, TEXTURE_A / depth_A)))


def _regions_around(
    places_A: DoubleArray, radius_A: float, grid: ObjectGrid
) -> Iterator[tuple[tuple[slice, slice], DoubleArray]]:
    """For each place, the pixels within ``radius_A`` as slices, and their distances."""
    for place in places_A:
        low = np.maximum(np.floor((place - radius_A) / grid.pixel_A).astype(int), 0)
        high = np.minimum(np.ceil((place + radius_A) / grid.pixel_A).astype(int) + 1, grid.shape)
        rows, cols = (np.arange(a, b) * grid.pixel_A - p for a, b, p in zip(low, high, place, strict=True))
        region = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
        yield region, np.hypot(rows[:, None], cols[None, :])
