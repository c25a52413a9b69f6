"""Sign of the contrast: the rotation by 180° that a weak phase object leaves open (docs/theory/calibration.md).

(rotation + 180, -C10, -C12, -phase) explains the bright field equally well. Atoms settle it: the dark field is bright
where the phase, blurred by the probe, is high. They attract electrons, too: they are small peaks of phase in wide gaps,
never holes. In thick crystals either sign may mislead; where the two contradict each other, nothing is settled.

The dark field of a lattice settles nothing alone: its phase, displaced by a part of a cell, looks like the opposite
phase, and multiple scattering displaces the dark field. Of 76 crystals 62 had a correlation beyond chance, and 38 of
these the right sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.bank import Spectra, mean_bins
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.imaging.maps.obf import OptimumBrightField
from ptylive.engine.imaging.maps.wdd import WignerDeconvolution
from ptylive.engine.imaging.probe_transfer import probe_transfer
from ptylive.engine.imaging.strength.linearity import strength_under
from ptylive.schema.model import BoolArray, ComplexArray, DoubleArray

TRUSTED_SIGN = 0.1
"""Smallest |correlation| of phase and dark field that settles the half turn on a large scan."""
TRUSTED_DEVIATIONS = 3.0
"""The same limit in standard deviations of a chance correlation, for small scans."""
MOST_OPPOSITE = 0.7
"""Limit of the strongest opposite correlation with one image displaced, as a share of the correlation itself.

Below it 12 of 14 crystals and all of 44 other specimens had the right sign, above it 31 of 62 crystals.
"""
LEAST_POINTS = 16
"""Fewest visited points whose ranks are correlated: chance alone has a deviation of a quarter there."""
MOST_POINTS = 2**20
"""Largest number of points of a finer phase map."""
LEAST_TRANSFER = 0.003
"""Transfer of the probe below which no frequency of a phase is computed, for speed: far from focus most lie below.

Chosen by trial. On five scans (the two bundled ones; a bilayer, particles and 50 Å of SrTiO3, simulated in steps of 1
to 8 Å; 1 December 2026) the correlation is that of all frequencies to 0.0005; with 0.03 that of the crystal is off by
0.04.
"""
MOST_SKEWED_POINTS = 2**18
"""The same for a phase map of which nothing but the skewness is needed."""
EDGE = 0.06
"""Share of the field at each side in which the skewness is not evaluated."""
SKEWED = 4.0
"""Standard deviations of a skewness that contradicts the dark field."""
LEAST_SKEWNESS = 2.0
"""Skewness, in standard deviations, above which it decides the half turn if nothing else does."""
RESOLVED_A = 1.0
"""Half a wavelength over the semi-angle below which atoms are resolved: bonds are 1.4 Å and more."""
BLOCKS = 4
"""Number of blocks along either axis of the field, each left out once for the standard deviation."""


@dataclass(frozen=True)
class Skewness:
    """Third central moment of a phase over the 3/2 power of the second."""

    value: float
    deviation: float
    """Standard deviation by the jackknife over blocks of the field (Efron and Stein 1981)."""

    @classmethod
    def of(cls, phase: DoubleArray) -> Skewness:
        """Compute the skewness of an image (rows, columns)."""
        blocks = [part for rows in np.array_split(phase, BLOCKS) for part in np.array_split(rows, BLOCKS, axis=1)]
        sums = np.array([[(block**power).sum() for power in range(4)] for block in blocks])
        total = sums.sum(axis=0)
        without = np.array([_skewness(total - block_sums) for block_sums in sums])
        return cls(_skewness(total), math.sqrt((len(blocks) - 1) * float(np.var(without))))

    @property
    def deviations(self) -> float:
        """Skewness in units of the standard deviation, 0 for a uniform image."""
        return self.value / self.deviation if self.deviation else 0.0

    def __str__(self) -> str:
        """Format value and deviation."""
        return f"{self.value:.2g} ± {self.deviation:.1g}"


def _skewness(sums: DoubleArray) -> float:
    """Skewness from the sums of the powers 0 to 3."""
    mean, square, cube = (float(moment) for moment in sums[1:] / sums[0])
    deviation = math.sqrt(max(square - mean**2, 1e-30))
    return (cube - 3 * mean * square + 2 * mean**3) / deviation**3


@dataclass(frozen=True)
class Agreement:
    """Correlation of a phase with the dark field."""

    correlation: float
    opposite: float = 0.0
    """Strongest correlation of the opposite sign, as a positive number, with one of the images displaced."""
    points: int = MOST_POINTS
    """Number of points of the scan."""

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the correlation is more than chance."""
        return abs(self.correlation) > max(TRUSTED_SIGN, TRUSTED_DEVIATIONS * self.deviation)

    @property
    def settles(self) -> bool:
        """Whether it settles the half turn: beyond chance, and not that of a lattice with its displaced opposite."""
        return self.is_beyond_chance and self.opposite < MOST_OPPOSITE * abs(self.correlation)

    @property
    def leans(self) -> bool:
        """Whether it is more than one standard deviation of chance, and therefore more likely right than wrong."""
        return abs(self.correlation) > self.deviation

    @property
    def deviation(self) -> float:
        """Standard deviation of a chance correlation."""
        return 1.0 / math.sqrt(max(self.points, 1))


