"""Loss and gradient of one pattern after another, each staying in the processor's cache from probe to gradient.

Planes are flat float32 (P * P); everything in Fourier space is transposed, as :mod:`planes_fft` leaves it. The physics
and the names are those of :mod:`ptylive.engine.backend.multislice`. The window's size is compiled in; the number of
slices and modes, the data term and whether the probe's gradient is wanted are not, so one compilation serves all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from ptylive.engine.backend.planes_fft import FAST, forward, inverse

AMPLITUDE, POISSON = 0, 1
TINY_COUNTS = np.float32(1e-12)
CACHED = {**FAST, "cache": True}


class Patterns(NamedTuple):
    """The patterns of one call: which ones, their counts as float32 (n, P*P), weights (P*P), positions of all."""

    indices: Any
    counts: Any
    weights: Any
    corners: Any
    ramps: Any
    """(N, 2, 2, P): axis (row, col), part (real, imaginary)."""


class Model(NamedTuple):
    """What is refined, and the propagators: planes as real and imaginary parts on the leading axis."""

    slices: Any
    """(2, slices, Y * X)."""
    width: int
    probe: Any
    """(2, modes, P * P), transposed."""
    propagators: Any
    """(2, slices - 1, P * P), transposed, 1 / P^2 inside."""


class Gradient(NamedTuple):
    """Where the gradient is added up: shapes as in :class:`Model`."""

    slices: Any
    probe: Any


class Work(NamedTuple):
    """Buffers of one thread."""

    waves: Any
    """(modes, slices, 2, P * P): the wave that enters each slice."""
    far_field: Any
    """(modes, 2, P * P)."""
    a: Any
    """(2, P * P)."""
    b: Any
    intensity: Any
    """(P * P)."""


@numba.jit(**FAST)
def _shifted_probe(window: Any, probe_re: Any, probe_im: Any, ramp: Any, out: Any) -> None:
    """Out = probe * ramp / P, on transposed planes."""
    size = window.size
    scale = np.float32(1 / size)
    for i in range(size):
        cr, ci = ramp[1, 0, i] * scale, ramp[1, 1, i] * scale
        for j in range(size):
            wr = cr * ramp[0, 0, j] - ci * ramp[0, 1, j]
            wi = cr * ramp[0, 1, j] + ci * ramp[0, 0, j]
            k = i * size + j
            out[0, k] = probe_re[k] * wr - probe_im[k] * wi
            out[1, k] = probe_re[k] * wi + probe_im[k] * wr


@numba.jit(**FAST)
def _add_unshifted(window: Any, wave: Any, ramp: Any, total_re: Any, total_im: Any) -> None:
    """Total += conj(ramp) * wave / P: the adjoint of :func:`_shifted_probe`."""
    size = window.size
    scale = np.float32(1 / size)
    for i in range(size):
        cr, ci = ramp[1, 0, i] * scale, ramp[1, 1, i] * scale
        for j in range(size):
            wr = cr * ramp[0, 0, j] - ci * ramp[0, 1, j]
            wi = cr * ramp[0, 1, j] + ci * ramp[0, 0, j]
            k = i * size + j
            total_re[k] += wave[0, k] * wr + wave[1, k] * wi
            total_im[k] += wave[1, k] * wr - wave[0, k] * wi


@numba.jit(**FAST)
def _transmit(window: Any, wave: Any, slice_re: Any, slice_im: Any, start: int, width: int, out: Any) -> None:
    """Out = wave * slice, the slice read in place: its window begins at flat index ``start``."""
    size = window.size
    for i in range(size):
        row = np.uintp(start + i * width)
        for j in range(size):
            k = i * size + j
            a, b = slice_re[row + np.uintp(j)], slice_im[row + np.uintp(j)]
            out[0, k] = wave[0, k] * a - wave[1, k] * b
            out[1, k] = wave[0, k] * b + wave[1, k] * a


@numba.jit(**FAST)
def _transmit_back(window: Any, wave: Any, slice_re: Any, slice_im: Any, start: int, width: int, out: Any) -> None:
    """Out = wave * conj(slice)."""
    size = window.size
    for i in range(size):
        row = np.uintp(start + i * width)
        for j in range(size):
            k = i * size + j
            a, b = slice_re[row + np.uintp(j)], slice_im[row + np.uintp(j)]
            out[0, k] = wave[0, k] * a + wave[1, k] * b
            out[1, k] = wave[1, k] * a - wave[0, k] * b


@numba.jit(**FAST)
def _scatter(window: Any, entering: Any, wave: Any, total_re: Any, total_im: Any, start: int, width: int) -> None:
    """Total += conj(entering) * wave in the window that begins at flat index ``start``."""
    size = window.size
    for i in range(size):
        row = np.uintp(start + i * width)
        for j in range(size):
            k = i * size + j
            total_re[row + np.uintp(j)] += entering[0, k] * wave[0, k] + entering[1, k] * wave[1, k]
            total_im[row + np.uintp(j)] += entering[0, k] * wave[1, k] - entering[1, k] * wave[0, k]


@numba.jit(**FAST)
def _multiply(window: Any, wave: Any, factor_re: Any, factor_im: Any, conjugate: Any, out: Any) -> None:
    """Out = wave * factor, conjugated where ``conjugate`` is -1."""
    for k in range(window.size * window.size):
        a, b = factor_re[k], conjugate * factor_im[k]
        out[0, k] = wave[0, k] * a - wave[1, k] * b
        out[1, k] = wave[0, k] * b + wave[1, k] * a


@numba.jit(**FAST)
def _add_intensity(window: Any, wave: Any, intensity: Any) -> None:
    for k in range(window.size * window.size):
        intensity[k] += wave[0, k] * wave[0, k] + wave[1, k] * wave[1, k]


@numba.jit(**FAST)
def _scale(window: Any, wave: Any, factor: Any) -> None:
    for k in range(window.size * window.size):
        wave[0, k] *= factor[k]
        wave[1, k] *= factor[k]


@numba.jit(**FAST)
def _compare_amplitudes(window: Any, intensity: Any, counts: Any, weights: Any, offset: Any) -> Any:
    """Loss; ``intensity`` (unnormalised by P^2) becomes the factor of the far field in the gradient."""
    scale = np.float32(1 / (window.size * window.size))
    shift = offset + TINY_COUNTS
    loss = np.float32(0)
    for k in range(window.size * window.size):
        amplitude = np.sqrt(intensity[k] * scale + shift)
        difference = amplitude - np.sqrt(counts[k] + offset)
        weighted = weights[k] * difference
        loss += weighted * difference
        intensity[k] = np.float32(2) * scale * weighted / amplitude
    return loss


def _log2_coefficients() -> tuple[np.float32, ...]:
    """Polynomial of degree 8 for log2(1.5 + x), |x| <= 0.5, lowest power first; within 2e-7."""
    x = 0.5 * np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    fit = np.polynomial.Chebyshev.fit(x, np.log2(1.5 + x), 8, domain=[-0.5, 0.5])
    return tuple(np.float32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


C0, C1, C2, C3, C4, C5, C6, C7, C8 = _log2_coefficients()
LN_2 = np.float32(np.log(2))
MANTISSA, ONE_BITS, EXPONENT_SHIFT, BIAS = np.int32(0x7FFFFF), np.int32(0x3F800000), np.int32(23), np.int32(127)


@numba.jit(**FAST)
def _log(value: Any) -> Any:
    """Natural logarithm of a positive, normal float32 from its exponent bits: np.log would not vectorise here."""
    bits = np.float32(value).view(np.int32)
    exponent = np.float32((bits >> EXPONENT_SHIFT) - BIAS)
    x = np.int32((bits & MANTISSA) | ONE_BITS).view(np.float32) - np.float32(1.5)
    high = ((C8 * x + C7) * x + C6) * x + C5
    return (exponent + ((((high * x + C4) * x + C3) * x + C2) * x + C1) * x + C0) * LN_2


@numba.jit(**FAST)
def _compare_poisson(window: Any, intensity: Any, counts: Any, weights: Any, floor: Any) -> Any:
    """As :func:`_compare_amplitudes`, for the Poisson term."""
    scale = np.float32(1 / (window.size * window.size))
    shift = floor + TINY_COUNTS
    one = np.float32(1)
    loss = np.float32(0)
    for k in range(window.size * window.size):
        model, measured = intensity[k] * scale + shift, counts[k]
        logarithm = _log(model / max(measured, TINY_COUNTS))
        loss += weights[k] * (model - measured - measured * logarithm)
        intensity[k] = np.float32(2) * scale * weights[k] * (one - measured / model)
    return loss


@numba.jit(**FAST)
def _forward_pattern(window: Any, model: Model, ramp: Any, start: int, work: Work) -> None:
    """Waves entering every slice, far fields of every mode, and their summed intensity (times P^2)."""
    slices = model.slices.shape[1]
    a, b = work.a, work.b
    work.intensity[:] = 0
    for m in range(model.probe.shape[1]):
        _shifted_probe(window, model.probe[0, m], model.probe[1, m], ramp, a)
        entering = work.waves[m, 0]
        inverse(window, a[0], a[1], entering[0], entering[1])
        for z in range(slices):
            _transmit(window, work.waves[m, z], model.slices[0, z], model.slices[1, z], start, model.width, a)
            if z < slices - 1:
                forward(window, a[0], a[1], b[0], b[1])
                _multiply(window, b, model.propagators[0, z], model.propagators[1, z], np.float32(1), a)
                entering = work.waves[m, z + 1]
                inverse(window, a[0], a[1], entering[0], entering[1])
        far_field = work.far_field[m]
        forward(window, a[0], a[1], far_field[0], far_field[1])
        _add_intensity(window, far_field, work.intensity)


@numba.jit(**FAST)
def _backward_mode(window: Any, model: Model, m: int, start: int, work: Work, gradient: Gradient) -> None:
    """From the far-field gradient of mode ``m`` to the slices; what is left behind the probe goes to work.b."""
    a, b = work.a, work.b
    far_field = work.far_field[m]
    inverse(window, far_field[0], far_field[1], b[0], b[1])
    for z in range(model.slices.shape[1] - 1, -1, -1):
        _scatter(window, work.waves[m, z], b, gradient.slices[0, z], gradient.slices[1, z], start, model.width)
        if z == 0 and gradient.probe.shape[1] == 0:
            break
        _transmit_back(window, b, model.slices[0, z], model.slices[1, z], start, model.width, a)
        forward(window, a[0], a[1], b[0], b[1])
        if z > 0:
            _multiply(window, b, model.propagators[0, z - 1], model.propagators[1, z - 1], np.float32(-1), a)
            inverse(window, a[0], a[1], b[0], b[1])


@numba.jit(**CACHED)
def add_loss_and_gradient(
    window: Any, term: tuple[int, float], patterns: Patterns, model: Model, gradient: Gradient, work: Work
) -> float:
    """Loss of ``patterns.indices``; their gradients are added to ``gradient``.

    ``term`` is (AMPLITUDE or POISSON, offset in counts). The probe's gradient has shape (2, 0, P*P) where unwanted.
    """
    total = 0.0
    offset = np.float32(term[1])
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        ramp = patterns.ramps[n]
        _forward_pattern(window, model, ramp, start, work)
        if term[0] == AMPLITUDE:
            total += _compare_amplitudes(window, work.intensity, patterns.counts[k], patterns.weights, offset)
        else:
            total += _compare_poisson(window, work.intensity, patterns.counts[k], patterns.weights, offset)
        for m in range(model.probe.shape[1]):
            _scale(window, work.far_field[m], work.intensity)
            _backward_mode(window, model, m, start, work, gradient)
            if gradient.probe.shape[1] > 0:
                _add_unshifted(window, work.b, ramp, gradient.probe[0, m], gradient.probe[1, m])
    return total


@numba.jit(**CACHED)
def load_patterns(recorded: Any, indices: Any, out: Any) -> None:
    """out[k] = float32(recorded[indices[k]]): the only code compiled anew for every recorded type."""
    for k in range(indices.shape[0]):
        n = indices[k]
        for i in range(out.shape[1]):
            out[k, i] = recorded[n, i]


@numba.jit(**CACHED)
def add_windows(intensity: Any, indices: Any, corners: Any, total: Any) -> None:
    """Add the window ``intensity`` (P, P) to ``total`` (Y, X) at the corner of every pattern in ``indices``."""
    rows, columns = intensity.shape
    width = total.shape[1]
    flat, source = total.reshape(-1), intensity.reshape(-1)
    for k in range(indices.shape[0]):
        n = indices[k]
        for i in range(rows):
            target = np.uintp((corners[n, 0] + i) * width + corners[n, 1])
            for j in range(columns):
                flat[target + np.uintp(j)] += source[np.uintp(i * columns + j)]
