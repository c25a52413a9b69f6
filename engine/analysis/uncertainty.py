"""Local uncertainty of a phase, from two reconstructions of half the dose each.

The halves are independent (:mod:`.half_dose`), so the variance of their difference is twice that of one half, and half
the dose has twice the variance of the full dose: half the difference scatters like the reconstruction of all counts.
Nothing is modelled, so the effects of smoothing by the solver, of early stopping and of neighbouring pixels are
included; errors common to both halves (a wrong calibration, a wrong thickness) are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.engine.analysis.fourier_correlation import ring_correlation
from ptylive.engine.imaging.noise.deviation import local_deviation
from ptylive.engine.refine.results.ring_correlation import without_ramp
from ptylive.schema.model import Array, DoubleArray, FloatArray

TILE_PX = 64
"""Side of the tiles used for the information limit."""
RINGS = 3
"""Rings over which a tile's correlation is averaged: the innermost ones hold few points."""


@dataclass(frozen=True)
class PhaseUncertainty:
    """Uncertainty of the phase of all slices together, over the scanned area."""

    deviation_rad: FloatArray
    """(Y, X) standard deviation of a pixel."""
    window_A: float
    """Width of the averaging: standard deviation of a Gaussian."""
    limit_A: DoubleArray
    """(rows, cols) information limit of tiles that overlap by half, half-bit; NaN where nothing is resolved."""
    tile_A: float
    """Side of a tile."""


def phase_uncertainty(first: Array, second: Array, pixel_A: float) -> PhaseUncertainty:
    """Determine it from two pictures (Y, X) in rad of half the dose. Raises MetadataError if unequal or tiny."""
    deviation = local_deviation(without_ramp(np.subtract(first, second, dtype=np.float64)) / 2)
    tile = min(*first.shape, TILE_PX)
    limits = _limits(first, second, pixel_A, tile)
    return PhaseUncertainty(deviation.data, deviation.window_px * pixel_A, limits, tile * pixel_A)


def _limits(first: Array, second: Array, pixel_A: float, tile: int) -> DoubleArray:
    """Return where the ring correlation of each tile falls below half a bit."""
    starts = [_starts(length, tile) for length in first.shape]
    limits = np.full((len(starts[0]), len(starts[1])), math.nan)
    for i, top in enumerate(starts[0]):
        for j, left in enumerate(starts[1]):
            part = slice(top, top + tile), slice(left, left + tile)
            rings = ring_correlation(first[part], second[part], pixel_A)
            excess = np.convolve(rings.correlation - rings.half_bit, np.ones(RINGS) / RINGS, mode="valid")
            first_below = int(np.argmax(excess < 0)) if (excess < 0).any() else len(excess)
            if first_below > 0:
                limits[i, j] = 1 / rings.frequencies_invA[first_below - 1]
    return limits


def _starts(length: int, tile: int) -> list[int]:
    """Return the starts of tiles that cover a length and overlap by half, or a little more."""
    count = max(1, math.ceil(2 * length / tile) - 1)
    return [round(k * (length - tile) / max(1, count - 1)) for k in range(count)]