@dataclass(frozen=True)
class Contrast:
    """How a phase agrees with the dark field and with atoms."""

    agreement: Agreement
    """Rank correlation with the dark field."""
    skewness: float = 0.0
    """Skewness of the phase in standard deviations; 0 while a scan is running."""
    resolved: bool = False
    """Whether the bright field resolves atoms: the gaps of a lattice that is not resolved may look like peaks."""
    deconvolved: Agreement | None = None
    """Agreement of the phase by Wigner distribution deconvolution, at the end of a dense scan of a strong specimen."""

    @property
    def settles(self) -> bool:
        """Whether the half turn is settled: by the dark field, or for a lattice if the skewness agrees with it."""
        return self.agreement.settles or (
            self.agreement.is_beyond_chance and self.speaks_against(self.agreement.correlation < 0)
        )

    @property
    def is_inverted(self) -> bool:
        """Whether the dark field is bright where the phase is low, and atoms do not say otherwise.

        Of a strong specimen: where the phase by deconvolution is low, as the other one means little.
        """
        if self.deconvolved is not None:
            return self.deconvolved.is_beyond_chance and self.deconvolved.correlation < 0
        inverted = self.agreement.settles and self.agreement.correlation < 0
        return inverted and not self.speaks_against(as_fitted=False)

    def speaks_against(self, as_fitted: bool) -> bool:
        """Return whether the phase, as it is or turned, shows holes in place of atoms."""
        return self.resolved and (self.skewness if as_fitted else -self.skewness) < -SKEWED


def contrast_of(
    store: Store, conditions: ImagingConditions, dark_field: DoubleArray, *, undersampled: bool, ended: bool
) -> Contrast:
    """Compare the phase under some conditions with the dark field (rows, cols) and, after the scan, with atoms."""
    spectra, mean = Spectra.of(store, conditions), mean_bins(store)
    found = _phase_correlation(spectra, mean, dark_field, undersampled=undersampled)
    if not ended:
        return Contrast(found)
    finer = _finer(conditions, MOST_SKEWED_POINTS)
    phase = OptimumBrightField.build(conditions, mean, upsample=finer).image(spectra).astype(np.float64)
    strength, deconvolved = strength_under(store, conditions), None
    if strength.is_strong and strength.explained is not None:  # coarse steps, often far from focus: either may mislead
        deconvolved = _deconvolved_agreement(spectra, mean, dark_field)
    resolved = 0.5 / conditions.probe.semiangle_invA < RESOLVED_A
    return Contrast(found, Skewness.of(_inner(phase, spectra.visited, finer)).deviations, resolved, deconvolved)


def _inner(phase: DoubleArray, visited: BoolArray, finer: int) -> DoubleArray:
    """Return the part of a phase (rows, cols) that lies in the visited rows and columns, without its edges."""
    for axis in (0, 1):
        seen = finer * np.flatnonzero(visited.any(axis=1 - axis))[[0, -1]] + [0, finer]
        edge = round(EDGE * (seen[1] - seen[0]))
        phase = phase.take(np.arange(seen[0] + edge, seen[1] - edge), axis)
    return phase


