"""One pattern's path through the microscope and back: from the probe to the detector, and from there to every gradient.

Planes are flat (:mod:`.planes`), in either precision; everything in Fourier space is transposed, as :mod:`planes_fft`
leaves it.
"""

from __future__ import annotations

from typing import Any

import numba

from ptylive.engine.backend.multislice.kernel_parts.aperture import (
    add_pattern_derivatives,
    fill_ramp,
    leave_aperture,
    own_probes,
)
from ptylive.engine.backend.multislice.kernel_parts.arguments import (
    ENTRY,
    EXIT,
    LENS,
    SPACES,
    Gradient,
    Model,
    Patterns,
    Work,
)
from ptylive.engine.backend.multislice.kernel_parts.products import (
    add_intensity,
    add_intensity_in_band,
    add_moments,
    add_window,
    clear,
    fill_turned,
    first_intensity,
    first_intensity_in_band,
    multiply,
    scale,
    scale_by_square,
    transmit,
    transmit_back,
    turn,
)
from ptylive.engine.backend.multislice.kernel_parts.rows import add_unshifted, scatter, shifted_probe
from ptylive.engine.backend.multislice.planes_fft import INNER
from ptylive.engine.backend.multislice.window import (
    add_filtered,
    filter_window,
    forward,
    forward_product,
    forward_scaled,
    inverse,
    inverse_product,
    inverse_scaled,
    propagate,
)


@numba.jit(**INNER)
def _see_windows(window: Any, model: Model, start: int, work: Work) -> None:
    """Fill ``work.windows``: the pattern's window of every slice, limited to the band; ``work.b`` is overwritten."""
    for s in range(work.windows.shape[0]):
        re, im, rows = model.slices[0, s], model.slices[1, s], (start, model.width)
        filter_window(window, re, im, rows, model.filter, model.kept, work.b, work.windows[s])


@numba.jit(**INNER)
def _leave_windows(window: Any, model: Model, start: int, work: Work, gradient: Gradient) -> None:
    """Adjoint of :func:`_see_windows`: add ``work.pulled``, limited to the band, to the slices, then set it to 0."""
    for s in range(work.pulled.shape[0]):
        pulled = work.pulled[s]
        rows = (0, window.pitch)
        filter_window(window, pulled[0], pulled[1], rows, model.filter, model.kept, work.b, work.a)
        add_window(window, work.a, gradient.slices[0, s], gradient.slices[1, s], start, model.width)
        clear(window, pulled)


@numba.jit(**INNER)
def _pull_window(
    window: Any, model: Model, start: int, s: int, entering: Any, wave: Any, spare: Any, work: Work, gradient: Gradient
) -> None:
    """Gradient by plane s of the object from a wave behind it, where a band is kept; ``spare`` is overwritten.

    With one probe mode it is added to the slice directly, with products in the transform; otherwise it is summed first.
    """
    pulled = work.pulled[s]
    if work.waves.shape[0] * work.waves.shape[1] > work.windows.shape[0]:
        scatter(window, entering, wave, pulled[0], pulled[1], 0, window.pitch)
    else:
        re, im, rows = gradient.slices[0, s], gradient.slices[1, s], (start, model.width)
        add_filtered(window, wave, entering, model.filter, model.kept, spare, pulled, re, im, rows)


@numba.jit(**INNER)
def _through_slice(
    window: Any, model: Model, patterns: Patterns, pattern: tuple[int, int], place: tuple[int, int, int], work: Work
) -> None:
    """From the wave entering a slice to the spectrum behind it, in ``work.b``, or in the far field after the last one.

    With a lens behind the specimen the spectrum is always written to ``work.b``.

    pattern: its number, and the first pixel of its window; place: pair of modes, slice, and its plane of the object.
    """
    (n, start), (pair, z, s) = pattern, place
    last, entering = z == work.waves.shape[1] - 1, work.waves[pair, z]
    out = work.far_field[pair] if last and patterns.lenses.shape[0] == 0 else work.b
    turned, banded = last and patterns.turns.shape[0] > 0, work.windows.shape[0] > 0
    if banded:
        re, im, rows = work.windows[s, 0], work.windows[s, 1], (0, window.pitch)
    else:
        re, im, rows = model.slices[0, s], model.slices[1, s], (start, model.width)
    if turned:
        transmit(window, entering, re, im, rows[0], rows[1], work.a)
        turn(window, work.a, patterns.turns[n], 1)
        forward(window, work.a[0], work.a[1], out[0], out[1])
    else:
        forward_product(window, entering, re, im, rows, 1, out)


@numba.jit(**INNER)
def _to_next_slice(window: Any, model: Model, patterns: Patterns, n: int, pair: int, z: int, work: Work) -> None:
    """From the spectrum behind slice z, in ``work.b``, to the wave entering the next slice."""
    entering, re, im = work.waves[pair, z + 1], model.propagators[0, z], model.propagators[1, z]
    if patterns.spaces.shape[0] > 0:
        multiply(window, work.b, re, im, 1, work.a)
        turn(window, work.a, patterns.spaces[n, z], 1)
        inverse(window, work.a[0], work.a[1], entering[0], entering[1])
    else:
        inverse_product(window, work.b, re, im, 1, entering)


