"""Distortion of a detector, measured on the rings of a powder, of fine grains or of an amorphous film.

A ring is round about the beam, so the radius at which it was recorded shows, as a function of angle, how far it was
moved along the radius. In sectors of each ring, whose brightness may differ (few grains, a texture), the profile of the
whole ring is shifted until it fits. Displacement along a ring cannot be seen, so the displacement is assumed to have no
curl: it is the gradient of a polynomial, of which rings determine all but the round terms (size, barrel).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from ptylive.engine.calibrate.robust import OF_MEDIAN, huber_weights, is_significant
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray
from ptylive.schema.pattern.distortion import LARGEST, true_places
from ptylive.schema.pattern.distortion import terms as powers

INNERMOST_PX, KNOT_PX = 3.0, 1.0
"""Smallest radius of rings, and knot spacing of the spline that represents the radial profile."""
LEAST_HEIGHT_ERRORS, LEAST_HEIGHT_SHARE = 8.0, 0.02
"""Least height of a ring above its surroundings: in standard errors of the profile, and as a share of its height."""
MOST_RINGS = 12
"""Largest number of rings, the most prominent first: each adds its radius to the unknowns."""
SECTOR_PX, MOST_SECTORS, LEAST_SECTORS = 4.0, 72, 12
"""Least arc of a sector; most sectors of a ring, and fewest for a ring to be used."""
WORST_CONDITION = 1e12
"""Condition number of a sector's normal equations from which their solution has less than four digits."""
LEAST_PIXELS, LEAST_BRIGHTNESS = 8, 0.2
"""Limits for a sector: twice the four unknowns, and a share of its ring's brightness, below which it is a gap."""
APART = 1.15
"""Least ratio of the outermost to the innermost ring's radius at which terms that differ only in their radial course
can be separated."""
WEDGES = 8
"""Number of parts of the full circle; a fit is judged on each in turn, fitted to the others."""
ROUNDS, SETTLED = 12, 1e-6
"""Most corrections of the pattern, and the change, as a share of its size, from which it is measured no more."""
HUBER_ROUNDS = 5
"""Rounds of reweighting; the correction is measured again anyway, until it settles."""
MEDIAN_OF_SQUARE = 0.455
"""Median of the square of a normal variable of unit variance."""

GRADIENTS = np.zeros((10, 9, 2))
"""Coefficients (terms, 9, 2) of the gradient of r^k cos(m a) / k and r^k sin(m a) / k, whose radial component is
r^(k - 1) times the cosine or sine: (k, m) = (2, 2), (3, 3), (3, 1), (4, 4), (4, 2)."""
GRADIENTS[0][[0, 1], [0, 1]] = 1, -1
GRADIENTS[1][[1, 0], [0, 1]] = 1, 1
GRADIENTS[2][[2, 4, 3], [0, 0, 1]] = 1, -1, -2
GRADIENTS[3][[3, 2, 4], [0, 1, 1]] = 2, 1, -1
GRADIENTS[4][[2, 4, 3], [0, 0, 1]] = 1, 1 / 3, 2 / 3
GRADIENTS[5][[3, 2, 4], [0, 1, 1]] = 2 / 3, 1 / 3, 1
GRADIENTS[6][[5, 7, 6, 8], [0, 0, 1, 1]] = 1, -3, -3, 1
GRADIENTS[7][[6, 8, 5, 7], [0, 0, 1, 1]] = 3, -1, 1, -3
GRADIENTS[8][[5, 8], [0, 1]] = 1, -1
GRADIENTS[9][[6, 8, 5, 7], [0, 0, 1, 1]] = 1.5, 0.5, 0.5, 1.5
MODELS = ((0, 1), (0, 1, 2, 3, 4, 5), tuple(range(10)))
"""Terms of an ellipse, with those of second order added, and with those of third."""
OF_ONE_RING = (0, 1, 2, 3, 6, 7)
"""Terms that a single ring can distinguish from each other and from the beam's place."""


_Ring = tuple[float, DoubleArray]


