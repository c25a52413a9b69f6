"""Loss and gradient of one pattern after another, each staying in the processor's cache from probe to gradient.

Planes are flat float32 (P * P); everything in Fourier space is transposed, as :mod:`planes_fft` leaves it. The physics
and the names are those of :mod:`ptylive.engine.backend.multislice.problem`. The window's size, the number of slices and
modes, the data term and which gradients are wanted are values at run time, so one compilation serves all.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ptylive.engine.backend.multislice.compiled_terms import compare
from ptylive.engine.backend.multislice.kernel_parts.aperture import (
    add_pattern_derivatives,
    add_unshifted,
    fill_ramp,
    leave_aperture,
    own_probes,
    shifted_probe,
)
from ptylive.engine.backend.multislice.kernel_parts.arguments import (
    ENTRY,
    EXIT,
    LENS,
    SPACES,
    UINT8,
    UINT16,
    Gradient,
    Model,
    Patterns,
    Work,
)
from ptylive.engine.backend.multislice.kernel_parts.coefficients import Projection, compare_coefficients
from ptylive.engine.backend.multislice.kernel_parts.products import (
    add_intensity,
    add_moments,
    clear,
    copy,
    first_intensity,
    multiply,
    scale,
    scale_by_plane,
    scatter,
    transmit,
    transmit_back,
    turn,
)
from ptylive.engine.backend.multislice.planes_fft import FAST
from ptylive.engine.backend.multislice.window import forward, inverse

CACHED = {**FAST, "cache": True}
PART = {**FAST, "inline": "always"}
"""Of functions called from one or two places: each would otherwise be optimised again with all that it calls."""


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


@numba.jit(**PART)
def _filter(window: Any, plane: Any, band: Any, work: Work) -> None:
    """Plane, in real space, limited to a band; ``work.b`` is used up."""
    forward(window, plane[0], plane[1], work.b[0], work.b[1])
    scale_by_plane(window, work.b, band, np.float32(1 / (window.size * window.size)))
    inverse(window, work.b[0], work.b[1], plane[0], plane[1])


@numba.jit(**PART)
def _see_windows(window: Any, model: Model, start: int, work: Work) -> None:
    """``work.windows``: what a pattern sees of every slice, limited to the band."""
    size = window.size
    for s in range(work.windows.shape[0]):
        seen = work.windows[s]
        for part in range(2):
            for i in range(size):
                for j in range(size):
                    seen[part, i * size + j] = model.slices[part, s, start + i * model.width + j]
        _filter(window, seen, model.band, work)


@numba.jit(**PART)
def _leave_windows(window: Any, model: Model, start: int, work: Work, gradient: Gradient) -> None:
    """The adjoint of :func:`_see_windows`: ``work.pulled``, limited to the band, to the slices; it is 0 afterwards."""
    size = window.size
    for s in range(work.pulled.shape[0]):
        pulled = work.pulled[s]
        _filter(window, pulled, model.band, work)
        for part in range(2):
            for i in range(size):
                for j in range(size):
                    gradient.slices[part, s, start + i * model.width + j] += pulled[part, i * size + j]
        clear(window, pulled)


@numba.jit(**PART)
def _to_detector(window: Any, model: Model, patterns: Patterns, n: int, far_field: Any, work: Work) -> None:
    """From the exit wave in ``work.a`` to the detector; ``work.b`` is used up."""
    a, b = work.a, work.b
    if patterns.turns.shape[0] > 0:
        turn(window, a, patterns.turns[n], np.float32(1))
    forward(window, a[0], a[1], far_field[0], far_field[1])
    if model.band.shape[0] > 0:
        scale_by_plane(window, far_field, model.band, np.float32(1))
    if patterns.lenses.shape[0] > 0:
        multiply(window, far_field, model.lens[0], model.lens[1], np.float32(1), b)
        turn(window, b, patterns.lenses[n], np.float32(1))
        inverse(window, b[0], b[1], far_field[0], far_field[1])


@numba.jit(**PART)
def _from_detector(
    window: Any, model: Model, patterns: Patterns, pattern: tuple[int, int], far_field: Any, work: Work, moments: Any
) -> None:
    """Its adjoint: the far field times ``work.intensity`` becomes the gradient behind the specimen, in ``work.b``."""
    a, b, (n, place) = work.a, work.b, pattern
    if patterns.lenses.shape[0] > 0:
        if moments.shape[0] > 0:
            copy(window, far_field, a)
            forward(window, a[0], a[1], b[0], b[1])
        scale(window, far_field, work.intensity)
        forward(window, far_field[0], far_field[1], a[0], a[1])
        if moments.shape[0] > 0:
            add_moments(window, a, b, model.frequencies, model.phase_per_A, moments[place, LENS])
        multiply(window, a, model.lens[0], model.lens[1], np.float32(-1), far_field)
        turn(window, far_field, patterns.lenses[n], np.float32(-1))
    else:
        scale(window, far_field, work.intensity)
    if model.band.shape[0] > 0:
        scale_by_plane(window, far_field, model.band, np.float32(1))
    inverse(window, far_field[0], far_field[1], b[0], b[1])
    if patterns.turns.shape[0] > 0:
        turn(window, b, patterns.turns[n], np.float32(-1))


@numba.jit(**FAST)
def _forward_pattern(window: Any, model: Model, patterns: Patterns, n: int, start: int, work: Work) -> None:
    """Waves entering every slice, far fields of every pair of modes, and their summed intensity (times P^2)."""
    slices = work.waves.shape[1]
    object_modes = model.slices.shape[1] // slices
    a, b = work.a, work.b
    ramp, amplitude = work.ramp, patterns.amplitudes[n]
    fill_ramp(window, patterns.shifts[n], ramp)
    varied, banded = work.own.shape[0] > 0, work.windows.shape[0] > 0
    if varied:
        own_probes(window, model, patterns, n, work)
    if banded:
        _see_windows(window, model, start, work)
    for pair in range(work.waves.shape[0]):
        m, first = pair // object_modes, (pair % object_modes) * slices
        entering = work.waves[pair, 0]
        if varied:
            shifted_probe(window, work.own[m, 0], work.own[m, 1], ramp, amplitude, a)
        else:
            plane = patterns.first_probe[n] + m
            shifted_probe(window, model.probe[0, plane], model.probe[1, plane], ramp, amplitude, a)
        inverse(window, a[0], a[1], entering[0], entering[1])
        if patterns.entries.shape[0] > 0:
            turn(window, entering, patterns.entries[n], np.float32(1))
        for z in range(slices):
            if banded:
                seen = work.windows[first + z]
                transmit(window, work.waves[pair, z], seen[0], seen[1], 0, window.size, a)
            else:
                re, im = model.slices[0, first + z], model.slices[1, first + z]
                transmit(window, work.waves[pair, z], re, im, start, model.width, a)
            if z < slices - 1:
                forward(window, a[0], a[1], b[0], b[1])
                multiply(window, b, model.propagators[0, z], model.propagators[1, z], np.float32(1), a)
                if patterns.spaces.shape[0] > 0:
                    turn(window, a, patterns.spaces[n, z], np.float32(1))
                entering = work.waves[pair, z + 1]
                inverse(window, a[0], a[1], entering[0], entering[1])
        _to_detector(window, model, patterns, n, work.far_field[pair], work)
        if pair == 0:
            first_intensity(window, work.far_field[pair], model.background, work.intensity)
        else:
            add_intensity(window, work.far_field[pair], work.intensity)


@numba.jit(**PART)
def _back_to_aperture(
    window: Any,
    model: Model,
    patterns: Patterns,
    pattern: tuple[int, int, int],
    pair: int,
    work: Work,
    gradient: Gradient,
) -> None:
    """From the far field of a pair of modes and ``work.intensity`` to the slices; the rest goes to ``work.b``.

    pattern: its number, its place among those of the call, and the first pixel of its window.
    """
    n, place, start = pattern
    slices = work.waves.shape[1]
    first = (pair % (model.slices.shape[1] // slices)) * slices
    a, b, far_field, moments = work.a, work.b, work.far_field[pair], gradient.moments
    banded, asked = work.windows.shape[0] > 0, moments.shape[0] > 0
    to_probe = asked or gradient.patterns.shape[0] > 0 or gradient.probe.shape[1] > 0 or gradient.aperture.shape[0] > 0
    _from_detector(window, model, patterns, (n, place), far_field, work, moments)
    for z in range(slices - 1, -1, -1):
        s = first + z
        entering = work.waves[pair, z]
        if banded:
            scatter(window, entering, b, work.pulled[s, 0], work.pulled[s, 1], 0, window.size)
        else:
            scatter(window, entering, b, gradient.slices[0, s], gradient.slices[1, s], start, model.width)
        if z == 0 and not to_probe:
            break
        if banded:
            transmit_back(window, b, work.windows[s, 0], work.windows[s, 1], 0, window.size, a)
        else:
            transmit_back(window, b, model.slices[0, s], model.slices[1, s], start, model.width, a)
        if asked and z == slices - 1:
            add_moments(window, a, entering, model.places, model.phase_per_A, moments[place, EXIT])
        if asked and z == 0:
            add_moments(window, a, entering, model.places, model.phase_per_A, moments[place, ENTRY])
        if z == 0 and patterns.entries.shape[0] > 0:
            turn(window, a, patterns.entries[n], np.float32(-1))
        forward(window, a[0], a[1], b[0], b[1])
        if z > 0:
            if asked or gradient.distances.shape[0] > 0:
                # the far field is spent: its planes take the spectrum of the wave that enters slice z
                forward(window, entering[0], entering[1], far_field[0], far_field[1])
            if asked:
                at = moments[place, SPACES + z - 1]
                add_moments(window, b, far_field, model.frequencies, model.phase_per_A, at)
            if gradient.distances.shape[0] > 0:
                gradient.distances[z - 1] += _distance_derivative(window, b, far_field, model.phase_per_A)
            multiply(window, b, model.propagators[0, z - 1], model.propagators[1, z - 1], np.float32(-1), a)
            if patterns.spaces.shape[0] > 0:
                turn(window, a, patterns.spaces[n, z - 1], np.float32(-1))
            inverse(window, a[0], a[1], b[0], b[1])


@numba.jit(**FAST)
def _distance_derivative(window: Any, gradient: Any, wave: Any, phase_per_A: Any) -> Any:
    """-sum phase_per_A Im(conj(gradient) wave) / P^2, on spectra without normalisation."""
    total = np.float32(0)
    for k in range(window.size * window.size):
        total += phase_per_A[k] * (gradient[0, k] * wave[1, k] - gradient[1, k] * wave[0, k])
    return -total * np.float32(1 / (window.size * window.size))


@numba.jit(**FAST)
def _backward_pattern(
    window: Any, model: Model, patterns: Patterns, pattern: tuple[int, int, int], work: Work, gradient: Gradient
) -> None:
    """Add what a pattern does to every gradient; ``work.intensity`` is the factor of its far fields."""
    n, place, start = pattern
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    ramp, amplitude, varied = work.ramp, patterns.amplitudes[n], work.own.shape[0] > 0
    per_pattern = gradient.patterns.shape[0] > 0
    for pair in range(work.waves.shape[0]):
        m = pair // object_modes
        _back_to_aperture(window, model, patterns, pattern, pair, work, gradient)
        plane = patterns.first_probe[n] + m
        if not varied and gradient.probe.shape[1] > 0:
            add_unshifted(window, work.b, ramp, amplitude, gradient.probe[0, plane], gradient.probe[1, plane])
        if per_pattern:
            probe = work.own[m] if varied else model.probe[:, plane]
            at = gradient.patterns[place]
            add_pattern_derivatives(window, probe, work.b, ramp, amplitude, model.frequencies, at)
        if varied:
            leave_aperture(window, model, patterns, (n, place), m, work, gradient)
    if work.windows.shape[0] > 0:
        _leave_windows(window, model, start, work, gradient)


@numba.jit(**CACHED)
def add_loss_and_gradient(
    window: Any, term: tuple[int, float, int], patterns: Patterns, model: Model, gradient: Gradient, work: Work
) -> float:
    """Loss of ``patterns.indices``; their gradients are added to ``gradient``.

    ``term`` is a data term as :func:`compiled_terms.compare` takes it.
    """
    total = 0.0
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    scale_of_counts = np.float32(1 / (window.size * window.size * object_modes))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        _forward_pattern(window, model, patterns, n, start, work)
        _load_counts(window, patterns.recorded[n], patterns.counts_type, work.counts)
        total += compare(window, term, work.intensity, work.counts, patterns.weights, scale_of_counts)
        for i in range(gradient.background.shape[0]):
            gradient.background[i] += work.intensity[i]
        _backward_pattern(window, model, patterns, (n, k, start), work, gradient)
    return total


@numba.jit(**CACHED)
def add_loss_of_coefficients(
    window: Any, projection: Projection, patterns: Patterns, model: Model, gradient: Gradient, work: Work
) -> float:
    """As :func:`add_loss_and_gradient`, for what masks saw of ``patterns.indices``, in the order of the call."""
    total, sums = 0.0, np.empty((3, projection.many.shape[0]), np.float32)
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    scale_of_counts = np.float32(1 / (window.size * window.size * object_modes))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        _forward_pattern(window, model, patterns, n, start, work)
        total += compare_coefficients(window, projection, k, work, sums, scale_of_counts)
        for i in range(gradient.background.shape[0]):
            gradient.background[i] += work.intensity[i]
        _backward_pattern(window, model, patterns, (n, k, start), work, gradient)
    return total


@numba.jit(**FAST)
def _own_work(work: Work, k: int) -> Work:
    """Buffers of a pattern where the waves of several are kept."""
    return Work(
        work.waves[k],
        work.far_field[k],
        work.a[0],
        work.b[0],
        work.intensity[k],
        work.counts[0],
        work.ramp[0],
        work.windows[k],
        work.pulled[0],
        work.own[k],
        work.plate[k],
    )


@numba.jit(**CACHED)
def fill_waves(window: Any, patterns: Patterns, model: Model, work: Work) -> None:
    """Waves of ``patterns.indices`` and their intensities, in counts; ``work`` has an axis of patterns in front."""
    counts = np.float32(work.waves.shape[2] / (window.size * window.size * model.slices.shape[1]))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        own = _own_work(work, k)
        _forward_pattern(window, model, patterns, n, start, own)
        for i in range(window.size * window.size):
            own.intensity[i] *= counts


@numba.jit(**CACHED)
def add_gradient(window: Any, patterns: Patterns, model: Model, gradient: Gradient, work: Work) -> None:
    """Behind :func:`fill_waves`: gradients of patterns whose ``work.intensity`` is now the factor of far fields."""
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        own = _own_work(work, k)
        fill_ramp(window, patterns.shifts[n], own.ramp)
        _backward_pattern(window, model, patterns, (n, k, start), own, gradient)


@numba.jit(**CACHED)
def fill_intensities(window: Any, patterns: Patterns, model: Model, work: Work, out: Any) -> None:
    """Out (n, P * P), transposed: the modelled counts of ``patterns.indices``, one after the other."""
    scale_of_counts = np.float32(work.waves.shape[1] / (window.size * window.size * model.slices.shape[1]))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        _forward_pattern(window, model, patterns, n, start, work)
        for i in range(window.size * window.size):
            out[k, i] = scale_of_counts * work.intensity[i]


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
