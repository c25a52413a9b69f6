"""Derivatives by tilts, free space and the aperture plane, from a kernel's sums for each pattern."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.problem import Corrections
from ptylive.engine.backend.multislice.specialised.batch import Blocks


class Moments(NamedTuple):
    """Weighted sums over pixels of Im(conj(gradient) psi), for n patterns; transforms are unitary.

    Weights along rows and columns: the position in pixels from the middle, or the frequency in cycles per pixel.
    """

    entry: Any
    """(n, 2) by position, in front of the specimen."""
    exit: Any
    """(n, 2) by position, behind the specimen."""
    lens: Any
    """(n, 2) by frequency, in the lens of a near field."""
    spaces: Any
    """(n, spaces, 3) by the phase per Å and by frequency, in each free space."""


def add_moments(blocks: Blocks, moments: Moments, values: Values, batch: Any, total: Corrections) -> None:
    """Add the derivatives by tilts, distances and thickness."""
    model = blocks.model
    per_place = 2 * np.pi / model.wavelength_A * model.pixel_A
    if total.tilts is not None and model.tilts is not None:
        if model.tilts.before:
            values.add_tilts(total.tilts, batch, slice(0, 2), -per_place * moments.entry)
        if model.tilts.after:
            values.add_tilts(total.tilts, batch, slice(4, 6), -per_place * moments.exit)
        if model.tilts.inside and model.near_field is not None:
            blocks.detector.add_lens_tilts(moments.lens / model.pixel_A, values, batch, total)
    for number, step in enumerate(blocks.program.spaces):
        space_moments = (moments.spaces[:, number, 0], moments.spaces[:, number, 1:] / model.pixel_A)
        blocks.specimen.add_free_space(step, space_moments, values, batch, total)


def add_of_aperture(
    xp: ModuleType, group: Any, aberrations: int, sums: Any, batch: Any, values: Values, total: Corrections
) -> None:
    """Add sums (n, aberrations + components) to the derivatives by aberrations and coefficients.

    ``group`` (N,): group of aberrations of each pattern, None if there are none; ``aberrations``: their number.
    """
    if total.aberrations_A is not None and group is not None:
        xp.add.at(total.aberrations_A, group[batch], sums[:, :aberrations])
    if total.opr_coefficients is not None and values.varied is not None:
        total.opr_coefficients[batch] += sums[:, aberrations:]
