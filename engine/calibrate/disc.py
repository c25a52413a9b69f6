"""Bright-field disc of the mean diffraction pattern: centre, radius, and displacement of its edge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ptylive.schema.model import Array, BoolArray, DoubleArray

RING_PX = 3.5
"""Half width of the ring around the disc's edge that is evaluated."""
SMOOTH_PX = 0.7
"""Standard deviation of the Gaussian applied to patterns and their gradient: detail finer than two pixels is misread by
pixels, and moved the wrong way by interpolation."""
GRADIENT = np.array([1, -8, 0, 8, -1]) / 12
"""Derivative weights of pixels two before to two after; neighbours alone make a one-pixel edge seem 10 % too flat."""
REACH_PX = 2
"""Truncation of the Gaussian along either axis: three standard deviations."""

LEAST_EDGE_POINTS = 12
"""Fewest points on the edge of a disc that is cut off: four times the unknowns of a circle."""
LARGEST_DEVIATION_PX, LARGEST_DEVIATION = 0.5, 0.03
"""Deviation of the edge from a circle, root mean square, in pixels or radii, up to which a disc cut off is one."""


@dataclass(frozen=True)
class Disc:
    """Centre (row, col) in recorded pixels and radius in pixels."""

    center_px: tuple[float, float]
    radius_px: float


@dataclass(frozen=True, eq=False)
class DiscEdge:
    """Estimator of the displacement of a disc's edge, from the counts around it, relative to a mean pattern.

    Least squares: a pattern is the mean one, times a brightness that may tilt across the disc, minus the displacement
    times its gradient, all of it smoothed. weights (5, pixels): weight of each pixel of :func:`edge_of` in the two
    displacements, the brightness and its two tilts.
    """

    weights: DoubleArray

    @classmethod
    def of(cls, mean_pattern: DoubleArray, disc: Disc) -> DiscEdge:
        """Make the estimator from a mean pattern (Qy, Qx)."""
        mean, shape = _smooth(mean_pattern), mean_pattern.shape
        tilt = [mean * axis / disc.radius_px for axis in _from_center(disc, shape)]
        slopes = [ndimage.correlate1d(mean, GRADIENT, axis, mode="constant") for axis in (0, 1)]
        ring = _ring(disc, shape, RING_PX)
        design = np.stack([part[ring] for part in (*slopes, mean, *tilt)], axis=1)
        images = np.zeros((design.shape[1], *shape))
        images[:, ring] = np.linalg.pinv(design)
        edge = edge_of(disc, shape)
        return cls(np.stack([_smooth(image)[edge] for image in images]))  # a Gaussian is its own transpose

    def shifts(self, counts: Array) -> DoubleArray:
        """Return the displacement (n, 2), pixels, from counts (n, pixels) of the pixels of :func:`edge_of`."""
        fit = self.weights @ counts.T
        return np.asarray(-(fit[:2] / np.where(np.abs(fit[2]) > 1e-12, fit[2], np.inf)).T)


def edge_of(disc: Disc, shape: tuple[int, ...]) -> BoolArray:
    """Return the pixels (Qy, Qx) around the edge of a disc that determine its place."""
    return _ring(disc, shape, RING_PX + math.sqrt(2) * REACH_PX)


def beyond(disc: Disc, shape: tuple[int, ...], distance_px: float) -> BoolArray:
    """Return the pixels (Qy, Qx) further than that from the middle of a disc."""
    return np.asarray(np.hypot(*_from_center(disc, shape)) > distance_px)


def _ring(disc: Disc, shape: tuple[int, ...], half_width_px: float) -> BoolArray:
    return np.asarray(np.abs(np.hypot(*_from_center(disc, shape)) - disc.radius_px) < half_width_px)


def _from_center(disc: Disc, shape: tuple[int, ...]) -> tuple[DoubleArray, DoubleArray]:
    """Return rows and columns (Qy, Qx) of pixels, relative to the middle of a disc."""
    rows, cols = np.indices(shape)
    return rows - disc.center_px[0], cols - disc.center_px[1]


def _smooth(image: DoubleArray) -> DoubleArray:
    return np.asarray(ndimage.gaussian_filter(image, SMOOTH_PX, mode="constant", radius=REACH_PX))


