"""Losses that compare modelled with recorded counts pixel by pixel, on whole arrays."""

from __future__ import annotations

from typing import Any

from ptylive.engine.backend.multislice import FEW_COUNTS, DataTerm, DataTermKind

TINY_COUNTS = 1e-12
"""Keeps the square root of an unlit pixel, and its derivative, finite."""


def pixel_terms(xp: Any, term: DataTerm, intensity: Any, counts: Any) -> tuple[Any, Any]:
    """Loss of each pixel and its derivative by the modelled intensity, weights left out.

    intensity and counts: arrays of one shape in counts; ``xp`` is their module.
    """
    model = intensity + (term.offset + TINY_COUNTS)
    if term.kind is DataTermKind.AMPLITUDE:
        amplitude = xp.sqrt(model)
        difference = amplitude - xp.sqrt(counts + term.offset)
        return difference**2, difference / amplitude
    if term.kind is DataTermKind.POISSON:
        loss = model - counts - counts * (xp.log(model) - xp.log(xp.where(counts > 0, counts, 1)))
        return loss, 1 - counts / model
    if term.kind is DataTermKind.INTENSITY:
        return (intensity - counts) ** 2, 2 * (intensity - counts)
    few = counts <= FEW_COUNTS
    relative = (intensity - counts) / xp.where(few, 1, counts)
    loss = xp.where(few, intensity, 0.5 * relative * (intensity - counts))
    return loss, xp.where(few, xp.ones_like(intensity), relative)
