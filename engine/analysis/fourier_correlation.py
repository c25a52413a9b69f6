"""Fourier ring and shell correlation of two reconstructions of the same object.

FRC(q) = Re sum F1 F2* / sqrt(sum |F1|^2 sum |F2|^2), over the ring (pictures) or shell (stacks) of width one frequency
step (van Heel and Keegstra 1987; Harauz and van Heel 1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.engine.refine.results.ring_correlation import without_ramp
from ptylive.schema import MetadataError
from ptylive.schema.model import Array, DoubleArray

ONE_SEVENTH = 1 / 7
LEAST_SIDE = 8
LONGEST = 2
"""Rings of the longest periods, above a third of the field, where few Fourier pixels are left and ramps were taken out:
disagreement there alone does not end the agreement."""
TAPERED = 18 / 35
"""Share of independent Fourier pixels of a ring under a Hann window. For a window w it is (sum w^2)^2 / (n sum w^4)
along an axis, and a ring one step wide has neighbours only along itself."""


@dataclass(frozen=True)
class FourierCorrelation:
    """Correlation as a function of spatial frequency."""

    frequencies_invA: DoubleArray
    """(rings,) middle of each ring or shell."""
    correlation: DoubleArray
    """(rings,) Fourier correlation."""
    points: DoubleArray
    """(rings,) number of Fourier pixels in each."""

    @property
    def half_bit(self) -> DoubleArray:
        """(rings,) half-bit curve, half a bit of information per pixel (van Heel and Schatz 2005)."""
        root = np.sqrt(np.maximum(self.points / 2, 1))  # half of the pixels of a real picture are copies
        return np.asarray((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root))

    @property
    def deviation(self) -> DoubleArray:
        """(rings,) standard deviation of the correlation (as of Pearson's coefficient, Fisher 1921).

        Half of the pixels are copies of the others, and each contains two numbers.
        """
        independent = np.maximum(self.points * TAPERED, 1)
        return np.asarray((1 - np.minimum(self.correlation**2, 1)) / np.sqrt(independent))

    def resolution_A(self, level: float | None = None, *, deviations: float = 0.0) -> float | None:
        """Return the period at which the correlation first falls below a level (None: half-bit curve), or None.

        ``deviations``: use the correlation raised by that number of standard deviations; below 0, lowered. The longest
        periods may lie below (see LONGEST).
        """
        below = self.correlation + deviations * self.deviation < (self.half_bit if level is None else level)
        first = int(np.argmin(below[: LONGEST + 1]))  # 0 if all of them lie below
        fall = below[first:]
        return float(1 / self.frequencies_invA[first + int(np.argmax(fall))]) if fall.any() else None


def ring_correlation(first: Array, second: Array, pixel_A: float) -> FourierCorrelation:
    """Correlate two pictures (Y, X) without ramps, under a Hann window. Raises MetadataError if unequal or tiny."""
    _check(first, second)
    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in first.shape))
    q = _radius(first.shape, (pixel_A, pixel_A))
    pictures = [without_ramp(picture) * taper for picture in (first, second)]
    return _binned(pictures[0], pictures[1], q, 1 / (min(first.shape) * pixel_A), 0.5 / pixel_A)


def shell_correlation(first: Array, second: Array, pixel_A: float, spacing_A: float) -> FourierCorrelation:
    """Correlate two stacks (slices, Y, X) with slices ``spacing_A`` apart, up to the finest frequency of the rows.

    A few thick slices hold little along the beam: shells beyond 1 / (2 spacing) are effectively rings.
    """
    _check(first, second)
    if spacing_A <= 0:
        raise MetadataError("shells need the distance between slices", "refine with total_thickness_A")
    taper = np.outer(*(np.hanning(n + 2)[1:-1] for n in first.shape[1:]))
    stacks = [np.stack([without_ramp(plane) * taper for plane in stack]) for stack in (first, second)]
    q = _radius(first.shape, (spacing_A, pixel_A, pixel_A))
    return _binned(stacks[0], stacks[1], q, 1 / (min(first.shape[1:]) * pixel_A), 0.5 / pixel_A)


def common_part(first: Array, second: Array, shift_px: tuple[int, int]) -> tuple[Array, Array]:
    """Return the parts of two stacks (slices, Y, X) of the same place: first[:, y, x] and second[:, y - dy, x - dx]."""
    (dy, dx), (rows, cols) = shift_px, first.shape[-2:]
    top, left = max(dy, 0), max(dx, 0)
    bottom, right = min(rows, second.shape[-2] + dy), min(cols, second.shape[-1] + dx)
    if bottom - top < LEAST_SIDE or right - left < LEAST_SIDE:
        raise MetadataError("the two reconstructions do not overlap", "compare reconstructions of one scan")
    return first[:, top:bottom, left:right], second[:, top - dy : bottom - dy, left - dx : right - dx]


def _binned(first: DoubleArray, second: DoubleArray, q: DoubleArray, width: float, limit: float) -> FourierCorrelation:
    ring = (q / width).astype(int)
    spectra = [np.fft.fftn(each) for each in (first, second)]
    rings = int(limit / width)
    cross = np.bincount(ring.ravel(), (spectra[0] * spectra[1].conj()).real.ravel())
    power = [np.bincount(ring.ravel(), (np.abs(spectrum) ** 2).ravel()) for spectrum in spectra]
    points = np.bincount(ring.ravel()).astype(np.float64)
    correlation = cross / np.sqrt(np.maximum(power[0] * power[1], 1e-300))
    chosen = slice(1, rings)
    middles = np.asarray((np.arange(len(cross)) + 0.5) * width, dtype=np.float64)
    return FourierCorrelation(middles[chosen], np.asarray(correlation[chosen]), points[chosen])


def _radius(shape: tuple[int, ...], steps_A: tuple[float, ...]) -> DoubleArray:
    """Return |q| on the FFT grid, 1/Å."""
    total = np.zeros(shape)
    for axis, (length, step) in enumerate(zip(shape, steps_A, strict=True)):
        values = np.fft.fftfreq(length, step)
        total += (values**2).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.asarray(np.sqrt(total))


def _check(first: Array, second: Array) -> None:
    if first.shape != second.shape:
        raise MetadataError(f"shapes {first.shape} and {second.shape} differ", "compare reconstructions of one scan")
    if min(first.shape[-2:]) < LEAST_SIDE:
        raise MetadataError(f"{first.shape[-2:]} pixels are too few to compare", "use a larger scan")


def scanned_area(
    shape: tuple[int, int], origin_A: tuple[float, float], positions_A: DoubleArray, pixel_A: float
) -> tuple[slice, slice]:
    """Return the rows and columns of an object (Y, X) between the outermost positions (N, 2)."""
    low = (positions_A.min(axis=0) - origin_A) / pixel_A
    high = (positions_A.max(axis=0) - origin_A) / pixel_A
    cut = [slice(max(int(np.ceil(a)), 0), min(int(b) + 1, n)) for a, b, n in zip(low, high, shape, strict=True)]
    return cut[0], cut[1]
