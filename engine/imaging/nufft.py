"""Transform of coefficients at arbitrary positions: every point is spread over a few pixels, followed by a plain FFT.

c_hat_n(Q) = sum_j w_j (c_n(R_j) - mean_n) exp(-2 pi i Q . R_j): the sum that an FFT computes on a regular grid, by
spreading with exp(beta (sqrt(1 - x^2) - 1)) on a grid twice as fine and dividing out its transform (Barnett, Magland &
af Klinteberg 2019). On a regular grid both forms agree to 1e-5 (tested). Points may come in any order, and the
transform is independent of any map; moving the points (drift, refined positions) only needs a new :class:`Placement`.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.placement import Placement
from ptylive.engine.memory import Scratch
from ptylive.schema.model import ComplexArray, DoubleArray, FloatArray

FINER = 2
"""Factor by which the grid is finer than the scan (Barnett, Magland & af Klinteberg 2019, sigma)."""
WIDTH = 6
"""Pixels of the finer grid over which a point is spread, along each axis."""
BETA = 2.3 * WIDTH
"""Shape of the kernel that they recommend for a grid twice as fine: errors near 1e-5 for six pixels."""
GRID_BYTES = 64 * 2**20
"""Memory for the grid, which limits how many coefficients are spread at a time."""


def spread_planes(
    store: Store, placement: Placement, padded: tuple[int, int], mean: DoubleArray, sign: FloatArray | None = None
) -> ComplexArray:
    """Return half planes (padded cols // 2 + 1, padded rows, N) of the coefficients of visited points, mean removed.

    ``sign`` (points,) of each point: alternating signs move all signal half a sampling frequency away.
    """
    from ptylive.engine.backend.imaging.bank_numba import spread

    rows, cols = padded[0], padded[1] // 2 + 1
    weight = placement.weight if sign is None else placement.weight * sign
    weight = np.where(store.visited.ravel(), weight, np.float32(0)).astype(np.float32)
    coefficients = store.coefficients()
    count = coefficients.shape[1]
    fine = (FINER * padded[0], FINER * padded[1])
    step = max(1, GRID_BYTES // (4 * fine[0] * fine[1]))
    deconvolution = (_spectrum_of_kernel(fine[0])[:, None, None], _spectrum_of_kernel(fine[1])[None, :cols, None])
    below = rows // 2
    retained = np.concatenate([np.arange(below), np.arange(fine[0] - (rows - below), fine[0])])
    out: ComplexArray = Scratch().zeros((cols, rows, count), np.complex64, "transforms")
    points = placement.at * FINER
    for first in range(0, count, step):
        part = slice(first, min(first + step, count))
        values = np.ascontiguousarray(coefficients[:, part]) - mean[part].astype(np.float32)
        grid = np.zeros((*fine, values.shape[1]), dtype=np.float32)
        spread(values, points, weight, WIDTH, np.float32(BETA), grid)
        lines = fft.rfft(grid, axis=1)[:, :cols]
        transform = fft.fft(lines, axis=0)[retained] * deconvolution[0][retained] * deconvolution[1]
        out[..., part] = transform.transpose(1, 0, 2)
    return out


def _spectrum_of_kernel(size: int) -> FloatArray:
    """Return the correction of the spreading at each frequency of ``size`` pixels: one over the kernel's transform."""
    nodes, node_weights = np.polynomial.legendre.leggauss(4 * WIDTH)
    kernel = np.exp(BETA * (np.sqrt(1 - nodes**2) - 1)) * node_weights * WIDTH / 2
    frequency = fft.fftfreq(size)
    transform = (kernel * np.cos(2 * np.pi * frequency[:, None] * nodes * WIDTH / 2)).sum(axis=1)
    return np.asarray(1.0 / transform, dtype=np.float32)
