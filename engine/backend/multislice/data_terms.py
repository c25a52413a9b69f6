"""Losses that compare modelled with recorded counts pixel by pixel: one table row per loss, read by every backend.

A loss that is not in the table raises KeyError; no other loss is ever computed instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import FEW_COUNTS, DataTerm, DataTermKind, PythonTerm
from ptylive.engine.plugins import at_work
from ptylive.schema.errors import RefinementError

TINY_COUNTS = 1e-12
"""Keeps the square root of an unlit pixel, and its derivative, finite."""

Compare = Callable[[Any, float, Any, Any], tuple[Any, Any]]
"""(array module, offset, intensity, counts) -> loss of each pixel, and its derivative by the intensity."""


def _amplitude(xp: Any, offset: float, intensity: Any, counts: Any) -> tuple[Any, Any]:
    amplitude = xp.sqrt(intensity + (offset + TINY_COUNTS))
    difference = amplitude - xp.sqrt(counts + offset)
    return difference**2, difference / amplitude


def _poisson(xp: Any, offset: float, intensity: Any, counts: Any) -> tuple[Any, Any]:
    model = intensity + (offset + TINY_COUNTS)
    loss = model - counts - counts * (xp.log(model) - xp.log(xp.where(counts > 0, counts, 1)))
    return loss, 1 - counts / model


def _intensity(xp: Any, offset: float, intensity: Any, counts: Any) -> tuple[Any, Any]:
    return (intensity - counts) ** 2, 2 * (intensity - counts)


def _chi_squared(xp: Any, offset: float, intensity: Any, counts: Any) -> tuple[Any, Any]:
    few = counts <= FEW_COUNTS
    relative = (intensity - counts) / xp.where(few, 1, counts)
    loss = xp.where(few, intensity, 0.5 * relative * (intensity - counts))
    return loss, xp.where(few, xp.ones_like(intensity), relative)


@dataclass(frozen=True)
class PixelTerm:
    """Properties of a data term other than its formula, which :class:`DataTermKind` gives."""

    number: int
    """Number of the term in compiled kernels: numba's and, under the kind's name, CUDA's."""
    compiled: str
    """Name of its function in ``compiled_terms``."""
    compare: Compare
    curvature: Callable[[Any], Any]
    """d2 loss / dI2 at a fit, from the counts of a pixel, offset included."""
    likelihood: float | None
    """Ratio of the loss to the negative logarithm of the likelihood of counts; None: proportional to the counts."""
    constant: str = ""
    """Preset key that sets the offset."""


PIXEL_TERMS = {
    # var(sqrt(D)) = 1/4, so twice this loss is the likelihood's
    DataTermKind.AMPLITUDE: PixelTerm(
        0, "compare_amplitudes", _amplitude, lambda counts: 0.5 / counts, 0.5, "loss_offset"
    ),
    DataTermKind.POISSON: PixelTerm(1, "compare_poisson", _poisson, lambda counts: 1 / counts, 1.0, "loss_floor"),
    DataTermKind.INTENSITY: PixelTerm(2, "compare_intensities", _intensity, lambda counts: 2 + 0 * counts, None),
    DataTermKind.CHI_SQUARED: PixelTerm(3, "compare_chi_squared", _chi_squared, lambda counts: 1 / counts, 1.0),
}
NUMBERS = {kind.name: term.number for kind, term in PIXEL_TERMS.items()}
"""AMPLITUDE, POISSON, ...: names and numbers in compiled kernels."""


def pixel_terms(xp: Any, term: DataTerm, intensity: Any, counts: Any) -> tuple[Any, Any]:
    """Loss of each pixel and its derivative by the modelled intensity, without weights.

    intensity and counts: arrays of one shape in counts; ``xp`` is their module. KeyError for a loss of coefficients.
    """
    return PIXEL_TERMS[DataTermKind(str(term.kind))].compare(xp, term.offset, intensity, counts)


def compared(xp: Any, term: DataTerm, intensity: Any, counts: Any, weights: Any) -> tuple[Any, Any]:
    """Loss summed over all pixels, a 0-d array, and its derivative by the modelled intensity; both weighted.

    Arguments as in :func:`pixel_terms`; weights (p, p). RefinementError if a Python function fails.
    """
    if isinstance(term.kind, PythonTerm):
        return _python_term_loss(xp, term.kind, term.offset, intensity, counts, weights)
    loss, derivative = pixel_terms(xp, term, intensity, counts)
    return (loss * weights).sum(dtype=np.float64), derivative * weights


def _python_term_loss(
    xp: Any, term: PythonTerm, offset: float, intensity: Any, counts: Any, weights: Any
) -> tuple[Any, Any]:
    with at_work(term.compare):
        loss, derivative = term.compare(intensity, counts, weights, offset)
        loss, derivative = xp.asarray(loss).sum(dtype=np.float64), xp.asarray(derivative, dtype=intensity.dtype)
    if derivative.shape != intensity.shape:
        raise RefinementError(
            f"the data term {term} gives a derivative of shape {derivative.shape} for an intensity of"
            f" {intensity.shape}",
            "fix the plug-in, or choose another algorithm",
        )
    return loss, derivative
