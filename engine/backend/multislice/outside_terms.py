"""A user-defined loss of one pixel in the compiled kernel: a C function that is called once per pattern.

The kernel is not recompiled for it: it receives the function's address, as the live maps receive that of a decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from ptylive.engine.backend.multislice.data_terms import compared
from ptylive.engine.backend.multislice.planes_fft import FAST
from ptylive.engine.backend.multislice.problem import DataTerm, Precision, PythonTerm
from ptylive.engine.plugins import at_work
from ptylive.schema.errors import RefinementError

INTENSITIES, COUNTS = (0.0, 0.3, 2.0, 50.0), (0.0, 1.0, 3.0, 40.0)
"""Values at which the two forms of a term are compared before the term is used."""
AGREEMENT = 1e-3
"""Tolerance relative to the largest value: for single precision, reordering, and differences of similar numbers."""

_compiled: dict[tuple[Callable[..., Any], str], Any] = {}
"""C functions are kept for the life of the process: compiled code holds their addresses."""


def address_of(term: PythonTerm, offset: float, real: np.dtype[Any] = Precision.SINGLE.real) -> int:
    """Address of the C function of ``term.pixel`` for planes of type ``real``, compiled on first use.

    Raises RefinementError if it does not compile, or does not agree with the term on whole arrays.
    """
    if term.pixel is None:
        raise ValueError(f"{term} has no form for compiled code")
    key = (term.pixel, real.name)
    if key not in _compiled:
        with at_work(term.pixel):
            _compiled[key] = _whole_pattern(*key)
    function = _compiled[key]
    _check(term, function, offset, real)
    return int(function.address)


def _whole_pattern(pixel: Callable[..., Any], real: str) -> Any:
    """C function that returns a pattern's loss; ``intensity`` becomes the factor of the far field in the gradient.

    Its arguments: number of pixels, intensity, counts, weights, offset, scale.
    """
    compare, number = numba.jit(**{**FAST, "_nrt": True})(pixel), getattr(types, real)
    signature = number(types.int64, *[types.CPointer(number)] * 3, number, number)
    to_real = np.dtype(real).type

    @numba.cfunc(signature, nopython=True, fastmath=True, error_model="numpy")
    def whole(size: Any, intensity: Any, counts: Any, weights: Any, offset: Any, scale: Any) -> Any:
        modelled, measured, weight = (
            numba.carray(intensity, size),
            numba.carray(counts, size),
            numba.carray(weights, size),
        )
        total = to_real(0)
        for k in range(size):
            loss, derivative = compare(modelled[k] * scale, measured[k], offset)
            total += weight[k] * to_real(loss)
            modelled[k] = to_real(2) * scale * weight[k] * to_real(derivative)
        return total

    return whole


def _check(term: PythonTerm, function: Any, offset: float, real: np.dtype[Any]) -> None:
    """Refuse a term whose two forms are different losses."""
    intensity, counts = (grid.ravel().astype(real) for grid in np.meshgrid(INTENSITIES, COUNTS))
    square = (1, len(INTENSITIES), len(COUNTS))
    ones = np.ones(square[1:], real)
    kind = DataTerm(term, offset)
    for k in range(len(intensity)):  # one pixel weighted at a time, so that each counts
        weights = np.zeros(len(intensity), real)
        weights[k] = 1
        factors = intensity.copy()
        pointers = [each.ctypes.data_as(function.ctypes.argtypes[1]) for each in (factors, counts, weights)]
        loss = function.ctypes(len(factors), *pointers, offset, 1.0)
        values = intensity.reshape(square), counts.reshape(square), ones * weights.reshape(square[1:])
        expected, derivatives = compared(np, kind, *values)
        derivative = float(derivatives.ravel()[k])
        size = max(abs(float(expected)), abs(derivative), 1.0)
        if not (abs(loss - float(expected)) < AGREEMENT * size and abs(factors[k] / 2 - derivative) < AGREEMENT * size):
            at = f"I = {intensity[k]:g}, D = {counts[k]:g}"
            raise RefinementError(
                f"the data term {term} gives {loss:g} with derivative {factors[k] / 2:g} for one pixel, but"
                f" {float(expected):g} with derivative {derivative:g} on whole arrays ({at})",
                "fix the plug-in, or leave out its form for one pixel",
            )
