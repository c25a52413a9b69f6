"""A small crystal and its tilt series, computed with the product's own model."""

import numpy as np

from ptylive.engine.larbed.crystal import CrystalGrid
from ptylive.engine.larbed.objective import Crystal, TiltObjective
from ptylive.engine.larbed.tilt_series import TiltSeries, raster_tilts
from ptylive.schema.units import interaction_rad_per_VA

ENERGY_EV, CELL_A, PIXELS, ELECTRONS = 120e3, np.array([[4.0, 0.0], [0.4, 3.6]]), 8, 1e6
ATOMS = ((0.0, 0.0, 12.0), (0.45, 0.55, 7.0), (0.5, 0.1, 4.0))
"""Fractional coordinates in the cell, and volts of the structure factors divided by 0.1, blurred by 0.2 Å."""
GRID = CrystalGrid(CELL_A, PIXELS)


def reflections():
    """(49, 2): all reflections that 8 pixels distinguish."""
    orders = np.arange(-3, 4)
    return np.stack(np.meshgrid(orders, orders, indexing="ij"), axis=-1).reshape(-1, 2)


def potential_V():
    """Potential (P, P) of Gaussian columns with mean 0."""
    h, k = np.meshgrid(GRID.orders, GRID.orders, indexing="ij")
    spectrum = np.zeros((PIXELS, PIXELS), complex)
    for row, col, volts in ATOMS:
        blur = np.exp(-2 * (np.pi * 0.2) ** 2 * GRID.q_squared())
        spectrum += volts * 0.1 * blur * np.exp(-2j * np.pi * (h * row + k * col))
    spectrum[0, 0] = spectrum[PIXELS // 2] = spectrum[:, PIXELS // 2] = 0
    return np.fft.ifft2(spectrum).real * PIXELS**2


def crystal(thickness_A=96.0, slices=24, centre_mrad=(0.0, 0.0), brightness=1.0, background=0.0):
    """The crystal of the series below."""
    phase = potential_V() * interaction_rad_per_VA(ENERGY_EV) * thickness_A / slices
    beams = len(reflections())
    return Crystal(phase, thickness_A, slices, np.array(centre_mrad), brightness, np.full(beams, background))


def series_of(specimen, tilts=11, most_mrad=40.0, seed=None):
    """A series of expected counts, or of counts drawn with a seed."""
    step = 2 * most_mrad / (tilts - 1)
    hk = reflections()
    nothing = np.zeros((tilts**2, len(hk)), np.float32)
    shape = (tilts, tilts)
    empty = TiltSeries(nothing, hk, raster_tilts(shape, step), CELL_A, ENERGY_EV, ELECTRONS, shape)
    counts = TiltObjective(empty, GRID, specimen, frozenset(), dtype="complex128").beams(specimen)
    if seed is not None:
        counts = np.random.default_rng(seed).poisson(counts).astype(np.float32)
    return TiltSeries(counts, hk, empty.tilts_mrad, CELL_A, ENERGY_EV, ELECTRONS, shape)