@dataclass(frozen=True, eq=False)
class RingFit:
    """Coefficients (9, 2) of the distortion, and the rings used.

    center_px: of the rings, true pixels; radius_px (rings,); left_px: remaining displacement of sectors along the
    radius, root mean square.
    """

    coefficients: DoubleArray
    center_px: tuple[float, float]
    radius_px: DoubleArray
    left_px: float


@dataclass(frozen=True, eq=False)
class _Sectors:
    """Sectors of all rings, of radius_px (rings,): displacement (n,), px, along the radius and its standard error (n,),
    angle (n,), ring number (n,), true places (n, 2) and directions (n, 2) from the middle of the rings.
    """

    radius_px: DoubleArray
    shift_px: DoubleArray
    error_px: DoubleArray
    angle: DoubleArray
    ring: IndexArray
    place_px: DoubleArray
    outwards: DoubleArray

    @classmethod
    def of(cls, rings: list[_Ring], center_px: tuple[float, float]) -> _Sectors:
        parts = np.concatenate([np.zeros((0, 3)), *(part for _, part in rings)])
        number = np.repeat(np.arange(len(rings)), [len(part) for _, part in rings])
        radius = np.array([radius for radius, _ in rings])
        outwards = np.stack([np.cos(parts[:, 2]), np.sin(parts[:, 2])], axis=1)
        place = np.asarray(center_px) + radius[number, None] * outwards
        return cls(radius, parts[:, 0], parts[:, 1], parts[:, 2], number, place, outwards)


def of_rings(mean: DoubleArray, bad: BoolArray) -> RingFit | None:
    """Fit a scan's mean pattern (Qy, Qx) so that its rings become round; None if no rings are seen."""
    shape = mean.shape
    good = ~bad & np.isfinite(mean)
    if not good.any() or not mean[good].max() > 0:
        return None
    found = RingFit(np.zeros((9, 2)), middle_of(mean, good), np.zeros(0), 0.0)
    terms: tuple[int, ...] = ()
    for _ in range(ROUNDS):
        sectors = _sectors(mean, good, found)
        if not len(sectors.radius_px):
            return None
        needed = _significant_terms(sectors, shape)
        if len(needed) > len(terms):  # once terms are fitted, their residual no longer requires them
            terms = needed
        fit = _fit(sectors, terms, shape)
        change = np.tensordot(fit[2 : 2 + len(terms)], GRADIENTS[list(terms)], axes=1)
        center = (found.center_px[0] + fit[0], found.center_px[1] + fit[1])
        residual = sectors.shift_px - _design(sectors, terms, shape) @ fit
        found = RingFit(found.coefficients + change, center, sectors.radius_px, _rms(residual))
        if np.abs(found.coefficients).max() > LARGEST:
            return None
        if np.abs(change).max() < SETTLED and np.abs(fit[:2]).max() < max(shape) * SETTLED:
            break
    return replace(found, coefficients=_of_equal_area(found.coefficients))


def middle_of(mean: DoubleArray, good: BoolArray) -> tuple[float, float]:
    """Return the place (row, column), to half a pixel, about which a pattern (Qy, Qx) is centrosymmetric."""
    from scipy import fft

    plain = np.sqrt(np.maximum(np.where(good, mean, 0.0), 0.0))
    plain = np.where(good, plain - plain[good].mean(), 0.0)
    size = [2 * n for n in plain.shape]
    spectrum = fft.rfft2(plain, size)
    self_correlation = fft.irfft2(spectrum * spectrum, size)
    row, col = np.unravel_index(int(self_correlation.argmax()), self_correlation.shape)
    return float(row) / 2, float(col) / 2