def _phase_correlation(
    spectra: Spectra, mean: DoubleArray, dark_field: DoubleArray, *, undersampled: bool
) -> Agreement:
    """Return the correlation of the phase, blurred by the probe, with the dark field.

    Without the blur the test fails out of focus: the dark field (rows, cols) is seen through the probe. ``mean`` (N,):
    mean coefficients of patterns of unit sum. ``undersampled``: the phase is made as fine as the bright field
    resolves and the probe lets through, and compared at the points of the scan.
    """
    conditions = spectra.conditions
    finest = _finer(conditions, MOST_POINTS) if undersampled else 1
    blur = probe_transfer(conditions, finest)
    finer = _not_blurred_away(conditions, finest, blur)
    blur = blur if finer == finest else probe_transfer(conditions, finer)
    phase = OptimumBrightField.build(conditions, mean, upsample=finer).image(spectra)
    visited = spectra.visited.repeat(finer, axis=0).repeat(finer, axis=1)
    centred = np.where(visited, phase - phase[visited].mean(), 0.0)
    blurred = fft.ifft2(fft.fft2(centred, s=blur.shape) * blur).real[: phase.shape[0] : finer, : phase.shape[1] : finer]
    return agreement(blurred, dark_field, spectra.visited)


def _deconvolved_agreement(spectra: Spectra, mean: DoubleArray, dark_field: DoubleArray) -> Agreement:
    """Return the correlation with the dark field (rows, cols) of a phase that does not assume a weak specimen."""
    field = WignerDeconvolution.build(spectra.conditions, mean).field(spectra)
    return agreement(np.angle(field).astype(np.float64), dark_field, spectra.visited)


def _not_blurred_away(conditions: ImagingConditions, finer: int, blur: ComplexArray) -> int:
    """Return the part of a sampling factor whose frequencies are not lost by its blur (rows, cols) by the probe."""
    seen = np.abs(blur) > LEAST_TRANSFER
    axes = conditions.scan_grid(finer).axes(half=False)
    per_axis = (  # in grid points per scan point
        2 * step_A * np.abs(q[seen.any(axis=1 - axis)]).max()
        for axis, (q, step_A) in enumerate(zip(axes, conditions.step_A, strict=True))
    )
    return min(finer, max(1, math.ceil(float(max(per_axis)))))


def _finer(conditions: ImagingConditions, most_points: int) -> int:
    """Return the sampling factor relative to the scan that captures the bright field's resolution, if affordable."""
    wanted = math.ceil(4 * conditions.probe.semiangle_invA * max(conditions.step_A))
    rows, cols = conditions.padded
    return max(1, min(wanted, math.isqrt(most_points // (rows * cols))))


def agreement(phase: DoubleArray, dark_field: DoubleArray, visited: BoolArray) -> Agreement:
    """Correlate the ranks of two images (rows, cols) over the visited points, slow changes removed.

    Ranks are used because one heavy particle is not a weak phase object: it blocks the beam, and its shadow has the
    sign of the defocus, not of its phase. 0 for too few points.
    """
    points = int(visited.sum())
    if points < LEAST_POINTS:
        return Agreement(0.0, points=points)
    extent = min(int(visited.any(axis=1).sum()), int(visited.any(axis=0).sum()))
    sigma = max(2.0, extent / 8)

    def detail(image: DoubleArray) -> DoubleArray:
        ranks = np.zeros(image.shape)
        ranks[visited] = ranked(image[visited])
        filled = np.where(visited, ranks, ranks[visited].mean())
        values = filled - ndimage.gaussian_filter(filled, sigma)
        return np.where(visited, values - values[visited].mean(), 0.0)

    x, y = detail(phase), detail(dark_field)
    power = math.sqrt(float((x * x).sum() * (y * y).sum()))
    if power <= 0:
        return Agreement(0.0, points=points)
    correlation = float((x * y).sum()) / power
    displaced = fft.irfft2(fft.rfft2(x) * fft.rfft2(y).conj(), s=x.shape) / power
    return Agreement(correlation, float(max((-math.copysign(1.0, correlation) * displaced).max(), 0.0)), points)


def ranked(values: DoubleArray) -> DoubleArray:
    """Return ranks (n,) from 1; ties share their mean. Importing scipy.stats would take half a second."""
    _, position, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[position])
