"""Compiled loops of the live engine: aperture overlaps and shift ramps.

Every function releases the GIL. The aperture is a soft disc times exp(-i polynomial); the meaning of the polynomial is
defined elsewhere (engine/probe.py).
"""

from __future__ import annotations

import numba as nb
import numpy as np

NOGIL = {"nopython": True, "nogil": True, "cache": True, "error_model": "numpy"}
FAST = {**NOGIL, "fastmath": True}
INNER = {**FAST, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options for functions that only compiled code calls (:mod:`ptylive.engine.backend.multislice.planes_fft`)."""

FULL, SIDEBANDS, PRODUCT, ONE_SIDEBAND, AMPLITUDE_SIDEBANDS = 0, 1, 2, 3, 4
"""Kind of overlap: full weak-phase transfer; its single-overlap part; bare product P*(k) P(k - Q); the single-overlap
part of one of the two terms; the single-overlap part of the transfer of a weak amplitude."""


# sin and cos of 2 pi x, |x| <= 1/2, as polynomials in x^2: numba's own are scalar calls, these vectorise (sixteen lanes
# with AVX-512) and are accurate to 1e-6, which is all that single precision leaves of the argument anyway.
_x = np.cos(np.pi * (np.arange(200) + 0.5) / 200) * 0.5
_SIN = np.polynomial.polynomial.polyfit(_x**2, np.sin(2 * np.pi * _x) / _x, 6).astype(np.float32)
_COS = np.polynomial.polynomial.polyfit(_x**2, np.cos(2 * np.pi * _x), 6).astype(np.float32)
S0, S1, S2, S3, S4, S5, S6 = (np.float32(c) for c in _SIN)
C0, C1, C2, C3, C4, C5, C6 = (np.float32(c) for c in _COS)
CYCLES = np.float32(0.5 / np.pi)
LARGEST_RAD = 50_000.0
"""Largest phase whose whole turns (below 8192) the rounding takes out."""
ROUND, SHIFT = np.float32(8192.5), np.int32(8192)
HALF, ZERO, ONE = np.float32(0.5), np.float32(0.0), np.float32(1.0)
ROUNDED_UP = np.float32(1.0001)
"""Factor on a distance that rounding must not make too short."""


@nb.jit(**FAST)
def _cos_sin(phase):
    """Return cosine and sine of a phase in rad (float32, |phase| <= LARGEST_RAD); rounding is an integer conversion."""
    turns = phase * CYCLES
    turns -= np.float32(np.int32(turns + ROUND) - SHIFT)
    t = turns * turns
    sine = turns * (S0 + t * (S1 + t * (S2 + t * (S3 + t * (S4 + t * (S5 + t * S6))))))
    cosine = C0 + t * (C1 + t * (C2 + t * (C3 + t * (C4 + t * (C5 + t * C6)))))
    return cosine, sine


@nb.jit(**FAST)
def _wave(y, x, radius, per_edge, c):
    """Return the soft disc times exp(-i chi) at (y, x): real, imaginary, amplitude. c: chi in powers of (y, x)."""
    amplitude = min(max((radius - np.sqrt(y * y + x * x)) * per_edge + HALF, ZERO), ONE)
    phase = c[0, 0] + x * (c[0, 1] + x * (c[0, 2] + x * (c[0, 3] + x * c[0, 4])))
    phase += y * (
        c[1, 0]
        + x * (c[1, 1] + x * (c[1, 2] + x * c[1, 3]))
        + y * (c[2, 0] + x * (c[2, 1] + x * c[2, 2]) + y * (c[3, 0] + x * c[3, 1] + y * c[4, 0]))
    )
    # outside the aperture the phase has any size: its cosine may be infinite, and 0 times that is not a number
    cosine, sine = _cos_sin(phase if amplitude > ZERO else ZERO)
    return amplitude * cosine, -amplitude * sine, amplitude


@nb.jit(**INNER)
def _covered(samples, q_row, q_col, sign, reach, rows, cols, number):
    """List the frequencies to which the disc, moved there, covers any of some samples (s, 2), and return their count.

    reach: radius of the disc with its soft edge. rows, cols: the frequencies times ``sign``, and number: their indices,
    all (nq,), filled from the start.
    """
    middle_row, middle_col, farthest = ZERO, ZERO, ZERO
    for s in range(samples.shape[0]):
        middle_row += samples[s, 0]
        middle_col += samples[s, 1]
    middle_row /= np.float32(samples.shape[0])
    middle_col /= np.float32(samples.shape[0])
    for s in range(samples.shape[0]):
        farthest = max(farthest, (samples[s, 0] - middle_row) ** 2 + (samples[s, 1] - middle_col) ** 2)
    limit = (ROUNDED_UP * (reach + np.sqrt(farthest))) ** 2
    count = 0
    for j in range(q_row.shape[0]):
        row, col = sign * q_row[j], sign * q_col[j]
        rows[count], cols[count], number[count] = row, col, j  # written in any case: a branch would take longer
        count += 1 if (middle_row - row) ** 2 + (middle_col - col) ** 2 < limit else 0
    return count


@nb.jit(**INNER)
def _products(samples, weights, rows, cols, radius, per_edge, chi, real, imag):
    """Sum P*(k) P(k-Q) over samples (s, 2): real and imaginary parts (n,) for frequencies (n,)."""
    real[:] = ZERO
    imag[:] = ZERO
    for s in range(samples.shape[0]):
        y = samples[s, 0]
        x = samples[s, 1]
        c_re, c_im, c_amp = _wave(y, x, radius, per_edge, chi)
        if c_amp == ZERO:
            continue
        c_re *= weights[s]
        c_im *= weights[s]
        for j in range(rows.shape[0]):
            m_re, m_im, _ = _wave(y - rows[j], x - cols[j], radius, per_edge, chi)
            real[j] += c_re * m_re + c_im * m_im
            imag[j] += c_re * m_im - c_im * m_re


@nb.jit(**FAST)
def overlaps(samples, weights, offsets, q_row, q_col, radius, edge, chi, kind, out):
    """Sum aperture overlaps over the samples of each bin: out (bins, nq) complex64.

    samples (s, 2) frequencies sorted by bin, weights (s,) number of pixels each represents, offsets (bins + 1,) first
    sample of each bin, q_row, q_col (nq,), chi (5, 5); all float32. ``kind`` FULL: i [P*(k) P(k-Q) - P(k) P*(k+Q)];
    SIDEBANDS: only where one of the two overlaps; ONE_SIDEBAND: without the second of them; AMPLITUDE_SIDEBANDS: i
    times their sum instead of their difference; PRODUCT: P*(k) P(k-Q).
    """
    real = np.empty(out.shape[1], np.float32)
    imag = np.empty(out.shape[1], np.float32)
    rows = np.empty(out.shape[1], np.float32)
    cols = np.empty(out.shape[1], np.float32)
    number = np.empty(out.shape[1], np.int32)
    per_edge = ONE / edge
    for b in range(out.shape[0]):
        if kind == FULL and offsets[b + 1] - offsets[b] > 1:
            out[b] = 0
            bin_samples = samples[offsets[b] : offsets[b + 1]]
            for sign in (ONE, -ONE):  # i [A(Q) - A*(-Q)], A the products, which most frequencies lack
                n = _covered(bin_samples, q_row, q_col, sign, radius + HALF * edge, rows, cols, number)
                bin_weights = weights[offsets[b] : offsets[b + 1]]
                _products(bin_samples, bin_weights, rows[:n], cols[:n], radius, per_edge, chi, real[:n], imag[:n])
                for j in range(n):
                    out[b, number[j]] += complex(-imag[j], sign * real[j])
            continue
        real[:] = ZERO
        imag[:] = ZERO
        for s in range(offsets[b], offsets[b + 1]):
            y = samples[s, 0]
            x = samples[s, 1]
            c_re, c_im, c_amp = _wave(y, x, radius, per_edge, chi)
            if c_amp == ZERO:
                continue
            c_re *= weights[s]
            c_im *= weights[s]
            if kind == PRODUCT:
                for j in range(q_row.shape[0]):
                    m_re, m_im, _ = _wave(y - q_row[j], x - q_col[j], radius, per_edge, chi)
                    real[j] += c_re * m_re + c_im * m_im
                    imag[j] += c_re * m_im - c_im * m_re
            elif kind == FULL:
                for j in range(q_row.shape[0]):
                    m_re, m_im, _ = _wave(y - q_row[j], x - q_col[j], radius, per_edge, chi)
                    p_re, p_im, _ = _wave(y + q_row[j], x + q_col[j], radius, per_edge, chi)
                    real[j] += c_im * (m_re + p_re) - c_re * (m_im + p_im)
                    imag[j] += c_re * (m_re - p_re) + c_im * (m_im - p_im)
            else:
                second = ZERO if kind == ONE_SIDEBAND else (-ONE if kind == AMPLITUDE_SIDEBANDS else ONE)
                for j in range(q_row.shape[0]):
                    m_re, m_im, m_amp = _wave(y - q_row[j], x - q_col[j], radius, per_edge, chi)
                    p_re, p_im, p_amp = _wave(y + q_row[j], x + q_col[j], radius, per_edge, chi)
                    m = ONE - c_amp * p_amp
                    p = second * (ONE - c_amp * m_amp)
                    real[j] += c_im * (m * m_re + p * p_re) - c_re * (m * m_im + p * p_im)
                    imag[j] += c_re * (m * m_re - p * p_re) + c_im * (m * m_im - p * p_im)
        for j in range(out.shape[1]):
            out[b, j] = complex(real[j], imag[j])


@nb.jit(**FAST)
def shift_ramps(weights, offsets, q_row, q_col, shift_row, shift_col, out):
    """Sum exp(-i Q . shift) over the samples of each bin: out (bins, nq) complex64; shifts (s,) rad Å, float32."""
    real = np.empty(out.shape[1], np.float32)
    imag = np.empty(out.shape[1], np.float32)
    for b in range(out.shape[0]):
        real[:] = ZERO
        imag[:] = ZERO
        for s in range(offsets[b], offsets[b + 1]):
            along_row = shift_row[s]
            along_col = shift_col[s]
            weight = weights[s]
            for j in range(q_row.shape[0]):
                cosine, sine = _cos_sin(q_row[j] * along_row + q_col[j] * along_col)
                real[j] += weight * cosine
                imag[j] -= weight * sine
        for j in range(out.shape[1]):
            out[b, j] = complex(real[j], imag[j])