def _sectors(mean: DoubleArray, good: BoolArray, found: RingFit) -> _Sectors:
    """Return the sectors of the rings that are seen."""
    counts = mean[good].astype(float)
    offset = true_places(np.argwhere(good).astype(float), found.coefficients, good.shape) - found.center_px
    pixels = _Pixels(np.hypot(*offset.T), np.arctan2(offset[:, 1], offset[:, 0]), counts)
    profile = _Profile.of(pixels)
    if profile is None:
        return _Sectors.of([], found.center_px)
    parts = [_of_ring(pixels, profile, *window) for window in profile.rings()]
    measured = [part for part in parts if len(part[1]) >= LEAST_SECTORS]
    return _Sectors.of(measured, found.center_px)


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Radius, and angle from row axis to column axis, of true places (n,), and the counts there (n,)."""

    radius_px: DoubleArray
    angle: DoubleArray
    counts: DoubleArray


@dataclass(frozen=True, eq=False)
class _Profile:
    """Radial profile of counts, a spline; noise: standard deviation of a pixel over the root of its counts."""

    spline: Any
    derivative: Any
    noise: float
    outermost_px: float

    @classmethod
    def of(cls, pixels: _Pixels) -> _Profile | None:
        """Fit the profile; None if there are too few pixels."""
        from scipy.interpolate import make_lsq_spline

        order = np.argsort(pixels.radius_px)
        order = order[pixels.radius_px[order] > INNERMOST_PX - KNOT_PX]
        if len(order) < LEAST_PIXELS * LEAST_SECTORS:
            return None
        radius, counts = pixels.radius_px[order], pixels.counts[order]
        knots = np.arange(radius[0] + KNOT_PX, radius[-1] - KNOT_PX, KNOT_PX)
        knots = knots[np.diff(np.searchsorted(radius, knots), prepend=0) > LEAST_PIXELS / 2]
        spread = np.sqrt(np.maximum(ndimage.uniform_filter1d(counts, LEAST_PIXELS), counts.max() * 1e-9))
        ends = [radius[0]] * 4, [radius[-1]] * 4
        spline = make_lsq_spline(radius, counts, np.concatenate([ends[0], knots, ends[1]]), w=1 / spread)
        deviation = np.abs(counts - spline(radius)) / spread
        return cls(spline, spline.derivative(), OF_MEDIAN * float(np.median(deviation)), float(radius[-1]))

    def rings(self) -> list[tuple[float, float, float]]:
        """Return radius, inner and outer limit of each ring, pixels."""
        from scipy import signal  # takes two thirds of a second to import

        radius = np.arange(INNERMOST_PX, self.outermost_px - KNOT_PX, KNOT_PX / 4)
        height = self.spline(radius)
        peaks, properties = signal.find_peaks(height, prominence=0.0)
        error = self.noise * np.sqrt(np.maximum(height[peaks], 0.0) / (2 * np.pi * radius[peaks] * KNOT_PX))
        least_height = np.maximum(LEAST_HEIGHT_ERRORS * error, LEAST_HEIGHT_SHARE * height[peaks])
        stands_out = properties["prominences"] > least_height
        best = np.argsort(-properties["prominences"] * stands_out)[: min(MOST_RINGS, int(stands_out.sum()))]
        kept = np.sort(peaks[best])
        least = [int(a + height[a:b].argmin()) for a, b in itertools.pairwise([0, *kept, len(radius)])]
        out = []
        for peak, low, high in zip(kept, least[:-1], least[1:], strict=True):
            reach = 2 * min(peak - low, high - peak)
            out.append(
                (float(radius[peak]), float(radius[max(low, peak - reach)]), float(radius[min(high, peak + reach)]))
            )
        return out


def _of_ring(pixels: _Pixels, profile: _Profile, radius_px: float, low: float, high: float) -> _Ring:
    """Return a ring's radius (px), and shift, its standard error (both px) and angle (sectors, 3) where it is seen.

    Each sector is modelled as the shifted profile with free brightness, on its own background.
    """
    inside = (pixels.radius_px > low) & (pixels.radius_px < high)
    r, angle, counts = (part[inside] for part in (pixels.radius_px, pixels.angle, pixels.counts))
    number = int(np.clip(2 * np.pi * radius_px / SECTOR_PX, LEAST_SECTORS, MOST_SECTORS))
    sector = np.minimum(((angle / (2 * np.pi) + 0.5) * number).astype(int), number - 1)
    expected = profile.spline(r)
    ends = profile.spline(np.array([low, high]))
    across = (r - radius_px) / (high - low)
    ring = expected - np.interp(r, [low, high], ends)
    design = np.stack([ring, -profile.derivative(r), np.ones_like(r), across], axis=1)
    weight = 1 / (profile.noise * np.sqrt(np.maximum(expected, expected.max() * 1e-3)))
    out = []
    for in_sector in (sector == n for n in range(number)):
        if in_sector.sum() < LEAST_PIXELS or np.ptp(r[in_sector]) < (high - low) / 2:
            continue
        weighted = design[in_sector] * weight[in_sector, None]
        normal = weighted.T @ weighted
        if np.linalg.cond(normal) > WORST_CONDITION:
            continue
        inverse = np.linalg.inv(normal)
        fit = inverse @ (weighted.T @ (counts[in_sector] * weight[in_sector]))
        if fit[0] > LEAST_BRIGHTNESS:
            out.append((fit[1] / fit[0], math.sqrt(inverse[1, 1]) / fit[0], float(np.mean(angle[in_sector]))))
    return radius_px, np.reshape(out, (-1, 3))


def _design(sectors: _Sectors, terms: Sequence[int], shape: tuple[int, ...]) -> DoubleArray:
    """Return derivatives of the radial shift (n, 2 + terms + rings), px, by centre, terms and radii of rings."""
    half = max(shape) / 2
    u = (sectors.place_px - (np.asarray(shape) - 1) / 2) / half
    displacement = half * np.tensordot(powers(u), GRADIENTS[list(terms)], axes=(1, 1))
    radial = np.einsum("ntx,nx->nt", displacement, sectors.outwards)
    of_its_ring = sectors.ring[:, None] == np.arange(len(sectors.radius_px))
    return np.concatenate([sectors.outwards, radial, of_its_ring], axis=1)


def _fit(
    sectors: _Sectors, terms: Sequence[int], shape: tuple[int, ...], chosen: BoolArray | None = None
) -> DoubleArray:
    """Fit (2 + terms + rings,) by least squares with Huber weights to the ``chosen`` sectors (n,)."""
    design, weight = _design(sectors, terms, shape), 1 / sectors.error_px
    if chosen is not None:
        weight = weight * chosen
    fit: DoubleArray = np.zeros(design.shape[1])
    trust = np.ones(len(weight))
    for _ in range(HUBER_ROUNDS):
        root = weight * np.sqrt(trust)
        fit = np.asarray(np.linalg.lstsq(design * root[:, None], sectors.shift_px * root, rcond=None)[0])
        deviation = np.abs(sectors.shift_px - design @ fit) * weight
        trust = huber_weights(deviation, float(np.median(deviation[weight > 0])))
    return np.asarray(fit)


def _significant_terms(sectors: _Sectors, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the terms of the simplest distortion that the left-out parts of the circle require."""
    several = sectors.radius_px[-1] > APART * sectors.radius_px[0]
    best: tuple[int, ...] = ()
    errors = _held_out_errors(sectors, best, shape)
    for model in MODELS:
        terms = tuple(term for term in model if several or term in OF_ONE_RING)
        model_errors = _held_out_errors(sectors, terms, shape)
        if is_significant(errors - model_errors):
            best, errors = terms, model_errors
    return best


