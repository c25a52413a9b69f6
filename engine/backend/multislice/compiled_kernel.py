"""Loss and gradient of one pattern after another, each staying in the processor's cache from probe to gradient.

Planes are flat float32 (P * P); everything in Fourier space is transposed, as :mod:`planes_fft` leaves it. The physics
and the names are those of :mod:`ptylive.engine.backend.multislice.problem`. The window's size is compiled in; the
number of slices and modes, the data term and which gradients are wanted are not, so one compilation serves all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from ptylive.engine.backend.multislice.compiled_terms import compare
from ptylive.engine.backend.multislice.planes_fft import FAST, forward, inverse

UINT8, UINT16, FLOAT32 = 0, 1, 2
CACHED = {**FAST, "cache": True}


class Patterns(NamedTuple):
    """The patterns of one call: which ones; counts and positions of all, weights (P*P)."""

    indices: Any
    recorded: Any
    """(N, bytes of a pattern) uint8: counts as they lie in memory, so that one compilation serves every type."""
    counts_type: int
    """UINT8, UINT16 or FLOAT32."""
    weights: Any
    corners: Any
    ramps: Any
    """(N, 2, 2, P): axis (row, col), part (real, imaginary)."""
    amplitudes: Any
    """(N,): root of the beam current of each pattern."""
    turns: Any
    """(N, 2, 2, P) in real space, as the ramps: what moves a pattern over the detector; or of length 0."""


class Model(NamedTuple):
    """What is refined, and the propagators: planes as real and imaginary parts on the leading axis."""

    slices: Any
    """(2, object modes * slices, Y * X)."""
    width: int
    probe: Any
    """(2, modes, P * P), transposed."""
    propagators: Any
    """(2, slices - 1, P * P), transposed, 1 / P^2 inside."""
    background: Any
    """(P * P), transposed, in units of the summed intensity: counts * P^2 * object modes."""
    frequencies: Any
    """(P,) cycles per pixel."""
    phase_per_A: Any
    """(P * P) phase that an Å of free space adds to a frequency."""


class Gradient(NamedTuple):
    """Where the gradient is added up: shapes as in :class:`Model`, or with a length of 0 where it is not wanted."""

    slices: Any
    probe: Any
    patterns: Any
    """(n, 3) of the patterns of the call: shift along rows, along columns, beam current."""
    background: Any
    distances: Any
    """(slices - 1)."""


class Work(NamedTuple):
    """Buffers of one thread."""

    waves: Any
    """(pairs, slices, 2, P * P): the wave that enters each slice, for every pair of a probe and an object mode."""
    far_field: Any
    """(pairs, 2, P * P)."""
    a: Any
    """(2, P * P)."""
    b: Any
    intensity: Any
    """(P * P)."""
    counts: Any
    """(P * P): the recorded pattern as float32."""


@numba.jit(**FAST)
def _load_counts(window: Any, recorded: Any, counts_type: int, out: Any) -> None:
    """Out = float32 of the recorded bytes of a pattern."""
    if counts_type == UINT8:
        for k in range(window.size * window.size):
            out[k] = np.float32(recorded[k])
    elif counts_type == UINT16:
        counts = recorded.view(np.uint16)
        for k in range(window.size * window.size):
            out[k] = np.float32(counts[k])
    else:
        floats = recorded.view(np.float32)
        for k in range(window.size * window.size):
            out[k] = floats[k]


@numba.jit(**FAST)
def _shifted_probe(window: Any, probe_re: Any, probe_im: Any, ramp: Any, amplitude: Any, out: Any) -> None:
    """Out = amplitude * probe * ramp / P, on transposed planes."""
    size = window.size
    scale = amplitude * np.float32(1 / size)
    for i in range(size):
        cr, ci = ramp[1, 0, i] * scale, ramp[1, 1, i] * scale
        for j in range(size):
            wr = cr * ramp[0, 0, j] - ci * ramp[0, 1, j]
            wi = cr * ramp[0, 1, j] + ci * ramp[0, 0, j]
            k = i * size + j
            out[0, k] = probe_re[k] * wr - probe_im[k] * wi
            out[1, k] = probe_re[k] * wi + probe_im[k] * wr


@numba.jit(**FAST)
def _add_unshifted(window: Any, wave: Any, ramp: Any, amplitude: Any, total_re: Any, total_im: Any) -> None:
    """Total += amplitude * conj(ramp) * wave / P: the adjoint of :func:`_shifted_probe`."""
    size = window.size
    scale = amplitude * np.float32(1 / size)
    for i in range(size):
        cr, ci = ramp[1, 0, i] * scale, ramp[1, 1, i] * scale
        for j in range(size):
            wr = cr * ramp[0, 0, j] - ci * ramp[0, 1, j]
            wi = cr * ramp[0, 1, j] + ci * ramp[0, 0, j]
            k = i * size + j
            total_re[k] += wave[0, k] * wr + wave[1, k] * wi
            total_im[k] += wave[1, k] * wr - wave[0, k] * wi


@numba.jit(**FAST)
def _turn(window: Any, wave: Any, turn: Any, conjugate: Any) -> None:
    """Wave *= turn, on natural planes; conjugated where ``conjugate`` is -1."""
    size = window.size
    for i in range(size):
        rr, ri = turn[0, 0, i], conjugate * turn[0, 1, i]
        for j in range(size):
            cr, ci = turn[1, 0, j], conjugate * turn[1, 1, j]
            wr, wi = rr * cr - ri * ci, rr * ci + ri * cr
            k = i * size + j
            a, b = wave[0, k], wave[1, k]
            wave[0, k] = a * wr - b * wi
            wave[1, k] = a * wi + b * wr


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
def _first_intensity(window: Any, wave: Any, background: Any, intensity: Any) -> None:
    for k in range(window.size * window.size):
        intensity[k] = background[k] + wave[0, k] * wave[0, k] + wave[1, k] * wave[1, k]


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
def _forward_pattern(window: Any, model: Model, patterns: Patterns, n: int, start: int, work: Work) -> None:
    """Waves entering every slice, far fields of every pair of modes, and their summed intensity (times P^2)."""
    slices = work.waves.shape[1]
    object_modes = model.slices.shape[1] // slices
    a, b = work.a, work.b
    ramp, amplitude = patterns.ramps[n], patterns.amplitudes[n]
    for pair in range(work.waves.shape[0]):
        m, first = pair // object_modes, (pair % object_modes) * slices
        entering = work.waves[pair, 0]
        _shifted_probe(window, model.probe[0, m], model.probe[1, m], ramp, amplitude, a)
        inverse(window, a[0], a[1], entering[0], entering[1])
        for z in range(slices):
            re, im = model.slices[0, first + z], model.slices[1, first + z]
            _transmit(window, work.waves[pair, z], re, im, start, model.width, a)
            if z < slices - 1:
                forward(window, a[0], a[1], b[0], b[1])
                _multiply(window, b, model.propagators[0, z], model.propagators[1, z], np.float32(1), a)
                entering = work.waves[pair, z + 1]
                inverse(window, a[0], a[1], entering[0], entering[1])
        if patterns.turns.shape[0] > 0:
            _turn(window, a, patterns.turns[n], np.float32(1))
        far_field = work.far_field[pair]
        forward(window, a[0], a[1], far_field[0], far_field[1])
        if pair == 0:
            _first_intensity(window, far_field, model.background, work.intensity)
        else:
            _add_intensity(window, far_field, work.intensity)


@numba.jit(**FAST)
def _backward_pair(
    window: Any, model: Model, pair: int, start: int, work: Work, gradient: Gradient, to_probe: bool, turn: Any
) -> None:
    """From the far-field gradient of a pair of modes to the slices; what is left behind the probe goes to work.b.

    ``turn``: of this pattern, with a leading axis of length 1, or of length 0.
    """
    slices = work.waves.shape[1]
    first = (pair % (model.slices.shape[1] // slices)) * slices
    a, b = work.a, work.b
    far_field = work.far_field[pair]
    inverse(window, far_field[0], far_field[1], b[0], b[1])
    if turn.shape[0] > 0:
        _turn(window, b, turn[0], np.float32(-1))
    for z in range(slices - 1, -1, -1):
        s = first + z
        _scatter(window, work.waves[pair, z], b, gradient.slices[0, s], gradient.slices[1, s], start, model.width)
        if z == 0 and not to_probe:
            break
        _transmit_back(window, b, model.slices[0, s], model.slices[1, s], start, model.width, a)
        forward(window, a[0], a[1], b[0], b[1])
        if z > 0:
            if gradient.distances.shape[0] > 0:
                # the far field is spent: its planes take the spectrum of the wave that enters slice z
                forward(window, work.waves[pair, z, 0], work.waves[pair, z, 1], far_field[0], far_field[1])
                gradient.distances[z - 1] += _distance_derivative(window, b, far_field, model.phase_per_A)
            _multiply(window, b, model.propagators[0, z - 1], model.propagators[1, z - 1], np.float32(-1), a)
            inverse(window, a[0], a[1], b[0], b[1])


@numba.jit(**FAST)
def _distance_derivative(window: Any, gradient: Any, wave: Any, phase_per_A: Any) -> Any:
    """-sum phase_per_A Im(conj(gradient) wave) / P^2, on spectra without normalisation."""
    total = np.float32(0)
    for k in range(window.size * window.size):
        total += phase_per_A[k] * (gradient[0, k] * wave[1, k] - gradient[1, k] * wave[0, k])
    return -total * np.float32(1 / (window.size * window.size))


@numba.jit(**FAST)
def _add_pattern_derivatives(
    window: Any, probe: Any, wave: Any, ramp: Any, amplitude: Any, model: Model, out: Any
) -> None:
    """Derivatives by shift and beam current from conj(wave) * amplitude * probe * ramp / P (transposed planes)."""
    size = window.size
    rows = columns = straight = np.float32(0)
    for i in range(size):
        along_row = turned = np.float32(0)
        for j in range(size):
            k = i * size + j
            wr = ramp[1, 0, i] * ramp[0, 0, j] - ramp[1, 1, i] * ramp[0, 1, j]
            wi = ramp[1, 0, i] * ramp[0, 1, j] + ramp[1, 1, i] * ramp[0, 0, j]
            pr = probe[0, k] * wr - probe[1, k] * wi
            pi = probe[0, k] * wi + probe[1, k] * wr
            turn = wave[0, k] * pi - wave[1, k] * pr
            straight += wave[0, k] * pr + wave[1, k] * pi
            along_row += turn * model.frequencies[j]
            turned += turn
        rows += along_row
        columns += turned * model.frequencies[i]
    scale = amplitude / size
    out[0] += 2 * np.pi * scale * rows
    out[1] += 2 * np.pi * scale * columns
    out[2] += 0.5 * scale * straight / (amplitude * amplitude)


@numba.jit(**CACHED)
def add_loss_and_gradient(
    window: Any, term: tuple[int, float, int], patterns: Patterns, model: Model, gradient: Gradient, work: Work
) -> float:
    """Loss of ``patterns.indices``; their gradients are added to ``gradient``.

    ``term`` is a data term as :func:`compiled_terms.compare` takes it.
    """
    total = 0.0
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    scale = np.float32(1 / (window.size * window.size * object_modes))
    per_pattern = gradient.patterns.shape[0] > 0
    to_probe = per_pattern or gradient.probe.shape[1] > 0
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        ramp, amplitude = patterns.ramps[n], patterns.amplitudes[n]
        _forward_pattern(window, model, patterns, n, start, work)
        _load_counts(window, patterns.recorded[n], patterns.counts_type, work.counts)
        total += compare(window, term, work.intensity, work.counts, patterns.weights, scale)
        for i in range(gradient.background.shape[0]):
            gradient.background[i] += work.intensity[i]
        for pair in range(work.waves.shape[0]):
            m = pair // object_modes
            _scale(window, work.far_field[pair], work.intensity)
            _backward_pair(window, model, pair, start, work, gradient, to_probe, patterns.turns[n : n + 1])
            if gradient.probe.shape[1] > 0:
                _add_unshifted(window, work.b, ramp, amplitude, gradient.probe[0, m], gradient.probe[1, m])
            if per_pattern:
                _add_pattern_derivatives(
                    window, model.probe[:, m], work.b, ramp, amplitude, model, gradient.patterns[k]
                )
    return total


@numba.jit(**CACHED)
def fill_intensities(window: Any, patterns: Patterns, model: Model, work: Work, out: Any) -> None:
    """Out (n, P * P), transposed: the modelled counts of ``patterns.indices``, one after the other."""
    scale = np.float32(work.waves.shape[1] / (window.size * window.size * model.slices.shape[1]))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        _forward_pattern(window, model, patterns, n, start, work)
        for i in range(window.size * window.size):
            out[k, i] = scale * work.intensity[i]


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
