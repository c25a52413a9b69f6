"""Comparison of one pattern's coefficients with the recorded ones while its waves are in the cache: part of the kernel.

Formulas and names are those of :mod:`ptylive.engine.backend.multislice.forward.comparison`. Planes are flat and
transposed, like everything in Fourier space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from ptylive.engine.backend.multislice import data_terms
from ptylive.engine.backend.multislice.planes_fft import FAST, INNER

LEAST_SQUARES, ROOT, GAUSS, POISSON = range(4)
TINY_COUNTS = data_terms.TINY_COUNTS
S, DERIVATIVE, AWAY = 0, 1, 2
"""Rows of the sums: coefficients, the loss's derivative by them, and their whitened difference from the recorded."""


class Projection(NamedTuple):
    """Masks in the form of compiled code, and recorded coefficients. Arrays of length 0 stand for absent data.

    Most masks are 0 at most pixels: they are stored at the pixels that many masks cover, and the few masks that cover
    others are also stored as planes. After the K masks there is one row for each length to which the scatter of counts
    adds: the weights of that contribution.
    """

    kind: int
    """LEAST_SQUARES, ROOT, GAUSS or POISSON."""
    offset: Any
    """In counts."""
    values: Any
    """(n, K) recorded coefficients of the patterns of the call."""
    pixels: Any
    """(B,) pixels covered by many masks."""
    many: Any
    """(K + lengths, B) masks at these pixels."""
    few: Any
    """(F,) rows of the masks that cover other pixels."""
    rest: Any
    """(F, plane) these masks, 0 at the pixels above."""
    whitening: Any
    """(K, K), or of length 0."""
    edge: Any
    """(plane) weight of the intensity outside all masks, or of length 0."""
    regions: Any
    """(lengths, plane)."""
    members: Any
    """(lengths, K) 1 for the masks in each region."""
    measured: Any
    """(n, lengths) of the patterns of the call."""
    weights: Any
    """(lengths,)."""


@numba.jit(**INNER)
def _project(masks: Any, seen: Any, out: Any) -> None:
    """Out (K) = masks (K, B) times seen (B), four rows at a time, so that each pixel is read once for four."""
    rows, count = masks.shape
    zero = masks.dtype.type(0)
    for first in range(0, rows - 3, 4):
        a = b = c = d = zero
        m0, m1, m2, m3 = masks[first], masks[first + 1], masks[first + 2], masks[first + 3]
        for k in range(count):
            value = seen[k]
            a += m0[k] * value
            b += m1[k] * value
            c += m2[k] * value
            d += m3[k] * value
        out[first], out[first + 1], out[first + 2], out[first + 3] = a, b, c, d
    for row in range(rows - rows % 4, rows):
        total = zero
        for k in range(count):
            total += masks[row, k] * seen[k]
        out[row] = total


@numba.jit(**INNER)
def _spread(masks: Any, coefficients: Any, out: Any) -> None:
    """Out (B) = coefficients (K) times masks (K, B): the adjoint of :func:`_project`."""
    rows, count = masks.shape
    for k in range(count):
        out[k] = masks.dtype.type(0)
    for first in range(0, rows - 3, 4):
        m0, m1, m2, m3 = masks[first], masks[first + 1], masks[first + 2], masks[first + 3]
        a, b = coefficients[first], coefficients[first + 1]
        c, d = coefficients[first + 2], coefficients[first + 3]
        for k in range(count):
            out[k] += a * m0[k] + b * m1[k] + c * m2[k] + d * m3[k]
    for row in range(rows - rows % 4, rows):
        value = coefficients[row]
        for k in range(count):
            out[k] += value * masks[row, k]