def _held_out_errors(sectors: _Sectors, terms: Sequence[int], shape: tuple[int, ...]) -> DoubleArray:
    """Return the median squared error, in standard errors, in each part (wedges,) of a fit to the other parts."""
    wedge = np.floor((sectors.angle / (2 * np.pi) + 0.5) * WEDGES).astype(int).clip(0, WEDGES - 1)
    design, out = _design(sectors, terms, shape), []
    for held_out in (wedge == n for n in np.unique(wedge)):
        deviation = (sectors.shift_px - design @ _fit(sectors, terms, shape, ~held_out)) / sectors.error_px
        out.append(float(np.median(deviation[held_out] ** 2)))
    return np.asarray(out)


def _rms(left_px: DoubleArray) -> float:
    """Return the root mean square of residuals of sectors, robust against outliers."""
    return float(np.sqrt(np.median(left_px**2) / MEDIAN_OF_SQUARE)) if len(left_px) else 0.0


def _of_equal_area(coefficients: DoubleArray) -> DoubleArray:
    """Return coefficients whose linear terms preserve areas, which rings do not determine."""
    out = coefficients.copy()
    linear = np.eye(2) + out[:2].T
    out[:2] = (linear / math.sqrt(np.linalg.det(linear)) - np.eye(2)).T
    return out