@numba.jit(**INNER)
def _on_to_next_slice(window: Any, model: Model, pair: int, z: int, s: int, work: Work) -> None:
    """Both steps in one, if a band is kept and patterns have no free space of their own; s: plane of the object."""
    entering, transmission, a = work.waves[pair], work.windows[s], model.turned
    rows = (0, window.pitch)
    propagate(
        window,
        entering[z],
        transmission[0],
        transmission[1],
        rows,
        a[0, z],
        a[1, z],
        model.kept,
        1,
        work.b,
        entering[z + 1],
    )


@numba.jit(**INNER)
def _to_detector(window: Any, model: Model, patterns: Patterns, pair: int, work: Work) -> None:
    """From the spectrum behind the specimen to the intensity at the detector, summed over the pairs of modes so far."""
    far_field, lenses = work.far_field[pair], patterns.lenses.shape[0] > 0
    if lenses:
        inverse_product(window, work.b, work.lens[0], work.lens[1], 1, far_field)
    if model.band.shape[0] > 0 and not lenses:
        if pair == 0:
            first_intensity_in_band(window, far_field, model.band, model.background, work.intensity)
        else:
            add_intensity_in_band(window, far_field, model.band, work.intensity)
    elif pair == 0:
        first_intensity(window, far_field, model.background, work.intensity)
    else:
        add_intensity(window, far_field, work.intensity)


@numba.jit(**INNER)
def _from_detector(
    window: Any,
    model: Model,
    patterns: Patterns,
    pattern: tuple[int, int],
    far_field: Any,
    work: Work,
    moments: Any,
    spare: Any,
    out: Any,
) -> None:
    """Adjoint of :func:`_to_detector`: gradient behind the specimen, in ``out``; ``work.intensity`` is the factor."""
    n, place = pattern
    if patterns.lenses.shape[0] > 0:
        if moments.shape[0] > 0:
            forward(window, far_field[0], far_field[1], out[0], out[1])
        forward_scaled(window, far_field, work.intensity, spare)
        if moments.shape[0] > 0:
            add_moments(window, spare, out, model.frequencies, model.phase_per_A, moments[place, LENS])
        inverse_product(window, spare, work.lens[0], work.lens[1], -1, out)
    else:
        inverse_scaled(window, far_field, work.intensity, out)
    if patterns.turns.shape[0] > 0:
        turn(window, out, patterns.turns[n], -1)


@numba.jit(**INNER)
def fill_lens(window: Any, model: Model, patterns: Patterns, n: int, work: Work) -> None:
    """Fill ``work.lens`` for a pattern that is an image; do nothing for others."""
    if patterns.lenses.shape[0] > 0:
        fill_turned(window, model.lens, patterns.lenses[n], work.lens)
        if model.band.shape[0] > 0:
            scale(window, work.lens, model.band)


@numba.jit(**INNER, inline="always")
def forward_inlined(window: Any, model: Model, patterns: Patterns, n: int, start: int, work: Work) -> None:
    """Compute the waves entering every slice, the far fields of all pairs of modes, and their intensity (times P^2).

    Part of its caller, as is :func:`backward_inlined`: copying the half a thousand words of their arguments would take
    0.8 µs a pattern. What these two call is called: numba copies all variables of an inlined function for each of its
    blocks, which took a fifth of the kernel's compile time, and the kernel was no faster.
    """
    slices = work.waves.shape[1]
    object_modes = model.slices.shape[1] // slices
    a, ramp, amplitude = work.a, work.ramp, patterns.amplitudes[n]
    fill_ramp(window, patterns.shifts[n], ramp)
    fill_lens(window, model, patterns, n, work)
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
            turn(window, entering, patterns.entries[n], 1)
        for z in range(slices):
            combined = banded and z < slices - 1 and patterns.spaces.shape[0] == 0
            if combined:
                _on_to_next_slice(window, model, pair, z, first + z, work)
                continue
            _through_slice(window, model, patterns, (n, start), (pair, z, first + z), work)
            if z < slices - 1:
                _to_next_slice(window, model, patterns, n, pair, z, work)
        _to_detector(window, model, patterns, pair, work)


