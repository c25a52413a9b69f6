"""From patterns to a tilt series: spots on a lattice fitted to the mean pattern, minus the background of a ring.

Patterns that are not de-scanned move over the detector with the tilt; each is evaluated relative to its own centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.errors import InputFileError
from ptylive.schema.model import Array, DoubleArray, FloatArray, IndexArray

ROTATIONS = 360
"""Directions of the lattice that are tried, over half a turn."""
SPOT_SHARE, RING_SHARES = 0.3, (0.35, 0.5)
"""Radii of a spot and of the ring around it, relative to the distance of neighbours."""
LEAST_SPACING_PX = 5.0
"""Least distance of spots: closer ones have no ring between them."""
FITS = 4
CLEARLY = 1.02
"""Factor by which a direction must beat earlier ones: among the equal ones of a symmetric lattice the first wins."""
VISIBLE_SHARE = 1e-3
"""Spots used to fit the lattice to the mean pattern are above this fraction of the brightest."""


@dataclass(frozen=True)
class Lattice:
    """Positions of the spots of a pattern: centre + h b1 + k b2."""

    centre_px: DoubleArray
    """(2,) position of the central spot."""
    basis_px: DoubleArray
    """(2, 2) rows b1, b2."""

    @property
    def spacing_px(self) -> float:
        """Least distance of two spots."""
        a, b = self.basis_px
        return float(min(np.linalg.norm(v) for v in (a, b, a + b, a - b)))

    def places(self, hk: IndexArray) -> DoubleArray:
        """(M, 2) positions in pixels."""
        return np.asarray(self.centre_px + hk @ self.basis_px)

    def inside(self, shape: tuple[int, int], shifts_px: DoubleArray) -> IndexArray:
        """(M, 2) orders whose spots and rings are on the detector in every pattern."""
        reach = int(np.ceil(max(shape) / self.spacing_px)) + 1
        orders = np.arange(-reach, reach + 1)
        hk = np.stack(np.meshgrid(orders, orders, indexing="ij"), axis=-1).reshape(-1, 2)
        margin = RING_SHARES[1] * self.spacing_px
        places, fits = self.places(hk), np.ones(len(hk), bool)
        for shift in (shifts_px.min(axis=0), shifts_px.max(axis=0)):
            moved = places + shift
            fits &= np.all((moved >= margin) & (moved <= np.array(shape) - 1 - margin), axis=1)
        return np.asarray(hk[fits])


def mean_at_rest(patterns: Array, shifts_px: DoubleArray) -> FloatArray:
    """(Qy, Qx) mean of patterns (N, Qy, Qx), each shifted back by whole pixels; what leaves the frame is lost."""
    total = np.zeros(patterns.shape[1:], np.float64)
    count = np.zeros(patterns.shape[1:], np.float64)
    for pattern, shift in zip(patterns, np.rint(shifts_px).astype(int), strict=True):
        target, source = zip(*(_overlap(n, s) for n, s in zip(pattern.shape, shift, strict=True)), strict=True)
        total[target] += pattern[source]
        count[target] += 1
    return np.asarray(total / np.maximum(count, 1), dtype=np.float32)


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Target and source pixels along a side that is shifted by -shift."""
    return slice(max(0, -shift), size - max(0, shift)), slice(max(0, shift), size - max(0, -shift))


def fit_lattice(mean: FloatArray, reciprocal_invA: DoubleArray, pixel_invA: float) -> Lattice:
    """Fit the lattice to the mean pattern (Qy, Qx), its centre on the brightest spot.

    reciprocal_invA (2, 2): rows b1, b2 in any orientation. Raises InputFileError if spots are too close, or if no
    lattice of these lengths is found.
    """
    basis = reciprocal_invA / pixel_invA
    start = Lattice(np.array(np.unravel_index(int(mean.argmax()), mean.shape), dtype=np.float64), basis)
    if start.spacing_px < LEAST_SPACING_PX:
        raise InputFileError(
            f"spots are {start.spacing_px:.1f} pixels apart, {LEAST_SPACING_PX:.0f} are needed",
            "check cell, energy_eV and detector_pixel_mrad, or use a longer camera length",
        )
    start = Lattice(_centroid(mean, start.centre_px, start.spacing_px / 2), basis)
    root, best, most = np.sqrt(mean.clip(0)), start, 0.0
    no_shift = np.zeros((1, 2))
    for angle in np.pi * np.arange(ROTATIONS) / ROTATIONS:
        turned = Lattice(start.centre_px, basis @ _turn(float(angle)).T)
        pixels = np.rint(turned.places(_reflections(turned, mean.shape, no_shift))).astype(int)
        mean_amplitude = float(root[pixels[:, 0], pixels[:, 1]].mean()) if len(pixels) else 0.0
        if mean_amplitude > CLEARLY * most:
            best, most = turned, mean_amplitude
    for _ in range(FITS):
        best = _fitted(mean, best)
    stretch = np.linalg.norm(best.basis_px, axis=1) / np.linalg.norm(basis, axis=1)
    if np.abs(stretch - 1).max() > 0.1:
        raise InputFileError(
            "the mean pattern shows no lattice of this cell", "check cell, energy_eV and detector_pixel_mrad"
        )
    return best


