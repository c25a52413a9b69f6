"""The aperture plane of one pattern: its probe, the factors on it, its shift to the position, and the way back.

Equations and names: :mod:`ptylive.engine.backend.multislice.forward.illumination`. Planes are transposed.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from ptylive.engine.backend.elementary import sine_and_cosine
from ptylive.engine.backend.multislice.kernel_parts.products import clear
from ptylive.engine.backend.multislice.kernel_parts.rows import add_unshifted
from ptylive.engine.backend.multislice.planes_fft import INNER


@numba.jit(**INNER)
def fill_ramp(window: Any, shifts: Any, out: Any) -> None:
    """Out (2, 2, P) = exp(-2 pi i f shift) along both axes: powers of one factor each, in double precision."""
    size = window.size
    rows, columns = -2 * np.pi / size * shifts[0], -2 * np.pi / size * shifts[1]
    ar, ai, br, bi = np.cos(rows), np.sin(rows), np.cos(columns), np.sin(columns)
    r, i, s, j = 1.0, 0.0, 1.0, 0.0
    for k in range(size // 2):  # both axes at a time: neither waits for the other
        last = size - 1 - k  # the frequency -(k + 1)
        out[0, 0, k], out[0, 1, k], out[1, 0, k], out[1, 1, k] = r, i, s, j
        r, i = r * ar - i * ai, r * ai + i * ar
        s, j = s * br - j * bi, s * bi + j * br
        out[0, 0, last], out[0, 1, last], out[1, 0, last], out[1, 1, last] = r, -i, s, -j


@numba.jit(**INNER)
def add_pattern_derivatives(
    window: Any, probe: Any, wave: Any, ramp: Any, amplitude: Any, frequencies: Any, out: Any
) -> None:
    """Derivatives by shift and beam current from conj(wave) * amplitude * probe * ramp / P (transposed planes)."""
    size, pitch = window.size, window.pitch
    zero = wave.dtype.type(0)
    rows = columns = straight = zero
    for i in range(size):
        along_row = turned = zero
        begin = np.uintp(i * pitch)
        for j in range(size):
            k = begin + np.uintp(j)
            wr = ramp[1, 0, i] * ramp[0, 0, j] - ramp[1, 1, i] * ramp[0, 1, j]
            wi = ramp[1, 0, i] * ramp[0, 1, j] + ramp[1, 1, i] * ramp[0, 0, j]
            pr = probe[0, k] * wr - probe[1, k] * wi
            pi = probe[0, k] * wi + probe[1, k] * wr
            turn = wave[0, k] * pi - wave[1, k] * pr
            straight += wave[0, k] * pr + wave[1, k] * pi
            along_row += turn * frequencies[j]
            turned += turn
        rows += along_row
        columns += turned * frequencies[i]
    scale = amplitude / size
    out[0] += 2 * np.pi * scale * rows
    out[1] += 2 * np.pi * scale * columns
    out[2] += 0.5 * scale * straight / (amplitude * amplitude)


HALF_PI_HIGH, HALF_PI_LOW = float(np.float32(1.5707963)), float(np.pi / 2 - float(np.float32(1.5707963)))
PER_HALF_PI = 2 / np.pi


@numba.jit(**INNER)
def _turned(window: Any, out: Any) -> None:
    """Out = exp(-i phase) for the phases in out[0]: np.cos and np.sin would not vectorise here."""
    real = out.dtype.type
    zero, half, high, low = real(0), real(0.5), real(HALF_PI_HIGH), real(HALF_PI_LOW)
    for k in range(window.size * window.pitch):
        phase = out[0, k]
        quarter = np.int32(phase * real(PER_HALF_PI) + (half if phase >= zero else -half))
        quarter_turns = real(quarter)
        sine, cosine = sine_and_cosine((phase - quarter_turns * high) - quarter_turns * low)
        odd = (quarter & np.int32(1)) != np.int32(0)
        c, s = (sine if odd else cosine), (cosine if odd else sine)
        out[0, k] = -c if ((quarter + np.int32(1)) & np.int32(2)) != np.int32(0) else c
        out[1, k] = s if (quarter & np.int32(2)) != np.int32(0) else -s


@numba.jit(**INNER)
def own_probes(window: Any, model: Any, patterns: Any, n: int, work: Any) -> None:
    """Fill ``work.own``: the pattern's probe in every mode, with its variation and all factors in the aperture."""
    pixels = window.size * window.pitch
    plate, turns, real = work.plate, model.rates.shape[0], work.plate.dtype.type
    for j in range(turns):
        value = patterns.aberrations[n, j]
        for k in range(pixels):
            plate[0, k] = value * model.rates[j, k] + (real(0) if j == 0 else plate[0, k])
    if turns > 0:
        _turned(window, plate)
    if patterns.plates.shape[0] > 0:
        for k in range(pixels):
            c, d = patterns.plates[n, 0, k], patterns.plates[n, 1, k]
            a, b = (plate[0, k], plate[1, k]) if turns > 0 else (real(1), real(0))
            plate[0, k] = a * c - b * d
            plate[1, k] = a * d + b * c
    covered = turns > 0 or patterns.plates.shape[0] > 0
    for m in range(work.own.shape[0]):
        probe, plane = work.own[m], patterns.first_probe[n] + m
        for k in range(pixels):
            probe[0, k], probe[1, k] = model.probe[0, plane, k], model.probe[1, plane, k]
        for j in range(patterns.varied.shape[1] if m < model.varying_modes else 0):
            value, component = patterns.varied[n, j], j * model.varying_modes + m
            for k in range(pixels):
                probe[0, k] += value * model.components[0, component, k]
                probe[1, k] += value * model.components[1, component, k]
        if covered:
            for k in range(pixels):
                a, b = probe[0, k], probe[1, k]
                probe[0, k] = a * plate[0, k] - b * plate[1, k]
                probe[1, k] = a * plate[1, k] + b * plate[0, k]


