"""Loss and gradient of one pattern after another, each staying in the CPU's cache from probe to gradient.

Planes are flat (:mod:`.kernel_parts.planes`); everything in Fourier space is transposed, as :mod:`planes_fft` leaves
it. Physics and names are those of :mod:`ptylive.engine.backend.multislice.problem`. The window's size, the number of
slices and modes, the data term and the requested gradients are run-time values, so one compiled version serves all
problems of one precision: the type of the planes sets it, and constants take their type from the planes.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ptylive.engine.backend.multislice.compiled_terms import compare
from ptylive.engine.backend.multislice.kernel_parts.aperture import fill_ramp
from ptylive.engine.backend.multislice.kernel_parts.arguments import (
    FLOAT32,
    UINT8,
    UINT16,
    Gradient,
    Model,
    Patterns,
    Work,
)
from ptylive.engine.backend.multislice.kernel_parts.coefficients import Projection, compare_coefficients
from ptylive.engine.backend.multislice.kernel_parts.prefetch import prefetch
from ptylive.engine.backend.multislice.kernel_parts.propagation import (
    backward_inlined,
    backward_pattern,
    fill_lens,
    forward_inlined,
    forward_pattern,
)
from ptylive.engine.backend.multislice.kernel_parts.rows import convert
from ptylive.engine.backend.multislice.planes_fft import FAST, INNER
from ptylive.engine.backend.multislice.window import inverse

CACHED = {**FAST, "cache": True}


@numba.jit(**INNER)
def _load_counts(window: Any, recorded: Any, counts_type: int, out: Any) -> None:
    """Out = the recorded bytes of a pattern, converted to numbers of its type."""
    if counts_type == UINT8:
        convert(window, recorded, out)
    elif counts_type == UINT16:
        convert(window, recorded.view(np.uint16), out)
    elif counts_type == FLOAT32:
        convert(window, recorded.view(np.float32), out)
    else:
        convert(window, recorded.view(np.float64), out)


@numba.jit(**CACHED)
def add_loss_and_gradient(
    window: Any, term: tuple[int, float, int], patterns: Patterns, model: Model, gradient: Gradient, work: Work
) -> float:
    """Return the loss of ``patterns.indices`` and add their gradients to ``gradient``.

    ``term`` is a data term in the form of :func:`compiled_terms.compare`.
    """
    total = 0.0
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    scale_of_counts = work.intensity.dtype.type(1 / (window.size * window.size * object_modes))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        prefetch(patterns.recorded[n])
        forward_inlined(window, model, patterns, n, start, work)
        _load_counts(window, patterns.recorded[n], patterns.counts_type, work.counts)
        total += compare(window, term, work.intensity, work.counts, patterns.weights, scale_of_counts)
        for i in range(gradient.background.shape[0]):
            gradient.background[i] += work.intensity[i]
        backward_inlined(window, model, patterns, (n, k, start), work, gradient)
    return total


@numba.jit(**{**CACHED, "_nrt": True})
def add_loss_of_coefficients(
    window: Any, projection: Projection, patterns: Patterns, model: Model, gradient: Gradient, work: Work
) -> float:
    """As :func:`add_loss_and_gradient`, for mask coefficients of ``patterns.indices``, in the order of the call."""
    total, sums = 0.0, np.empty((3, projection.many.shape[0]), work.intensity.dtype)
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    scale_of_counts = work.intensity.dtype.type(1 / (window.size * window.size * object_modes))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        forward_pattern(window, model, patterns, n, start, work)
        total += compare_coefficients(window, projection, k, work, sums, scale_of_counts)
        for i in range(gradient.background.shape[0]):
            gradient.background[i] += work.intensity[i]
        backward_pattern(window, model, patterns, (n, k, start), work, gradient)
    return total


@numba.jit(**INNER)
def _own_work(work: Work, k: int) -> Work:
    """Buffers of one pattern where the waves of several patterns are kept."""
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
        work.lens[0],
    )


@numba.jit(**CACHED)
def fill_waves(window: Any, patterns: Patterns, model: Model, work: Work) -> None:
    """Compute waves and intensities in counts of ``patterns.indices``; ``work`` has a leading axis of patterns."""
    counts = work.intensity.dtype.type(work.waves.shape[2] / (window.size * window.size * model.slices.shape[1]))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        pattern_work = _own_work(work, k)
        forward_pattern(window, model, patterns, n, start, pattern_work)
        for i in range(window.size * window.pitch):
            pattern_work.intensity[i] *= counts


@numba.jit(**CACHED)
def add_gradient(window: Any, patterns: Patterns, model: Model, gradient: Gradient, work: Work) -> None:
    """After :func:`fill_waves`: add the gradients; ``work.intensity`` must now be the factor of the far fields."""
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        pattern_work = _own_work(work, k)
        fill_ramp(window, patterns.shifts[n], pattern_work.ramp)
        fill_lens(window, model, patterns, n, pattern_work)
        backward_pattern(window, model, patterns, (n, k, start), pattern_work, gradient)


@numba.jit(**CACHED)
def fill_intensities(window: Any, patterns: Patterns, model: Model, work: Work, out: Any) -> None:
    """Out (n, plane), transposed: the modelled counts of ``patterns.indices``, in their order."""
    scale_of_counts = work.intensity.dtype.type(
        work.waves.shape[1] / (window.size * window.size * model.slices.shape[1])
    )
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        forward_pattern(window, model, patterns, n, start, work)
        for i in range(window.size * window.pitch):
            out[k, i] = scale_of_counts * work.intensity[i]


@numba.jit(**CACHED)
def fill_losses(
    window: Any, term: tuple[int, float, int], patterns: Patterns, model: Model, work: Work, out: Any
) -> None:
    """Out (n,): the losses of ``patterns.indices``, in their order, as in :func:`add_loss_and_gradient`."""
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    scale_of_counts = work.intensity.dtype.type(1 / (window.size * window.size * object_modes))
    for k in range(patterns.indices.shape[0]):
        n = patterns.indices[k]
        start = patterns.corners[n, 0] * model.width + patterns.corners[n, 1]
        prefetch(patterns.recorded[n])
        forward_pattern(window, model, patterns, n, start, work)
        _load_counts(window, patterns.recorded[n], patterns.counts_type, work.counts)
        out[k] = compare(window, term, work.intensity, work.counts, patterns.weights, scale_of_counts)


@numba.jit(**CACHED)
def add_illumination(window: Any, probe: Any, indices: Any, corners: Any, planes: Any, total: Any) -> None:
    """Add the illumination by the probe (2, modes, plane), transposed, to the windows of all ``indices``.

    total: (Y, X); planes (2, 2, plane) are overwritten.
    """
    size, pitch, width = window.size, window.pitch, total.shape[1]
    wave, intensity, flat, real = planes[0], planes[1, 0], total.reshape(-1), planes.dtype.type
    intensity[:] = real(0)
    scale = real(1 / (size * size))
    for m in range(probe.shape[1]):
        inverse(window, probe[0, m], probe[1, m], wave[0], wave[1])
        for k in range(size * pitch):
            intensity[k] += scale * (wave[0, k] * wave[0, k] + wave[1, k] * wave[1, k])
    for k in range(indices.shape[0]):
        n = indices[k]
        for i in range(size):
            target, source = np.uintp((corners[n, 0] + i) * width + corners[n, 1]), np.uintp(i * pitch)
            for j in range(size):
                flat[target + np.uintp(j)] += intensity[source + np.uintp(j)]