def _reflections(lattice: Lattice, shape: tuple[int, ...], shift: DoubleArray) -> IndexArray:
    hk = lattice.inside((shape[0], shape[1]), shift)
    return np.asarray(hk[np.abs(hk).max(axis=1) > 0])


def _fitted(mean: FloatArray, lattice: Lattice) -> Lattice:
    """Least-squares fit to the centroids of the visible spots."""
    hk = lattice.inside((mean.shape[0], mean.shape[1]), np.zeros((1, 2)))
    places = lattice.places(hk)
    centroids = np.array([_centroid(mean, place, SPOT_SHARE * lattice.spacing_px) for place in places])
    pixels = np.rint(places).astype(int)
    light = mean[pixels[:, 0], pixels[:, 1]].clip(0)
    near = np.abs(centroids - places).max(axis=1) < SPOT_SHARE * lattice.spacing_px
    visible = near & (light > VISIBLE_SHARE * light.max())
    if np.linalg.matrix_rank(hk[visible] - hk[visible].mean(axis=0)) < 2:
        return lattice
    design = np.column_stack([np.ones(len(hk)), hk])[visible]
    weight = np.sqrt(light[visible])[:, None]
    found, *_ = np.linalg.lstsq(design * weight, centroids[visible] * weight, rcond=None)
    return Lattice(found[0], found[1:])


def _centroid(mean: FloatArray, place: DoubleArray, radius: float) -> DoubleArray:
    reach = int(np.ceil(radius))
    middle = np.rint(place).astype(int)
    low = np.maximum(middle - reach, 0)
    patch = mean[low[0] : middle[0] + reach + 1, low[1] : middle[1] + reach + 1].astype(np.float64)
    patch = (patch - np.median(patch)).clip(0)
    total = patch.sum()
    if total <= 0:
        return np.asarray(place, dtype=np.float64)
    rows, cols = np.indices(patch.shape)
    return np.asarray(np.array([(rows * patch).sum(), (cols * patch).sum()]) / total + low)


def _turn(angle: float) -> DoubleArray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def integrate(patterns: Array, lattice: Lattice, hk: IndexArray, shifts_px: DoubleArray) -> FloatArray:
    """(N, M) counts in spots, after subtracting the mean of the ring around each from its pixels.

    shifts_px: (N, 2) shift of each pattern from the first lattice.
    """
    spacing = lattice.spacing_px
    reach = int(np.ceil(RING_SHARES[1] * spacing)) + 1
    rows, cols = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    out = np.empty((len(patterns), len(hk)), np.float32)
    limits = np.array(patterns.shape[1:]) - 1
    for number, (pattern, shift) in enumerate(zip(patterns, shifts_px, strict=True)):
        places = lattice.places(hk) + shift
        middle = np.rint(places).astype(int)
        at_row = (middle[:, 0, None, None] + rows).clip(0, limits[0])
        at_col = (middle[:, 1, None, None] + cols).clip(0, limits[1])
        distance = np.hypot(at_row - places[:, 0, None, None], at_col - places[:, 1, None, None])
        values = pattern[at_row, at_col].astype(np.float64)
        spot = distance <= SPOT_SHARE * spacing
        ring = (distance >= RING_SHARES[0] * spacing) & (distance <= RING_SHARES[1] * spacing)
        level = (values * ring).sum(axis=(1, 2)) / np.maximum(ring.sum(axis=(1, 2)), 1)
        out[number] = (values * spot).sum(axis=(1, 2)) - level * spot.sum(axis=(1, 2))
    return out
