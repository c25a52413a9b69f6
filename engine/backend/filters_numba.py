"""Compiled loops of the live engine: frame reductions, aperture overlaps, and the filter bank's contraction.

Every function releases the GIL. The aperture is a soft disc times exp(-i polynomial): what the polynomial means is
decided elsewhere (engine/probe.py).
"""

from __future__ import annotations

import numba as nb
import numpy as np

NOGIL = {"nopython": True, "nogil": True, "cache": True, "error_model": "numpy"}
FAST = {**NOGIL, "fastmath": True}

FULL, SIDEBANDS, PRODUCT = 0, 1, 2
"""Which overlap: full weak-phase transfer, single-overlap part only, bare product P*(k) P(k - Q)."""


@nb.jit(**NOGIL)
def reduce_frames(frames, bin_of, region_of, row_of, col_of, bins, regions, moments, pattern_sum):
    """Sums of each frame over detector bins and regions, its moments, and the running sum of all frames.

    frames (n, pixels); bin_of, region_of (pixels,) int32 labels, -1 outside; row_of, col_of (pixels,) coordinates.
    Adds to pattern_sum (pixels,) float64; writes bins (n, nb) float32, regions (n, nr) float64, moments (n, 3) float64.
    A pixel whose region is -1 is bad and counts nowhere.
    """
    for n in range(frames.shape[0]):
        for b in range(bins.shape[1]):
            bins[n, b] = 0.0
        for r in range(regions.shape[1]):
            regions[n, r] = 0.0
        total = 0.0
        row = 0.0
        col = 0.0
        for p in range(frames.shape[1]):
            value = float(frames[n, p])
            pattern_sum[p] += value
            region = region_of[p]
            if value == 0.0 or region < 0:
                continue
            total += value
            row += value * row_of[p]
            col += value * col_of[p]
            regions[n, region] += value
            b = bin_of[p]
            if b >= 0:
                bins[n, b] += value
        moments[n, 0] = total
        moments[n, 1] = row
        moments[n, 2] = col


@nb.jit(inline="always", **FAST)
def _wave(k_row, k_col, radius, edge, chi):
    """Soft disc times exp(-i chi), chi a polynomial of at most fourth order."""
    k2 = k_row * k_row + k_col * k_col
    amplitude = (radius - np.sqrt(k2)) / edge + 0.5
    if amplitude <= 0.0:
        return 0.0j
    amplitude = min(amplitude, 1.0)
    phase = 0.0
    for i in range(chi.shape[0] - 1, -1, -1):
        part = 0.0
        for j in range(chi.shape[1] - 1, -1, -1):
            part = part * k_col + chi[i, j]
        phase = phase * k_row + part
    return amplitude * (np.cos(phase) - 1j * np.sin(phase))


@nb.jit(**FAST)
def overlaps(samples, weights, offsets, q, radius, edge, chi, kind, out):
    """Aperture overlaps summed over the samples of each bin: out (bins, nq) complex64.

    samples (s, 2) frequencies sorted by bin, weights (s,) pixels each stands for, offsets (bins + 1,) first sample of
    each bin, q (nq, 2). ``kind`` FULL: i [P*(k) P(k-Q) - P(k) P*(k+Q)]; SIDEBANDS: only where one of both overlaps.
    """
    for b in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[b, j] = 0.0
        for s in range(offsets[b], offsets[b + 1]):
            k_row = samples[s, 0]
            k_col = samples[s, 1]
            centre = _wave(k_row, k_col, radius, edge, chi)
            if centre == 0.0:
                continue
            weight = weights[s]
            for j in range(q.shape[0]):
                minus = np.conj(centre) * _wave(k_row - q[j, 0], k_col - q[j, 1], radius, edge, chi)
                if kind == PRODUCT:
                    value = minus
                else:
                    plus = centre * np.conj(_wave(k_row + q[j, 0], k_col + q[j, 1], radius, edge, chi))
                    if kind == SIDEBANDS:
                        keep_minus = max(0.0, 1.0 - np.abs(plus))
                        plus = plus * max(0.0, 1.0 - np.abs(minus))
                        minus = minus * keep_minus
                    value = 1j * (minus - plus)
                out[b, j] += np.complex64(weight * value)


@nb.jit(**FAST)
def shift_ramps(samples, weights, offsets, q, gradient, out):
    """exp(-i Q . grad chi(k)) summed over the samples of each bin: out (bins, nq) complex64; gradient (2, s) rad Å."""
    for b in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[b, j] = 0.0
        for s in range(offsets[b], offsets[b + 1]):
            shift_row = gradient[0, s]
            shift_col = gradient[1, s]
            weight = weights[s]
            for j in range(q.shape[0]):
                phase = q[j, 0] * shift_row + q[j, 1] * shift_col
                out[b, j] += np.complex64(weight * (np.cos(phase) - 1j * np.sin(phase)))


@nb.jit(**FAST)
def contract(weights, spectra, index, out):
    """The filter bank: out[q] = sum_n weights[n, q] spectra[n, index[q]], complex64, summed in single precision."""
    for q in range(out.shape[0]):
        out[q] = 0.0
    for n in range(weights.shape[0]):
        w = weights[n]
        c = spectra[n]
        for q in range(out.shape[0]):
            out[q] += w[q] * c[index[q]]
