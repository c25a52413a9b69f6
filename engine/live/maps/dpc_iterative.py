"""Iterative DPC: the phase whose gradient is the centre of mass on the visited points, and free everywhere else.

No periodic or mirrored frame is assumed: the field is embedded in a larger one, and what lies outside the visited
points is made to follow the phase found so far (the alternating projection of py4DSTEM's DPC; Fienup 1978's idea).
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ptylive.schema.model import BoolArray, DoubleArray

ITERATIONS = 64
MARGIN = 0.5
"""Free border on each side, as a share of the field."""
CONVERGED = 1e-4


def iterative_dpc(com: DoubleArray, step_A: tuple[float, float], visited: BoolArray) -> DoubleArray:
    """Phase (rows, cols) in rad from CoM (2, rows, cols) in 1/Å along the scan axes; zero mean over the visited."""
    rows, cols = visited.shape
    shape = (fft.next_fast_len(int(rows * (1 + 2 * MARGIN))), fft.next_fast_len(int(cols * (1 + 2 * MARGIN))))
    top, left = (shape[0] - rows) // 2, (shape[1] - cols) // 2
    frame = (slice(top, top + rows), slice(left, left + cols))
    measured = np.zeros((2, *shape))
    measured[:, frame[0], frame[1]] = com
    known = np.zeros(shape, dtype=bool)
    known[frame] = visited
    q_row = fft.fftfreq(shape[0], step_A[0])[:, None]
    q_col = fft.fftfreq(shape[1], step_A[1])[None]
    q2 = q_row**2 + q_col**2
    q2[0, 0] = 1.0
    spectrum = np.zeros(shape, dtype=complex)
    for _ in range(ITERATIONS):
        field = np.stack([fft.ifft2(1j * q_row * spectrum).real, fft.ifft2(1j * q_col * spectrum).real])
        residual = np.where(known, measured - field, 0.0)
        step = (q_row * fft.fft2(residual[0]) + q_col * fft.fft2(residual[1])) / (1j * q2)
        step[0, 0] = 0.0
        spectrum += step
        if np.linalg.norm(step) < CONVERGED * np.linalg.norm(spectrum):
            break
    phase = np.asarray(fft.ifft2(spectrum).real)[frame]
    return phase - phase[visited].mean() if visited.any() else phase