@numba.jit(**INNER)
def _back_to_aperture(
    window: Any,
    model: Model,
    patterns: Patterns,
    pattern: tuple[int, int, int],
    pair: int,
    work: Work,
    gradient: Gradient,
) -> None:
    """From the far field of a pair of modes and ``work.intensity`` to the slices; the aperture part goes to ``work.b``.

    pattern: its number, its index within the call, and the first pixel of its window.
    """
    n, place, start = pattern
    slices = work.waves.shape[1]
    first = (pair % (model.slices.shape[1] // slices)) * slices
    a, b, far_field, moments = work.a, work.b, work.far_field[pair], gradient.moments
    banded, needs_moments = work.windows.shape[0] > 0, moments.shape[0] > 0
    to_probe = (
        needs_moments or gradient.patterns.shape[0] > 0 or gradient.probe.shape[1] > 0 or gradient.aperture.shape[0] > 0
    )
    entered, spaced, distanced = patterns.entries.shape[0], patterns.spaces.shape[0], gradient.distances.shape[0]
    # products go into the transforms after them unless a factor or a sum comes in between. Every transform then
    # changes planes, an odd number of times in all; otherwise products change planes, and transforms come back
    plain = not (needs_moments or entered > 0 or spaced > 0 or distanced > 0)
    current, spare = (a, b) if plain else (b, a)
    _from_detector(window, model, patterns, (n, place), far_field, work, moments, spare, current)
    for z in range(slices - 1, -1, -1):
        s = first + z
        entering = work.waves[pair, z]
        if banded:
            _pull_window(window, model, start, s, entering, current, spare, work, gradient)
            re, im, rows = work.windows[s, 0], work.windows[s, 1], (0, window.pitch)
        else:
            scatter(window, entering, current, gradient.slices[0, s], gradient.slices[1, s], start, model.width)
            re, im, rows = model.slices[0, s], model.slices[1, s], (start, model.width)
        if z == 0 and not to_probe:
            break
        if plain and banded and z > 0:
            a_re, a_im = model.turned[0, z - 1], model.turned[1, z - 1]
            propagate(window, current, re, im, rows, a_re, a_im, model.kept, -1, current, spare)
            current, spare = spare, current
            continue
        if plain:
            forward_product(window, current, re, im, rows, -1, spare)
            current, spare = spare, current
            if z > 0:
                inverse_product(window, current, model.propagators[0, z - 1], model.propagators[1, z - 1], -1, spare)
                current, spare = spare, current
            continue
        transmit_back(window, current, re, im, rows[0], rows[1], spare)
        if needs_moments and z == slices - 1:
            add_moments(window, spare, entering, model.places, model.phase_per_A, moments[place, EXIT])
        if needs_moments and z == 0:
            add_moments(window, spare, entering, model.places, model.phase_per_A, moments[place, ENTRY])
        if z == 0 and entered > 0:
            turn(window, spare, patterns.entries[n], -1)
        forward(window, spare[0], spare[1], current[0], current[1])
        if z > 0:
            if needs_moments or distanced > 0:
                # the far field is no longer needed: its planes take the spectrum of the wave entering slice z
                forward(window, entering[0], entering[1], far_field[0], far_field[1])
            if needs_moments:
                at = moments[place, SPACES + z - 1]
                add_moments(window, current, far_field, model.frequencies, model.phase_per_A, at)
            if distanced > 0:
                gradient.distances[z - 1] += _distance_derivative(window, current, far_field, model.phase_per_A)
            multiply(window, current, model.propagators[0, z - 1], model.propagators[1, z - 1], -1, spare)
            if spaced > 0:
                turn(window, spare, patterns.spaces[n, z - 1], -1)
            inverse(window, spare[0], spare[1], current[0], current[1])


@numba.jit(**INNER)
def _distance_derivative(window: Any, gradient: Any, wave: Any, phase_per_A: Any) -> Any:
    """-sum phase_per_A Im(conj(gradient) wave) / P^2, on spectra without normalisation."""
    real = wave.dtype.type
    total = real(0)
    for k in range(window.size * window.pitch):
        total += phase_per_A[k] * (gradient[0, k] * wave[1, k] - gradient[1, k] * wave[0, k])
    return -total * real(1 / (window.size * window.size))


@numba.jit(**INNER, inline="always")
def backward_inlined(
    window: Any, model: Model, patterns: Patterns, pattern: tuple[int, int, int], work: Work, gradient: Gradient
) -> None:
    """Add a pattern's contribution to every gradient; ``work.intensity`` is the factor of its far fields."""
    n, place, start = pattern
    object_modes = model.slices.shape[1] // work.waves.shape[1]
    ramp, amplitude, varied = work.ramp, patterns.amplitudes[n], work.own.shape[0] > 0
    per_pattern, banded = gradient.patterns.shape[0] > 0, work.windows.shape[0] > 0
    if banded and patterns.lenses.shape[0] == 0:
        scale_by_square(window, work.intensity, model.band)
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
    if banded and work.waves.shape[0] * work.waves.shape[1] > work.windows.shape[0]:
        _leave_windows(window, model, start, work, gradient)


@numba.jit(**INNER)
def forward_pattern(window: Any, model: Model, patterns: Patterns, n: int, start: int, work: Work) -> None:
    """As :func:`forward_inlined`, called."""
    forward_inlined(window, model, patterns, n, start, work)


@numba.jit(**INNER)
def backward_pattern(
    window: Any, model: Model, patterns: Patterns, pattern: tuple[int, int, int], work: Work, gradient: Gradient
) -> None:
    """As :func:`backward_inlined`, called."""
    backward_inlined(window, model, patterns, pattern, work, gradient)
