"""Data terms of one pattern: what intensities and counts differ by, and its derivative. Compiled into the kernel.

Names and formulas are those of :mod:`ptylive.engine.backend.multislice.problem`.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ptylive.engine.backend.multislice import data_terms
from ptylive.engine.backend.multislice.planes_fft import FAST
from ptylive.engine.backend.multislice.problem import FEW_COUNTS

AMPLITUDE, POISSON = data_terms.NUMBERS["AMPLITUDE"], data_terms.NUMBERS["POISSON"]
INTENSITY, CHI_SQUARED = data_terms.NUMBERS["INTENSITY"], data_terms.NUMBERS["CHI_SQUARED"]
OUTSIDE = -1
"""Number of a data term that is a C function at an address; the others have theirs in the table."""
TINY_COUNTS = np.float32(data_terms.TINY_COUNTS)


@numba.jit(**FAST)
def compare_amplitudes(window: Any, intensity: Any, counts: Any, weights: Any, offset: Any, scale: Any) -> Any:
    """Loss; ``intensity`` (counts are ``scale`` times it) becomes the factor of the far field in the gradient."""
    shift = offset + TINY_COUNTS
    one = np.float32(1)
    loss = np.float32(0)
    for k in range(window.size * window.pitch):
        # (a - b)^2 = a^2 (1 - b / a)^2: an inverse root is a quick estimate and one Newton step, a root is not
        model = intensity[k] * scale + shift
        missing = one - np.sqrt(counts[k] + offset) * (one / np.sqrt(model))
        weighted = weights[k] * missing
        loss += model * weighted * missing
        intensity[k] = np.float32(2) * scale * weighted
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
def compare_poisson(window: Any, intensity: Any, counts: Any, weights: Any, floor: Any, scale: Any) -> Any:
    """As :func:`compare_amplitudes`, for the Poisson term."""
    shift = floor + TINY_COUNTS
    one = np.float32(1)
    loss = np.float32(0)
    for k in range(window.size * window.pitch):
        model, measured = intensity[k] * scale + shift, counts[k]
        inverse = one / model  # a division costs as much as the whole logarithm: one of them, not two
        logarithm = _log(max(measured, TINY_COUNTS) * inverse)
        loss += weights[k] * (model - measured + measured * logarithm)
        intensity[k] = np.float32(2) * scale * weights[k] * (one - measured * inverse)
    return loss


@numba.jit(**FAST)
def compare_intensities(window: Any, intensity: Any, counts: Any, weights: Any, scale: Any) -> Any:
    """As :func:`compare_amplitudes`, for plain least squares."""
    loss = np.float32(0)
    for k in range(window.size * window.pitch):
        difference = intensity[k] * scale - counts[k]
        loss += weights[k] * difference * difference
        intensity[k] = np.float32(4) * scale * weights[k] * difference
    return loss


@numba.jit(**FAST)
def compare_chi_squared(window: Any, intensity: Any, counts: Any, weights: Any, scale: Any) -> Any:
    """As :func:`compare_amplitudes`, for least squares over the counting variance."""
    loss = np.float32(0)
    for k in range(window.size * window.pitch):
        model, measured = intensity[k] * scale, counts[k]
        few = measured <= np.float32(FEW_COUNTS)
        relative = (model - measured) / (np.float32(1) if few else measured)
        loss += weights[k] * (model if few else np.float32(0.5) * relative * (model - measured))
        intensity[k] = np.float32(2) * scale * weights[k] * (np.float32(1) if few else relative)
    return loss


@intrinsic
def _call(
    _typing: Any, function: Any, size: Any, intensity: Any, counts: Any, weights: Any, offset: Any, scale: Any
) -> Any:
    """Call the C function at an address (:mod:`outside_terms`): its signature is there."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word, single = ir.IntType(64), ir.FloatType()
        kind = ir.FunctionType(single, [word] * 4 + [single] * 2).as_pointer()
        return builder.call(builder.inttoptr(arguments[0], kind), list(arguments[1:]))

    single = types.float32
    return single(types.uintp, types.int64, *[types.uintp] * 3, single, single), generate


@numba.jit(**FAST)
def compare(window: Any, term: tuple[int, float, int], intensity: Any, counts: Any, weights: Any, scale: Any) -> Any:
    """Loss of a pattern under a data term; ``intensity`` becomes its derivative.

    term: number, offset in counts, and the address of the C function of an OUTSIDE one.
    """
    offset = np.float32(term[1])
    if term[0] == OUTSIDE:
        planes = (np.uintp(intensity.ctypes.data), np.uintp(counts.ctypes.data), np.uintp(weights.ctypes.data))
        return _call(np.uintp(term[2]), np.int64(window.size * window.pitch), *planes, offset, np.float32(scale))
    if term[0] == AMPLITUDE:
        return compare_amplitudes(window, intensity, counts, weights, offset, scale)
    if term[0] == POISSON:
        return compare_poisson(window, intensity, counts, weights, offset, scale)
    if term[0] == INTENSITY:
        return compare_intensities(window, intensity, counts, weights, scale)
    if term[0] == CHI_SQUARED:
        return compare_chi_squared(window, intensity, counts, weights, scale)
    return np.float32(np.nan)  # no other is known: a loss that is not finite ends the run
