"""Ring correlations of a validation, between halves and for shuffled data, and the resolution read from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import Array, BoolArray, DoubleArray

LEVELS = (0.5, 0.143)
"""Ring correlations whose first crossing is stated as a resolution."""


@dataclass(frozen=True)
class Validation:
    """Fourier ring correlation of half data, and of shuffled data."""

    frequencies_invA: DoubleArray
    """(rings,) middle of each ring."""
    halves: DoubleArray
    """(rings,) correlation of the two halves."""
    null: DoubleArray
    """(rings,) the same for shuffled patterns."""
    at_harmonic: BoolArray
    """(rings,) whether a ring is near a harmonic of the scan, where agreement proves nothing."""
    correlation: float
    """Correlation of the two halves' phases, all frequencies."""
    resolution_A: tuple[float | None, float | None]
    """Period of the first fall below 0.5 and 0.143, excluding harmonics of the scan; None: never."""

    @property
    def trusted(self) -> BoolArray:
        """Which rings (n,) agree by more than shuffled patterns do, before the first fall below 0.143."""
        fallen = np.cumsum((self.halves < LEVELS[1]) & ~self.at_harmonic) > 0
        return np.asarray(~fallen & ~self.at_harmonic & (self.halves > self.null))

    def summary(self) -> str:
        """Return a one-line summary."""
        elsewhere = self.null[~self.at_harmonic]
        worst = float(elsewhere.max()) if len(elsewhere) else 0.0
        return (
            f"halves of the data correlate {self.correlation:.2f}; their ring correlation {self._fall}; "
            f"shuffled patterns reach {worst:.2f} away from harmonics of the scan"
        )

    @property
    def _fall(self) -> str:
        """Where the correlation of the halves falls, in words."""
        half_A, last_A = self.resolution_A
        if half_A is None:
            return f"stays above {LEVELS[0]:g}"
        last = f" and stays above {LEVELS[1]:g}" if last_A is None else f", below {LEVELS[1]:g} at {last_A:.2f} Å"
        return f"falls below {LEVELS[0]:g} at {half_A:.2f} Å{last}"


def faded(picture: Array) -> DoubleArray:
    """Return an image (Y, X) without its ramp, with the outer quarter along each border faded out.

    A Hann window would blur the spectrum over more of it, so that a ring would hold fewer independent values: rings of
    images that have nothing in common would scatter more widely around 0.
    """
    rows, columns = picture.shape
    edges = [np.minimum(1.0, 2 * _hann(count)) for count in (rows, columns)]
    return np.asarray(without_ramp(picture) * np.outer(*edges))


def without_ramp(picture: Array, where: BoolArray | None = None) -> DoubleArray:
    """Return a picture (Y, X) less the ramp fitted to all pixels, or to those ``where`` (Y, X) it is meaningful."""
    rows, cols = np.indices(picture.shape)
    design = np.column_stack([np.ones(picture.size), rows.ravel(), cols.ravel()])
    values = np.asarray(picture, dtype=np.float64).ravel()
    chosen = slice(None) if where is None else where.ravel()
    ramp = design @ np.linalg.lstsq(design[chosen], values[chosen], rcond=None)[0]
    return np.asarray(values - ramp).reshape(picture.shape)


def _hann(count: int) -> DoubleArray:
    """Hann window without zeros."""
    return np.hanning(count + 2)[1:-1]
