"""The filter bank's contraction, compiled: a dot product of filter and coefficients for every frequency.

Coefficients are the last axis, so that any frequency a map needs is contiguous, however the half plane folds.
Every function releases the GIL.
"""

from __future__ import annotations

import numba as nb
import numpy as np

FAST = {"nopython": True, "nogil": True, "cache": True, "error_model": "numpy", "fastmath": True}
ZERO = np.float32(0.0)


@nb.jit(**FAST)
def contract(weights, planes, index, sign, scale, out):
    """out[q] = scale sum_n weights[q, n] planes[index[q], n], complex64, summed in single precision.

    ``sign`` (nq,) -1 takes the conjugate of the planes: the half that is not stored.
    """
    for q in range(out.shape[0]):
        w = weights[q]
        c = planes[index[q]]
        rr = ZERO
        ii = ZERO
        ri = ZERO
        ir = ZERO
        for n in range(w.shape[0]):
            rr += w[n].real * c[n].real
            ii += w[n].imag * c[n].imag
            ri += w[n].real * c[n].imag
            ir += w[n].imag * c[n].real
        out[q] = complex(scale * (rr - sign[q] * ii), scale * (sign[q] * ri + ir))


@nb.jit(**FAST)
def contract_pair(weights, planes, index, sign, other_index, other_sign, scale, out, other):
    """Make two contractions with the same weights, reading each weight once."""
    for q in range(out.shape[0]):
        w = weights[q]
        c = planes[index[q]]
        d = planes[other_index[q]]
        rr = ZERO
        ii = ZERO
        ri = ZERO
        ir = ZERO
        rr2 = ZERO
        ii2 = ZERO
        ri2 = ZERO
        ir2 = ZERO
        for n in range(w.shape[0]):
            rr += w[n].real * c[n].real
            ii += w[n].imag * c[n].imag
            ri += w[n].real * c[n].imag
            ir += w[n].imag * c[n].real
            rr2 += w[n].real * d[n].real
            ii2 += w[n].imag * d[n].imag
            ri2 += w[n].real * d[n].imag
            ir2 += w[n].imag * d[n].real
        out[q] = complex(scale * (rr - sign[q] * ii), scale * (sign[q] * ri + ir))
        other[q] = complex(scale * (rr2 - other_sign[q] * ii2), scale * (other_sign[q] * ri2 + ir2))


@nb.jit(**FAST)
def less_mean(rows, mask, moved, out):
    """out[c, r] = rows[c, r] - mask[r, c] moved, 0 beyond the rows.

    rows (cols, rows, 2 N) and out (cols, more rows, 2 N): real and imaginary parts of N coefficients interleaved,
    float32; mask (rows, cols) complex64; moved (2, 2 N) float32: N numbers in the real places, and in the imaginary
    ones, 0 between.
    """
    real = moved[0]
    imag = moved[1]
    for c in range(rows.shape[0]):
        for r in range(rows.shape[1]):
            line = rows[c, r]
            target = out[c, r]
            a = mask[r, c].real
            b = mask[r, c].imag
            for n in range(target.size):
                target[n] = line[n] - (a * real[n] + b * imag[n])
    out[:, rows.shape[1] :] = ZERO


@nb.jit(**FAST)
def interpolate(values, index, rows, at_cols, by_cols, at_rows, by_rows, out):
    """out[k] = sum over taps along both axes of values (cols, rows, n), float32; ``out`` (nk, n).

    index (nk,): col * ``rows`` + row of each, ascending. at_ (cols,) or (rows,): index of the first tap; by_ (…, taps):
    weights.
    """
    taps = by_rows.shape[1]
    line = np.empty(values.shape[1:], np.float32)
    previous_col = -1
    for k in range(out.shape[0]):
        col = index[k] // rows
        row = index[k] - col * rows
        if col != previous_col:
            previous_col = col
            line[:] = ZERO
            for t in range(taps):
                weight = by_cols[col, t]
                points = values[at_cols[col] + t]
                for j in range(line.shape[0]):
                    for n in range(line.shape[1]):
                        line[j, n] += weight * points[j, n]
        target = out[k]
        target[:] = ZERO
        for t in range(taps):
            weight = by_rows[row, t]
            point = line[at_rows[row] + t]
            for n in range(target.shape[0]):
                target[n] += weight * point[n]


@nb.jit(**FAST)
def responses(pairs, out):
    """out[q] = Re sum_n pairs[q, 0, n] pairs[q, 1, n]: product of each filter with its transfer."""
    for q in range(out.shape[0]):
        w = pairs[q, 0]
        t = pairs[q, 1]
        total = ZERO
        for n in range(w.shape[0]):
            total += w[n].real * t[n].real - w[n].imag * t[n].imag
        out[q] = total


@nb.jit(**FAST)
def spread(values, position, weight, width, beta, grid):
    """Add weighted values (points, n) to a periodic grid (rows, cols, n), each spread over width x width pixels.

    position (points, 2) float64: in pixels; the kernel along each axis is exp(beta (sqrt(1 - x^2) - 1)), |x| <= 1 at
    its rim.
    """
    rows = grid.shape[0]
    cols = grid.shape[1]
    down = np.empty(width, np.float32)
    across = np.empty(width, np.float32)
    half = 0.5 * width
    for p in range(values.shape[0]):
        if weight[p] == ZERO:
            continue
        first_row = int(np.ceil(position[p, 0] - half))
        first_col = int(np.ceil(position[p, 1] - half))
        for k in range(width):
            y = (first_row + k - position[p, 0]) / half
            x = (first_col + k - position[p, 1]) / half
            down[k] = weight[p] * np.exp(beta * (np.sqrt(max(1.0 - y * y, 0.0)) - 1.0))
            across[k] = np.exp(beta * (np.sqrt(max(1.0 - x * x, 0.0)) - 1.0))
        value = values[p]
        for i in range(width):
            line = grid[(first_row + i) % rows]
            for j in range(width):
                cell = line[(first_col + j) % cols]
                share = down[i] * across[j]
                for n in range(value.shape[0]):
                    cell[n] += share * value[n]
