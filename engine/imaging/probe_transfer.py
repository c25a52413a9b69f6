"""How the probe blurs an image: the transfer function H(Q) of its intensity, at the frequencies of a scan.

H(Q) = sum_k P*(k) P(k - Q) / sum_k |P(k)|^2 is the autocorrelation of the aperture P, so it is the Fourier transform of
the probe's intensity, which one transform of the aperture gives. The frequencies Q of a scan lie on a rectangular grid:
they are reached by a product of matrices along each axis, whatever their spacing.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.schema.model import ComplexArray, DoubleArray
from ptylive.schema.scan import rotation_matrix

MOST_SAMPLES = 2048
"""Maximum number of samples of the aperture along each axis, for discs of more than 256 detector pixels."""
BLOCK = 4096
"""Maximum number of frequencies along an axis whose waves are in memory at once: scans may be very long."""


def probe_transfer(conditions: ImagingConditions, upsample: float = 1) -> ComplexArray:
    """Return H (rows, cols) of the padded and ``upsample`` times finer scan, in numpy order; 1 at Q = 0.

    The aperture is sampled twice as finely as the detector, so the probe may be as wide as two windows of the detector.
    """
    probe, grid = conditions.probe, conditions.scan_grid(upsample)
    reach_invA = probe.semiangle_invA + probe.edge_invA
    pitch_invA = max(0.5 * conditions.grid.pixel, 4 * reach_invA / MOST_SAMPLES)
    count = int(fft.next_fast_len(int(np.ceil(4 * reach_invA / pitch_invA))))  # room for all products
    k = np.stack(np.meshgrid(*2 * [np.fft.fftfreq(count, 1 / (count * pitch_invA))], indexing="ij"))
    k_row, k_col = np.tensordot(rotation_matrix(grid.rotation_deg), k, 1)  # in the detector's frame
    intensity = np.abs(fft.ifft2(probe.wave(k_row, k_col).astype(np.complex64))) ** 2
    out = np.zeros(grid.size, np.complex64)
    places_A = np.fft.fftfreq(count, pitch_invA)

    def waves(q: DoubleArray) -> ComplexArray:
        return np.exp(2j * np.pi * np.outer(q, places_A)).astype(np.complex64)

    axes = grid.axes(half=False)
    blocks = [
        np.array_split(inside, max(1, -(-len(inside) // BLOCK)))
        for inside in (np.flatnonzero(np.abs(q) < 2 * reach_invA) for q in axes)
    ]
    for rows in blocks[0]:
        along_rows = waves(axes[0][rows]) @ intensity / intensity.sum()
        for cols in blocks[1]:
            out[np.ix_(rows, cols)] = along_rows @ waves(axes[1][cols]).T
    return out
