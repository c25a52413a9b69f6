"""Arguments of the compiled kernel. Arrays of length 0 stand for absent features and for gradients not requested.

One compiled version thus serves every forward model of a precision. Planes are flat, of length ``plane``
(:func:`.planes.plane_size`), and transposed in Fourier space; they, and everything not stated otherwise, are float32,
or float64 in double precision.
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
    """Convert absent arrays, and those in single precision only, to the call's precision: one compiled version."""
    if real == np.float32:
        return parts
    single = {n: v for n, v in parts._asdict().items() if isinstance(v, np.ndarray) and v.dtype == np.float32}
    converted: dict[str, Any] = {name: value.astype(real) for name, value in single.items()}
    return parts._replace(**converted)


class Patterns(NamedTuple):
    """The patterns of one call: their numbers; counts and positions of all patterns, weights (plane)."""

    indices: Any
    recorded: Any
    """(N, bytes of a pattern) uint8: the raw bytes of the counts, so that one compilation serves every type."""
    counts_type: int
    """UINT8, UINT16, FLOAT32 or FLOAT64."""
    weights: Any
    corners: Any
    shifts: Any
    """(N, 2) float64, object pixels: ramps are computed from these; stored, they would take an eighth of the data."""
    amplitudes: Any
    """(N,): square root of each pattern's beam current."""
    turns: Any
    """(N, 2, 2, P), axis (row, col), part (real, imaginary): shift of a pattern on the detector; or of length 0."""
    first_probe: Any
    """(N,) index of the first plane of the probe used for a pattern."""
    entries: Any = NONE_4
    """(N, 2, 2, P) in real space: tilt of the beam in front of the specimen; or of length 0."""
    spaces: Any = NONE_5
    """(N, slices - 1, 2, 2, P) over frequencies, column first: a pattern's own factors in free space; or length 0."""
    lenses: Any = NONE_4
    """(N, 2, 2, P), column first: a pattern's own factors in the lens of a near field; or of length 0."""
    aberrations: Any = NONE_2
    """(N, n) coefficients that multiply the rates."""
    plates: Any = NONE_3
    """(N, 2, plane) phase plates, transposed; or of length 0."""
    varied: Any = NONE_2
    """(N, components) coefficient of each component of the probe; (N, 0) if it does not vary."""


class Model(NamedTuple):
    """Refined quantities and propagators: planes as real and imaginary parts on the leading axis."""

    slices: Any
    """(2, object modes * slices, Y * X)."""
    width: int
    probe: Any
    """(2, modes, plane), transposed."""
    propagators: Any
    """(2, slices - 1, plane), transposed, including 1 / P^2."""
    background: Any
    """(plane), transposed, in units of the summed intensity: counts * P^2 * object modes."""
    frequencies: Any
    """(P,) cycles per pixel."""
    phase_per_A: Any
    """(plane) phase that 1 Å of free space adds to a frequency."""
    places: Any
    """(P,) pixels from the middle."""
    band: Any = NONE_1
    """(plane) factor on the spectra of windows and far field, transposed; or of length 0."""
    filter: Any = NONE_1
    """(plane) the same over P^2, the norm of two transforms, columns rotated by ``turn_of``; or of length 0."""
    turned: Any = NO_PLANES
    """The propagators with columns rotated as the filter's, if a band is kept; or of length 0."""
    kept: int = 0
    """Number of filter columns, from 0 on, beyond which the filter is 0."""
    lens: Any = NO_PLATE
    """(2, plane), transposed, over P: the common factor of all lenses; not read if there is no lens."""
    rates: Any = NONE_2
    """(n, plane) phase of 1 Å of each coefficient, transposed."""
    components: Any = NO_PLANES
    """(2, components * varying modes, plane), transposed."""
    varying_modes: int = 0


class Gradient(NamedTuple):
    """Sums of the gradient: shapes as in :class:`Model`, or a length of 0 if a gradient is not requested."""

    slices: Any
    probe: Any
    patterns: Any
    """(n, 3) for the patterns of the call: shift along rows, along columns, beam current."""
    background: Any
    distances: Any
    """(slices - 1)."""
    moments: Any = NO_SUMS_3
    """(n, SPACES + slices - 1, 3) for the call's patterns: sums of ``add_moments``, with the rows named below."""
    aperture: Any = NO_SUMS_2
    """(n, aberrations + components)."""
    components: Any = NO_PLANES
    """Shape as in :class:`Model`."""


ENTRY, EXIT, LENS, SPACES = 0, 1, 2, 3
"""Rows of the moments: in front of the specimen, behind it, in the lens, and in the first free space."""


class Work(NamedTuple):
    """Buffers of one thread."""

    waves: Any
    """(pairs, slices, 2, plane): wave entering each slice, for every pair of a probe mode and an object mode."""
    far_field: Any
    """(pairs, 2, plane)."""
    a: Any
    """(2, plane)."""
    b: Any
    intensity: Any
    """(plane)."""
    counts: Any
    """(plane): the recorded pattern."""
    ramp: Any
    """(2, 2, P) for the current pattern: axis (row, col), part."""
    windows: Any = NONE_3
    """(object modes * slices, 2, plane) a pattern's windows of the slices if a band is kept; or of length 0."""
    pulled: Any = NONE_3
    """Gradient by these windows, of the same shape."""
    own: Any = NONE_3
    """(modes, 2, plane) probe of a pattern if it has its own; or of length 0."""
    plate: Any = NO_PLATE
    """(2, plane) factor in the aperture plane, apart from the probe."""
    lens: Any = NO_PLATE
    """(2, plane), transposed: lens of the current pattern if it is an image, including the band and 1 / P."""
