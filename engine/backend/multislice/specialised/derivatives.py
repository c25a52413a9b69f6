"""From what a kernel adds up of each pattern to derivatives by tilts, free space and the aperture plane."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.backend.multislice.forward.values import Values
from ptylive.engine.backend.multislice.problem import Corrections
from ptylive.engine.backend.multislice.specialised.batch import Blocks


class Moments(NamedTuple):
    """Sums over pixels of Im(conj(gradient) psi) times something, of n patterns; transforms are unitary.

    Along rows and columns: times the place in pixels from the middle, or times the frequency in cycles per pixel.
    """

    entry: Any
    """(n, 2) places, in front of the specimen."""
    exit: Any
    """(n, 2) places, behind it."""
    lens: Any
    """(n, 2) frequencies, in the lens of a near field."""
    spaces: Any
    """(n, spaces, 3) the phase of an Å, and frequencies, in each free space."""


def add_moments(blocks: Blocks, moments: Moments, values: Values, batch: Any, total: Corrections) -> None:
    """Add derivatives by tilts, distances and thickness."""
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
        both = (moments.spaces[:, number, 0], moments.spaces[:, number, 1:] / model.pixel_A)
        blocks.specimen.add_free_space(step, both, values, batch, total)


def add_of_aperture(
    xp: ModuleType, group: Any, known: int, sums: Any, batch: Any, values: Values, total: Corrections
) -> None:
    """Sums (n, aberrations + components) to derivatives by both.

    ``group`` (N,) which group of aberrations a pattern belongs to, None without; ``known``: how many there are.
    """
    if total.aberrations_A is not None and group is not None:
        xp.add.at(total.aberrations_A, group[batch], sums[:, :known])
    if total.opr_coefficients is not None and values.varied is not None:
        total.opr_coefficients[batch] += sums[:, known:]
