"""Trotters as drawn on the page and offline: amplitude, phase as recorded, phase without the aberrations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.pictures.colours import ColourMap, Levels, levels
from ptylive.schema.model import Array, BoolArray, ComplexArray, FloatArray, LabelArray

PHASE_LIMITS: Levels = (-math.pi, math.pi)
_BOTH = 3
"""All three discs overlap: there the two sidebands cancel or mix, and no phase is shown."""


@dataclass(frozen=True, eq=False)
class TrotterView:
    """One picture over the detector's pixels; unvisited pixels show nothing; ``visited`` None: everything is shown."""

    name: str
    title: str
    data: FloatArray
    visited: BoolArray | None
    limits: Levels
    units: str
    colour_map: ColourMap


def trotter_views(
    before: ComplexArray, after: ComplexArray, area: LabelArray
) -> tuple[TrotterView, TrotterView, TrotterView]:
    """Amplitude, phase before and phase after the aberrations are taken out.

    before, after: G (rows, cols), complex; area: (rows, cols), 0 where no two discs overlap, 3 where all three do.
    """
    overlap = np.asarray(area) > 0
    alone = overlap & (np.asarray(area) != _BOTH)

    def view(name: str, title: str, data: Array, visited: BoolArray | None) -> TrotterView:
        values = np.asarray(data, dtype=np.float32)
        if visited is None:
            return TrotterView(
                name, title, values, None, levels(values, None, (0, 99.8)), "relative", ColourMap.INFERNO
            )
        return TrotterView(name, title, values, visited, PHASE_LIMITS, "rad", ColourMap.CYCLIC)

    return (
        view("trotter_amplitude", "amplitude", np.abs(before), None),
        view("trotter_before", "phase as recorded", np.angle(before), overlap),
        view("trotter_after", "phase without the aberrations", np.angle(after), alone),
    )