@numba.jit(**INNER)
def leave_aperture(window: Any, model: Any, patterns: Any, pattern: Any, m: int, work: Any, gradient: Any) -> None:
    """From ``work.b``, the gradient in the aperture plane, to probe, aberrations and variation of mode m.

    pattern: its number, and its index within the call. The adjoint of :func:`own_probes`.
    """
    n, place = pattern
    a, probe, plate, pixels = work.a, work.own[m], work.plate, window.size * window.pitch
    clear(window, a)
    add_unshifted(window, work.b, work.ramp, patterns.amplitudes[n], a[0], a[1])
    needed, turns, real = gradient.aperture.shape[0] > 0, model.rates.shape[0], work.a.dtype.type
    for j in range(turns if needed else 0):
        total = real(0)
        for k in range(pixels):
            total += (a[0, k] * probe[1, k] - a[1, k] * probe[0, k]) * model.rates[j, k]
        gradient.aperture[place, j] += total
    if turns > 0 or patterns.plates.shape[0] > 0:
        for k in range(pixels):
            c, d = a[0, k], a[1, k]
            a[0, k] = c * plate[0, k] + d * plate[1, k]
            a[1, k] = d * plate[0, k] - c * plate[1, k]
    if gradient.probe.shape[1] > 0:
        plane = patterns.first_probe[n] + m
        for k in range(pixels):
            gradient.probe[0, plane, k] += a[0, k]
            gradient.probe[1, plane, k] += a[1, k]
    for j in range(patterns.varied.shape[1] if m < model.varying_modes and needed else 0):
        total, component = real(0), j * model.varying_modes + m
        value = patterns.varied[n, j]
        for k in range(pixels):
            total += a[0, k] * model.components[0, component, k] + a[1, k] * model.components[1, component, k]
            gradient.components[0, component, k] += value * a[0, k]
            gradient.components[1, component, k] += value * a[1, k]
        gradient.aperture[place, turns + j] += total
