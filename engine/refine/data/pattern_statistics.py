"""Statistics of the patterns before the refinement: counts, dose, and noise beyond Poisson."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ptylive.engine.dataset import Dataset
from ptylive.engine.probe import Probe
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.schema.model import Array, BoolArray, DoubleArray

NOISE_SAMPLES = 600
"""Number of second differences of successive patterns from which the noise correlation is computed."""
LEAST_SAMPLES, NOISE_PIXELS = 64, 1 << 21
"""Fewer differences are used where patterns are large, so that their copies stay small."""
LEAST_PATTERNS = 16
"""Fewest patterns whose neighbours in the scan are compared to find their noise."""
SPREAD_LAGS = 4
"""Distances in pixels over which noise may be correlated: beyond, no detector spreads a count."""
FEWEST_FAINT = 32
"""Fewest faint pixels from which the counts per electron are estimated."""
LEAST_WEIGHTED = 0.1
"""Share of the mean of faint pixels below which a pixel weighs no more than one of this share."""
ILL_CONDITIONED = 1e6
"""Condition of a fit of two terms beyond which they are the same: all pixels have one mean."""


@dataclass(frozen=True)
class PatternStatistics:
    """Measured on the patterns; the choice of the algorithm is based on these (docs/refinement.md)."""

    counts_per_pattern: float
    """Mean counts of a pattern, with bad pixels in the disc filled in."""
    bright_counts: float
    """Mean counts of a pixel inside the bright field."""
    dark_counts: float
    """Mean counts of a pixel outside the bright field, 0 if no such pixel is measured."""
    dose_e_per_A2: float
    """Electrons per Å^2 (counts, if the counts per electron are not known)."""
    noise_spread: float
    """Correlation of the noise of neighbouring detector pixels: 0 for independent counting."""
    counting_share: float = 1.0
    """Variance over mean outside the bright field: 1 for counted electrons, close to 0 for noise-free patterns."""
    faint_share: float | None = None
    """The same of the faintest of these pixels, less what the specimen changes in them: about the counts per electron.
    None if there are too few such pixels."""
    patterns: int = 0
    """Number of patterns."""

    @classmethod
    def of(cls, dataset: Dataset, window: ScanWindow, probe: Probe) -> PatternStatistics:
        """Measure a data set."""
        mean = mean_pattern(window)
        amplitude = probe.aperture(window.k_row, window.k_col)
        bright = window.measured & (amplitude > 0.5)
        dark = window.measured & ~_dilated(amplitude > 0, dataset.offsets_px)
        bright_counts = float(mean[bright].mean()) if bright.any() else float(mean[window.measured].mean())
        missing = float((amplitude**2)[~window.measured].sum()) * bright_counts
        counts = float(mean[window.measured].sum()) + missing
        given = dataset.calibration.get("counts_per_electron")
        differences = _second_differences(window.patterns) if len(window.patterns) >= LEAST_PATTERNS else None
        share, faint_share = _counting_shares(window.patterns, differences, dark)
        # as measured, if it was: what is smeared varies by less than the counts of an electron
        noise_share = faint_share if faint_share is not None else given
        return cls(
            counts_per_pattern=counts,
            bright_counts=bright_counts,
            dark_counts=float(mean[dark].mean()) if dark.any() else 0.0,
            dose_e_per_A2=counts / float(given or 1.0) / _area_per_pattern(dataset.positions_A),
            noise_spread=_noise_spread(differences, mean, window.measured & (amplitude >= 1), noise_share),
            counting_share=share,
            faint_share=faint_share,
            patterns=len(window.patterns),
        )


def _dilated(area: BoolArray, offsets_px: DoubleArray | None) -> BoolArray:
    """Pixels (P, P), in FFT order, that are in an area in some pattern, given the pattern ``offsets_px`` (N, 2)."""
    if offsets_px is None:
        return area
    reach = [math.ceil(float(reach)) for reach in np.abs(offsets_px).max(axis=0, initial=0.0)]
    square = np.ones([2 * pixels + 1 for pixels in reach], dtype=bool)
    return np.asarray(np.fft.ifftshift(ndimage.binary_dilation(np.fft.fftshift(area), square)))


def mean_pattern(window: ScanWindow) -> DoubleArray:
    """Mean over the scan (P, P), summed without a float copy of the data."""
    return np.asarray(window.patterns.sum(axis=0, dtype=np.float64) / len(window.patterns))


def _area_per_pattern(positions_A: DoubleArray) -> float:
    """Scanned area per pattern, Å^2: the area of the positions' covariance ellipse scaled to a rectangle.

    A single line of points is as wide as they are apart.
    """
    points = len(positions_A)
    if points < 4:
        return 1.0
    spread = np.linalg.svd(positions_A - positions_A.mean(axis=0), compute_uv=False)
    longer, shorter = np.sqrt(12 / points) * spread  # a uniform line of length L has variance L^2 / 12
    return max(float(longer * max(shorter, longer / points)) / points, 1e-6)


def _noise_spread(
    differences: Array | None, mean: DoubleArray, interior: BoolArray, noise_share: float | None
) -> float:
    """Least correlation of the noise of neighbouring pixels of the disc, from second differences of patterns.

    A detector that spreads one electron over a few pixels correlates only the nearest neighbours; a changing specimen
    also correlates over longer distances, and is not counted: the result is 0 unless the correlation falls at once.
    Under many electrons a specimen may change as finely as that. What the differences vary beyond counting
    (``noise_share``: variance over mean of counting alone, if known) is therefore taken to be correlated entirely.
    """
    if differences is None or interior.sum() < 16:
        return 0.0
    residual = differences[:, interior]
    residual -= residual.mean(axis=0)
    correlation = [_lag_correlation(residual, interior, lag) for lag in range(1, SPREAD_LAGS + 1)]
    nearest, farther = correlation[0], max(abs(c) for c in correlation[1:])
    if nearest <= 2 * farther:
        return 0.0
    if noise_share is None:
        return nearest
    variance = float((residual**2).mean(axis=0, dtype=np.float64).sum()) / 6
    noise = min(noise_share * float(mean[interior].sum()), variance)
    return max(0.0, 1 - (1 - nearest) * variance / noise) if noise > 0 else 0.0


def _counting_shares(patterns: Array, differences: Array | None, dark: BoolArray) -> tuple[float, float | None]:
    """Variance over mean of dark pixels, and of counting alone by the faintest of them; 1 and None if unknown.

    From second differences, whose variance is 6 times that of a pattern.
    """
    if differences is None or not dark.any():
        return 1.0, None
    variance = (differences[:, dark] ** 2).mean(axis=0, dtype=np.float64) / 6
    mean = patterns[:: max(1, len(patterns) // NOISE_SAMPLES), dark].mean(axis=0, dtype=np.float64)
    share = float(variance.sum() / mean.sum()) if mean.sum() > 0 else 1.0
    lit = np.flatnonzero(mean > 0)
    faint = lit[np.argsort(mean[lit])]
    if len(faint) < 4 * FEWEST_FAINT:
        return share, None
    return share, _faint_share(mean[faint], variance[faint])


def _faint_share(mean: DoubleArray, variance: DoubleArray) -> float:
    """Variance over mean of the faintest quarter of pixels (ascending means), or at no counts if that is less.

    Counting adds g m to the variance of a pixel of mean m, for g counts per electron, and a specimen that changes from
    pattern to pattern adds c m^2. Both are fitted to the fainter half; g counts by two standard deviations, which are
    large where all pixels have much the same mean.
    """
    quarter, half = len(mean) // 4, len(mean) // 2
    share = float(variance[:quarter].sum() / mean[:quarter].sum())
    level = float(mean[:half].mean())  # of any unit: counts may be normalised, or large numbers for an electron
    mean, variance = mean[:half] / level, variance[:half] / level
    scale = 1 / np.maximum(mean, LEAST_WEIGHTED)  # the error of a variance is about proportional to it
    terms = scale[:, None] * np.stack([mean, mean**2], axis=1)
    if np.linalg.cond(terms) > ILL_CONDITIONED:
        return share
    normal = np.linalg.inv(terms.T @ terms)
    fitted = normal @ (terms.T @ (scale * variance))
    scatter = ((scale * variance - terms @ fitted) ** 2).sum() / (half - 2)
    return min(share, float(fitted[0] + 2 * np.sqrt(normal[0, 0] * scatter)))


def _second_differences(patterns: Array) -> Array:
    """Differences (n, P, P) float32 that contain the noise of successive patterns and little of the specimen."""
    samples = min(NOISE_SAMPLES, max(LEAST_SAMPLES, NOISE_PIXELS // int(np.prod(patterns.shape[1:]))))
    centres = np.unique(np.linspace(1, len(patterns) - 2, min(samples, len(patterns) - 2)).astype(int))
    differences: Array = patterns[centres - 1].astype(np.float32)
    differences += patterns[centres + 1]
    for _ in range(2):  # in place: no further copies of this size
        differences -= patterns[centres]
    return differences


def _lag_correlation(residual: Array, interior: BoolArray, lag: int) -> float:
    """Mean correlation of pixels ``lag`` apart along rows and columns; residual (n, pixels of the interior)."""
    variance = (residual**2).mean(axis=0)
    number = np.full(interior.shape, -1)
    number[interior] = np.where(variance > 0, np.arange(len(variance)), -1)
    values = []
    for axis in (0, 1):
        pixel, neighbour = number.ravel(), np.roll(number, -lag, axis).ravel()
        valid = (pixel >= 0) & (neighbour >= 0)
        if valid.any():
            pixel, neighbour = pixel[valid], neighbour[valid]
            covariance = (residual[:, pixel] * residual[:, neighbour]).mean(axis=0)
            values.append(float((covariance / np.sqrt(variance[pixel] * variance[neighbour])).mean()))
    return float(np.mean(values)) if values else 0.0
