"""What the compiled kernel is called with. Arrays of length 0 stand for what a problem does not have, or nobody wants.

So one compiled version serves every forward model of a precision. Planes are flat (P * pitch), in Fourier space
transposed; they, and what is not said to be otherwise, are float32, or float64 in double precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np

UINT8, UINT16, FLOAT32, FLOAT64 = 0, 1, 2, 3
NONE_1, NONE_2, NONE_3, NONE_4, NONE_5 = (np.zeros((0,) * n, np.float32) for n in range(1, 6))
NO_PLANES, NO_PLATE = np.zeros((2, 0, 0), np.float32), np.zeros((2, 0), np.float32)
NO_SUMS_2, NO_SUMS_3 = np.zeros((0, 0)), np.zeros((0, 0, 0))
Parts = TypeVar("Parts", "Patterns", "Model", "Gradient", "Work")


def in_precision(parts: Parts, real: np.dtype[Any]) -> Parts:
    """The same with what is absent, or in single precision only, in the precision of a call: one compiled version."""
    if real == np.float32:
        return parts
    single = {n: v for n, v in parts._asdict().items() if isinstance(v, np.ndarray) and v.dtype == np.float32}
    found: dict[str, Any] = {name: value.astype(real) for name, value in single.items()}
    return parts._replace(**found)


class Patterns(NamedTuple):
    """The patterns of one call: which ones; counts and positions of all, weights (P * pitch)."""

    indices: Any
    recorded: Any
    """(N, bytes of a pattern) uint8: counts as they lie in memory, so that one compilation serves every type."""
    counts_type: int
    """UINT8, UINT16, FLOAT32 or FLOAT64."""
    weights: Any
    corners: Any
    shifts: Any
    """(N, 2) float64, object pixels: the ramps are made of them, which would fill an eighth of what patterns do."""
    amplitudes: Any
    """(N,): root of the beam current of each pattern."""
    turns: Any
    """(N, 2, 2, P), axis (row, col), part (real, imaginary): what moves a pattern over the detector; or of length 0."""
    first_probe: Any
    """(N,) first plane of the probe that a pattern was taken with."""
    entries: Any = NONE_4
    """(N, 2, 2, P) in real space: tilt of the beam in front of the specimen; or of length 0."""
    spaces: Any = NONE_5
    """(N, slices - 1, 2, 2, P) over frequencies, column first: what a pattern's free space has of its own; or 0."""
    lenses: Any = NONE_4
    """(N, 2, 2, P), column first: a pattern's own in the lens of a near field; or of length 0."""
    aberrations: Any = NONE_2
    """(N, n) coefficients of the rates."""
    plates: Any = NONE_3
    """(N, 2, P * pitch) phase plates, transposed; or of length 0."""
    varied: Any = NONE_2
    """(N, components) by how much the probe has each; (N, 0) where it does not vary."""


class Model(NamedTuple):
    """What is refined, and the propagators: planes as real and imaginary parts on the leading axis."""

    slices: Any
    """(2, object modes * slices, Y * X)."""
    width: int
    probe: Any
    """(2, modes, P * pitch), transposed."""
    propagators: Any
    """(2, slices - 1, P * pitch), transposed, 1 / P^2 inside."""
    background: Any
    """(P * pitch), transposed, in units of the summed intensity: counts * P^2 * object modes."""
    frequencies: Any
    """(P,) cycles per pixel."""
    phase_per_A: Any
    """(P * pitch) phase that an Å of free space adds to a frequency."""
    places: Any
    """(P,) pixels from the middle."""
    band: Any = NONE_1
    """(P * pitch) factor on the spectra of windows and far field, transposed; or of length 0."""
    filter: Any = NONE_1
    """(P * pitch) the same over P^2, the normalisation of two transforms, columns turned by ``turn_of``; or 0."""
    turned: Any = NO_PLANES
    """The propagators, their columns turned as the filter's, where a band is kept; or of length 0."""
    kept: int = 0
    """Columns of the filter from 0 on beyond which it is 0."""
    lens: Any = NO_PLATE
    """(2, P * pitch), transposed, over P: what all lenses have in common; not read where there is none."""
    rates: Any = NONE_2
    """(n, P * pitch) phase of one Å of each coefficient, transposed."""
    components: Any = NO_PLANES
    """(2, components * modes that vary, P * pitch), transposed."""
    varying_modes: int = 0


class Gradient(NamedTuple):
    """Where the gradient is added up: shapes as in :class:`Model`, or with a length of 0 where it is not wanted."""

    slices: Any
    probe: Any
    patterns: Any
    """(n, 3) of the patterns of the call: shift along rows, along columns, beam current."""
    background: Any
    distances: Any
    """(slices - 1)."""
    moments: Any = NO_SUMS_3
    """(n, SPACES + slices - 1, 3) of the call's patterns: sums as ``add_moments`` has them, rows named below."""
    aperture: Any = NO_SUMS_2
    """(n, aberrations + components)."""
    components: Any = NO_PLANES
    """As in :class:`Model`."""


ENTRY, EXIT, LENS, SPACES = 0, 1, 2, 3
"""Rows of the moments: in front of the specimen, behind it, in the lens, and in the first free space."""


class Work(NamedTuple):
    """Buffers of one thread."""

    waves: Any
    """(pairs, slices, 2, P * pitch): the wave that enters each slice, for every pair of a probe and an object mode."""
    far_field: Any
    """(pairs, 2, P * pitch)."""
    a: Any
    """(2, P * pitch)."""
    b: Any
    intensity: Any
    """(P * pitch)."""
    counts: Any
    """(P * pitch): the recorded pattern."""
    ramp: Any
    """(2, 2, P) of the pattern at hand: axis (row, col), part."""
    windows: Any = NONE_3
    """(object modes * slices, 2, P * pitch) what a pattern sees of the slices where a band is kept; or of length 0."""
    pulled: Any = NONE_3
    """As the windows: their gradient."""
    own: Any = NONE_3
    """(modes, 2, P * pitch) probe of a pattern where it has one of its own; or of length 0."""
    plate: Any = NO_PLATE
    """(2, P * pitch) what lies in the aperture plane besides the probe."""
    lens: Any = NO_PLATE
    """(2, P * pitch), transposed: of the pattern at hand where it is an image, its band and 1 / P inside."""
