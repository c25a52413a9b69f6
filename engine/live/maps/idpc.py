"""Integrated DPC: the phase whose gradient is the centre of mass, by one Fourier division.

phi_hat(Q) = (Q . g_hat) / (2 pi i |Q|^2), g = 2 pi CoM along the scan axes (Lazić et al. 2016, eq. 21). The field is
mirrored to 2Ry x 2Rx (g_row odd in y and even in x, g_col the other way round), so that nothing wraps around.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from ptylive.schema.model import BoolArray, DoubleArray

MIRROR_FROM = 0.5
"""Share of visited points above which the visited rows are mirrored; below it the unvisited stay zero gradient."""


def integrated_dpc(com: DoubleArray, step_A: tuple[float, float], visited: BoolArray) -> DoubleArray:
    """Phase (rows, cols) in rad from CoM (2, rows, cols) in 1/Å along the scan axes; zero mean over the visited."""
    if visited.mean() > MIRROR_FROM:
        rows = np.flatnonzero(visited.any(axis=1))
        inside = slice(rows[0], rows[-1] + 1)
        phase = np.zeros(visited.shape)
        phase[inside] = _integrate(_mirrored(com[:, inside]), step_A)[: inside.stop - inside.start, : visited.shape[1]]
    else:
        phase = _integrate(com, step_A)
    return phase - phase[visited].mean() if visited.any() else phase


def _mirrored(com: DoubleArray) -> DoubleArray:
    row, col = com
    row = np.block([[row, row[:, ::-1]], [-row[::-1], -row[::-1, ::-1]]])
    col = np.block([[col, -col[:, ::-1]], [col[::-1], -col[::-1, ::-1]]])
    return np.stack([row, col])


def _integrate(com: DoubleArray, step_A: tuple[float, float]) -> DoubleArray:
    q_row = fft.fftfreq(com.shape[1], step_A[0])[:, None]
    q_col = fft.fftfreq(com.shape[2], step_A[1])[None]
    q2 = q_row**2 + q_col**2
    q2[0, 0] = 1.0
    spectrum = (q_row * fft.fft2(com[0]) + q_col * fft.fft2(com[1])) / (1j * q2)
    spectrum[0, 0] = 0.0
    return np.asarray(fft.ifft2(spectrum).real)