@numba.jit(**INNER)
def _of_coefficients(projection: Any, measured: Any, sums: Any) -> Any:
    """Return the loss of the coefficients in ``sums[S]``; ``sums[DERIVATIVE]`` becomes its derivative by them."""
    count, kind, real = measured.shape[0], projection.kind, sums.dtype.type
    s, derivative, away = sums[S], sums[DERIVATIVE], sums[AWAY]
    loss = 0.0
    if kind == GAUSS:
        for k in range(count):
            root = np.sqrt(s[k] + real(TINY_COUNTS))
            difference = root - np.sqrt(measured[k])
            loss += difference * difference
            derivative[k] = difference / root
        return loss
    if kind == POISSON:
        for k in range(count):
            model, counts = s[k] + (projection.offset + real(TINY_COUNTS)), measured[k]
            positive = counts if counts > 0 else real(1)
            loss += model - counts - counts * (np.log(model) - np.log(positive))
            derivative[k] = real(1) - counts / model
        return loss
    whitened = projection.whitening.shape[0] > 0
    for k in range(count):
        value = s[k] - measured[k]
        if whitened:
            value = real(0)
            for j in range(count):
                value += projection.whitening[k, j] * (s[j] - measured[j])
        away[k] = value
        loss += value * value
        derivative[k] = real(0) if whitened else real(2) * value
    for j in range(count if whitened else 0):
        for k in range(count):
            derivative[k] += real(2) * away[j] * projection.whitening[j, k]
    return loss


@numba.jit(**FAST)
def _of_length(projection: Any, number: int, measured: Any, seen: Any, sums: Any) -> Any:
    """Loss of the length ``number``, and its derivative by it; the masks' share of the length is subtracted there."""
    region, member, s = projection.regions[number], projection.members[number], sums[S]
    real = sums.dtype.type
    length = real(0)
    for k in range(region.shape[0]):
        length += region[k] * seen[k] * seen[k]
    for k in range(member.shape[0]):
        length -= member[k] * s[k] * s[k]
    scattered = projection.kind != ROOT
    row = member.shape[0] + number
    if scattered:
        length += s[row]
    away, weight = length - measured, projection.weights[number]
    pull = real(2) * weight * away
    for k in range(member.shape[0]):
        sums[DERIVATIVE, k] -= real(2) * pull * member[k] * s[k]
    sums[DERIVATIVE, row] = pull if scattered else real(0)  # masks of zeros are multiplied by it, too
    return weight * away * away, pull


@numba.jit(**INNER)
def compare_coefficients(window: Any, projection: Projection, place: int, work: Any, sums: Any, scale: Any) -> Any:
    """Return the loss of a pattern, the one with index ``place`` within the call.

    ``work.intensity`` (counts over ``scale``) becomes the factor of the far field in the gradient;
    ``work.counts`` and ``work.b`` are overwritten. sums: (3, K + lengths).
    """
    pixels, intensity, signal, gathered = window.size * window.pitch, work.intensity, work.counts, work.b[0]
    real = sums.dtype.type
    rooted, shift = projection.kind == ROOT, projection.offset + real(TINY_COUNTS)
    for k in range(pixels):
        counts = intensity[k] * scale
        signal[k] = np.sqrt(counts + shift) if rooted else counts
    selected = projection.pixels
    for k in range(selected.shape[0]):
        gathered[k] = signal[selected[k]]
    _project(projection.many, gathered[: selected.shape[0]], sums[S])
    for f in range(projection.few.shape[0]):
        total, mask = real(0), projection.rest[f]
        for k in range(pixels):
            total += mask[k] * signal[k]
        sums[S, projection.few[f]] += total
    loss = _of_coefficients(projection, projection.values[place], sums)
    if projection.edge.shape[0] > 0:
        weighted = real(0)
        for k in range(pixels):
            weighted += intensity[k] * projection.edge[k]
        loss += weighted * scale
    for k in range(pixels):
        intensity[k] = real(0)
    for number in range(projection.regions.shape[0]):
        length_loss, pull = _of_length(projection, number, projection.measured[place, number], signal, sums)
        loss += length_loss
        region, twice = projection.regions[number], real(2) * pull
        for k in range(pixels):
            intensity[k] += twice * region[k] * signal[k]
    for f in range(projection.few.shape[0]):
        value, mask = sums[DERIVATIVE, projection.few[f]], projection.rest[f]
        for k in range(pixels):
            intensity[k] += value * mask[k]
    _spread(projection.many, sums[DERIVATIVE], gathered[: selected.shape[0]])
    for k in range(selected.shape[0]):
        intensity[selected[k]] += gathered[k]
    factor = real(2) * scale
    for k in range(pixels):
        value = intensity[k] / (real(2) * signal[k]) if rooted else intensity[k]
        if projection.edge.shape[0] > 0:
            value += projection.edge[k]
        intensity[k] = factor * value
    return loss
