"""Data terms of one pattern, compiled into the kernel: the loss for given intensities and counts, and its derivative.

Names and formulas are those of :mod:`ptylive.engine.backend.multislice.problem`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ptylive.engine.backend.elementary import logarithm
from ptylive.engine.backend.multislice import data_terms
from ptylive.engine.backend.multislice.planes_fft import FAST
from ptylive.engine.backend.multislice.problem import FEW_COUNTS

AMPLITUDE, POISSON = data_terms.NUMBERS["AMPLITUDE"], data_terms.NUMBERS["POISSON"]
INTENSITY, CHI_SQUARED = data_terms.NUMBERS["INTENSITY"], data_terms.NUMBERS["CHI_SQUARED"]
OUTSIDE = -1
"""Number of a data term that is a C function at an address; the other terms have theirs in the table."""
TINY_COUNTS = data_terms.TINY_COUNTS


@numba.jit(**FAST)
def compare_amplitudes(window: Any, intensity: Any, counts: Any, weights: Any, offset: Any, scale: Any) -> Any:
    """Return the loss; ``intensity`` (counts over ``scale``) becomes the far field's factor in the gradient."""
    real = intensity.dtype.type
    shift, one, loss = offset + real(TINY_COUNTS), real(1), real(0)
    for k in range(window.size * window.pitch):
        # (a - b)^2 = a^2 (1 - b / a)^2: an inverse root is a fast estimate plus one Newton step, a root is slower
        model = intensity[k] * scale + shift
        missing = one - np.sqrt(counts[k] + offset) * (one / np.sqrt(model))
        weighted = weights[k] * missing
        loss += model * weighted * missing
        intensity[k] = real(2) * scale * weighted
    return loss


@numba.jit(**FAST)
def compare_poisson(window: Any, intensity: Any, counts: Any, weights: Any, floor: Any, scale: Any) -> Any:
    """As :func:`compare_amplitudes`, for the Poisson term."""
    real = intensity.dtype.type
    tiny, one, loss = real(TINY_COUNTS), real(1), real(0)
    shift = floor + tiny
    for k in range(window.size * window.pitch):
        model, measured = intensity[k] * scale + shift, counts[k]
        inverse = one / model  # a division costs as much as the whole logarithm, so do only one
        ratio = logarithm(max(measured, tiny) * inverse)
        loss += weights[k] * (model - measured + measured * ratio)
        intensity[k] = real(2) * scale * weights[k] * (one - measured * inverse)
    return loss


@numba.jit(**FAST)
def compare_intensities(window: Any, intensity: Any, counts: Any, weights: Any, scale: Any) -> Any:
    """As :func:`compare_amplitudes`, for plain least squares."""
    real = intensity.dtype.type
    loss = real(0)
    for k in range(window.size * window.pitch):
        difference = intensity[k] * scale - counts[k]
        loss += weights[k] * difference * difference
        intensity[k] = real(4) * scale * weights[k] * difference
    return loss


@numba.jit(**FAST)
def compare_chi_squared(window: Any, intensity: Any, counts: Any, weights: Any, scale: Any) -> Any:
    """As :func:`compare_amplitudes`, for least squares divided by the counting variance."""
    real = intensity.dtype.type
    loss = real(0)
    for k in range(window.size * window.pitch):
        model, measured = intensity[k] * scale, counts[k]
        few = measured <= real(FEW_COUNTS)
        relative = (model - measured) / (real(1) if few else measured)
        loss += weights[k] * (model if few else real(0.5) * relative * (model - measured))
        intensity[k] = real(2) * scale * weights[k] * (real(1) if few else relative)
    return loss


@intrinsic
def _call(
    _typing: Any, function: Any, size: Any, intensity: Any, counts: Any, weights: Any, offset: Any, scale: Any
) -> Any:
    """Call the C function at an address; :mod:`outside_terms` has its signature."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word, real = ir.IntType(64), arguments[-1].type
        kind = ir.FunctionType(real, [word] * 4 + [real] * 2).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], kind), list(arguments[1:]))

    return scale(types.uintp, types.int64, *[types.uintp] * 3, scale, scale), generate


@numba.jit(**FAST)
def compare(window: Any, term: tuple[int, float, int], intensity: Any, counts: Any, weights: Any, scale: Any) -> Any:
    """Return the loss of a pattern under a data term; ``intensity`` becomes its derivative.

    term: number, offset in counts, and the address of the C function if it is an OUTSIDE term.
    """
    real = intensity.dtype.type
    offset = real(term[1])
    if term[0] == OUTSIDE:
        planes = (np.uintp(intensity.ctypes.data), np.uintp(counts.ctypes.data), np.uintp(weights.ctypes.data))
        return _call(np.uintp(term[2]), np.int64(window.size * window.pitch), *planes, offset, real(scale))
    if term[0] == AMPLITUDE:
        return compare_amplitudes(window, intensity, counts, weights, offset, scale)
    if term[0] == POISSON:
        return compare_poisson(window, intensity, counts, weights, offset, scale)
    if term[0] == INTENSITY:
        return compare_intensities(window, intensity, counts, weights, scale)
    if term[0] == CHI_SQUARED:
        return compare_chi_squared(window, intensity, counts, weights, scale)
    return real(np.nan)  # unknown term: a loss that is not finite ends the run