def find_disc(mean_pattern: DoubleArray, bad: BoolArray) -> Disc | None:
    """Find the disc of equal area at half of its own plateau in a mean pattern (Qy, Qx); None if nothing stands out.

    The plateau is the median inside a first guess, so that hot spots of a crystal do not set the level
    (a nominal semi-angle wrong by 2.6 % moves the fitted defocus by 4 %).
    """
    pattern = _patched(mean_pattern, bad)
    smooth = ndimage.gaussian_filter(pattern, max(0.5, min(pattern.shape) / 128))
    peak = float(np.percentile(smooth, 99.5))
    if not peak > 0:
        return None
    region = _largest_part(smooth > 0.5 * peak)
    for _ in range(3):
        plateau = float(np.median(pattern[region]))
        grown = _largest_part(smooth > 0.5 * plateau)
        if not (plateau > 0 and 4 <= grown.sum() <= 0.9 * grown.size):
            return None
        region = grown
    cut_off = _circle_through(smooth / plateau, region) if _touches_border(region) else None
    if cut_off is not None:
        return cut_off
    # between the two thresholds a pixel counts fractionally: edge pixels carry the sub-pixel information
    share = np.clip((pattern / plateau - 0.25) / 0.5, 0.0, 1.0) * ndimage.binary_dilation(region, iterations=2)
    share = np.where(ndimage.binary_erosion(region, iterations=2), 1.0, share)
    rows, cols = np.indices(pattern.shape)
    area = float(share.sum())
    center = (float((share * rows).sum() / area), float((share * cols).sum() / area))
    return Disc(center, float(np.sqrt(area / np.pi)))


def _touches_border(region: BoolArray) -> bool:
    return bool(region[[0, -1]].any() or region[:, [0, -1]].any())


def _circle_through(height: DoubleArray, region: BoolArray) -> Disc | None:
    """Return the circle through the edge of a disc of which a part is beyond the detector; None if it is no circle.

    ``height``: pattern over plateau. The edge is where it falls through a half between neighbouring pixels; the circle
    is the one of least algebraic distance (Kåsa 1976).
    """
    points = []
    for axis in (0, 1):
        inside, values = np.moveaxis(region, axis, 0), np.moveaxis(height, axis, 0)
        row, col = np.nonzero(inside[1:] != inside[:-1])
        share = (values[row, col] - 0.5) / (values[row, col] - values[row + 1, col])
        along = row + np.clip(share, 0.0, 1.0)
        points.append(np.stack([along, col] if axis == 0 else [col, along], axis=1))
    edge = np.concatenate(points).astype(float)
    if len(edge) < LEAST_EDGE_POINTS:
        return None
    design = np.concatenate([2 * edge, np.ones((len(edge), 1))], axis=1)
    row0, col0, rest = np.linalg.lstsq(design, (edge**2).sum(axis=1), rcond=None)[0]
    radius = math.sqrt(max(rest + row0**2 + col0**2, 0.0))
    away = np.hypot(edge[:, 0] - row0, edge[:, 1] - col0) - radius
    is_round = np.sqrt((away**2).mean()) < max(LARGEST_DEVIATION_PX, LARGEST_DEVIATION * radius)
    return Disc((float(row0), float(col0)), radius) if is_round else None


def _patched(pattern: DoubleArray, bad: BoolArray) -> DoubleArray:
    """Return the pattern with bad pixels replaced by the mean of the good ones around them."""
    pattern = np.asarray(pattern, dtype=float)
    if not bad.any():
        return pattern
    good = ndimage.uniform_filter((~bad).astype(float), 5)
    neighbours = ndimage.uniform_filter(np.where(bad, 0.0, pattern), 5) / np.maximum(good, 1e-6)
    return np.where(bad, neighbours, pattern)


def _largest_part(mask: BoolArray) -> BoolArray:
    """Return the largest connected part of a mask, holes filled."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    return filled(labels == 1 + int(np.argmax(sizes)))


def filled(mask: BoolArray) -> BoolArray:
    """Return a mask (Qy, Qx) with its holes filled: regions outside it that touch no edge of the image.

    Same result as scipy.ndimage.binary_fill_holes, but by labels; that function grows the outside a pixel at a time.
    """
    labels, count = ndimage.label(~mask)
    outside = np.zeros(count + 1, dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[edge] = True
    outside[0] = False  # the mask itself
    return np.asarray(~outside[labels], dtype=bool)
