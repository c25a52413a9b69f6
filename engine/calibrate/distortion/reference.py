"""Distortion of recorded patterns, measured on a mean pattern: on a grating's or a crystal's spots, on the rings of a
powder or an amorphous film, or on a disc.

Spots of a lattice determine all terms to third order except those that the lattice itself may have: its size and,
unless its cell is known to be a square, its shape. A disc is round, so its edge determines the two terms of an ellipse.
Undetermined terms are 0, and areas are preserved. Rings: :mod:`ptylive.engine.calibrate.distortion.rings`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from scipy import ndimage, optimize

from ptylive.engine.calibrate.disc import find_disc
from ptylive.engine.calibrate.distortion.rings import of_rings
from ptylive.engine.calibrate.robust import OF_MEDIAN
from ptylive.schema import MetadataError
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray
from ptylive.schema.pattern.distortion import numbers_of, terms

Reference = Literal["any", "square", "lattice", "rings", "disc"]
REFERENCES: tuple[Reference, ...] = get_args(Reference)
RAYS = 180
"""Number of directions in which the edge of a disc is looked for."""
LEAST_SPOTS = 21
"""Least number of spots: twice the parameters of a cubic distortion, counted along both axes."""
LEAST_HEIGHT = 6.0
"""Least height of a spot above its surroundings, in their standard deviations."""
NEAR = 0.25
"""Largest distance, in cells, of a spot from the lattice site that it is assigned to."""
SPOT_PX = 3
"""Half side of the box in which a spot is the brightest pixel and its centroid is taken: closer spots are one."""


@dataclass(frozen=True)
class FoundDistortion:
    """18 numbers (``schema/pattern/distortion.py``), what they were measured on, and the residual, px rms."""

    numbers: tuple[float, ...]
    on: str
    left_px: float


def find_distortion(mean: DoubleArray, bad: BoolArray, on: Reference = "any") -> FoundDistortion:
    """Measure the distortion on a mean pattern (Qy, Qx); ``on``: what it is known to show.

    any: spots of a lattice if there are enough, and otherwise the disc; square: spots of a lattice known to be square.
    Raises MetadataError if that is not seen.
    """
    if on == "rings":
        return on_rings(mean, bad)
    if on != "disc":
        places = find_spots(mean, bad)
        found = None if len(places) < LEAST_SPOTS else of_lattice(places, mean.shape, square=on == "square")
        if found is not None:
            return found
        if on != "any":
            raise MetadataError("no lattice of spots is visible", "use a scan of a grating or of a thin crystal")
    return of_disc(mean, bad)


def on_rings(mean: DoubleArray, bad: BoolArray) -> FoundDistortion:
    """Measure the distortion on the rings of a mean pattern (Qy, Qx). Raises MetadataError if none are seen."""
    found = of_rings(mean, bad)
    if found is None:
        raise MetadataError("no rings are visible", "use a scan of fine grains or of an amorphous film")
    radii = ", ".join(f"{radius:.0f}" for radius in found.radius_px)
    number = "a ring" if len(found.radius_px) == 1 else f"{len(found.radius_px)} rings"
    return FoundDistortion(numbers_of(found.coefficients), f"{number} at {radii} px", found.left_px)


def find_spots(mean: DoubleArray, bad: BoolArray) -> DoubleArray:
    """Return the centres (n, 2) of spots, pixels, the brightest first."""
    plain = np.where(bad, np.median(mean[~bad]), mean)
    soft = ndimage.gaussian_filter(plain, 1.0)
    background = ndimage.median_filter(soft, 4 * SPOT_PX + 1)
    relief = soft - background
    noise = OF_MEDIAN * float(np.median(np.abs(relief - np.median(relief)))) + 1e-12
    peak = (relief == ndimage.maximum_filter(relief, 2 * SPOT_PX + 1)) & (relief > LEAST_HEIGHT * noise)
    peak[:SPOT_PX], peak[-SPOT_PX:], peak[:, :SPOT_PX], peak[:, -SPOT_PX:] = False, False, False, False
    found = np.argwhere(peak)
    found = found[np.argsort(-relief[tuple(found.T)])]
    return np.array([_centroid(relief, row, col) for row, col in found.tolist()]).reshape(-1, 2)


def _centroid(relief: DoubleArray, row: int, col: int) -> DoubleArray:
    """Return the centroid of the excess around a pixel, iterated around the result."""
    position = np.array([row, col], dtype=float)
    for _ in range(4):
        r, c = np.rint(position).astype(int)
        r, c = (int(np.clip(v, SPOT_PX, n - SPOT_PX - 1)) for v, n in zip((r, c), relief.shape, strict=True))
        part = np.clip(relief[r - SPOT_PX : r + SPOT_PX + 1, c - SPOT_PX : c + SPOT_PX + 1], 0, None)
        offsets = np.indices(part.shape) - SPOT_PX
        weight = part * np.exp(
            -0.5 * ((offsets[0] + r - position[0]) ** 2 + (offsets[1] + c - position[1]) ** 2) / 1.5**2
        )
        position = np.array([r, c]) + (weight * offsets).sum(axis=(1, 2)) / max(weight.sum(), 1e-12)
    return position


def of_lattice(places: DoubleArray, shape: tuple[int, ...], *, square: bool = False) -> FoundDistortion | None:
    """Return the distortion that puts spots (n, 2) on a lattice; None if they lie on none."""
    indexed = _indexed(places)
    if indexed is None:
        return None
    spots, index = indexed
    half = max(shape) / 2
    lattice = _Lattice(index, (spots - (np.array(shape) - 1) / 2) / half, square)
    found: Any = optimize.least_squares(lattice.residual, lattice.start(), loss="soft_l1", f_scale=1 / half)
    error_px = half * float(np.sqrt(np.median((lattice.residual(found.x).reshape(-1, 2) ** 2).sum(axis=1))))
    return FoundDistortion(numbers_of(lattice.coefficients(found.x)), f"{len(spots)} spots of a lattice", error_px)


@dataclass(frozen=True, eq=False)
class _Lattice:
    """Spots (n, 2) with their indices; parameters: origin (2), cell (2 for a square, otherwise 4), ellipse (2, for a
    square only: otherwise the cell absorbs all linear terms), and the fourteen of second and third order.
    """

    index: IndexArray
    recorded: DoubleArray
    square: bool

    def start(self) -> DoubleArray:
        """Return the parameters (n,) of the best lattice without distortion."""
        first = self._plain()
        cell = first[:2].ravel()
        if self.square:  # the square nearest to the fitted cell, with its handedness
            hand = self._hand
            turned = (first[0] + hand * np.array([first[1, 1], -first[1, 0]])) / 2
            cell = np.array([*turned, 0.0, 0.0])
        return np.concatenate([first[2], cell, np.zeros(14)])

    def _plain(self) -> DoubleArray:
        """Return cell and origin (3, 2) of the best lattice."""
        plane = np.column_stack([self.index, np.ones(len(self.index))])
        return np.asarray(np.linalg.lstsq(plane, self.recorded, rcond=None)[0], dtype=float)

    @cached_property
    def _hand(self) -> float:
        return float(np.sign(np.linalg.det(self._plain()[:2])))

    def true(self, x: DoubleArray) -> DoubleArray:
        """Return places (n, 2) on the lattice."""
        cell = x[2:6].reshape(2, 2)
        if self.square:
            cell = np.array([x[2:4], self._hand * np.array([-x[3], x[2]])])
        return np.asarray(self.index @ cell + x[:2])

    def coefficients(self, x: DoubleArray) -> DoubleArray:
        """Return the coefficients of the distortion, (9, 2)."""
        out = np.zeros((9, 2))
        if self.square:
            out[:2] = [[x[4], x[5]], [x[5], -x[4]]]
        out[2:] = x[6:].reshape(7, 2)
        return out

    def residual(self, x: DoubleArray) -> DoubleArray:
        """Return the displacement (2 spots,) of recorded spots from their modelled places under parameters (n,)."""
        true = self.true(x)
        return np.asarray((true + terms(true) @ self.coefficients(x) - self.recorded).ravel())


def _indexed(places: DoubleArray) -> tuple[DoubleArray, IndexArray] | None:
    """Return lattice spots and their indices (n, 2), from the middle outwards, each found by its neighbours' cell."""
    from scipy.spatial import KDTree

    tree = KDTree(places)
    first = int(np.argmin(np.hypot(*(places - np.median(places, axis=0)).T)))
    nearest = np.asarray(tree.query(places[first], k=min(7, len(places)))[1])[1:]
    neighbours = places[nearest] - places[first]
    first_edge = neighbours[0]
    across = [
        v
        for v in neighbours
        if abs(first_edge[0] * v[1] - first_edge[1] * v[0]) > 0.5 * np.hypot(*first_edge) * np.hypot(*v)
    ]
    if not across:
        return None
    indices: dict[int, tuple[int, int]] = {first: (0, 0)}
    cells: dict[int, DoubleArray] = {first: np.array([first_edge, across[0]])}
    queue = [first]
    while queue:
        current = queue.pop(0)
        for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
            distance, spot = tree.query(places[current] + sign * cells[current][axis])
            if distance > NEAR * np.hypot(*cells[current][axis]) or int(spot) in indices:
                continue
            step = [0, 0]
            step[axis] = sign
            cell = cells[current].copy()
            cell[axis] = sign * (places[spot] - places[current])
            indices[int(spot)] = (indices[current][0] + step[0], indices[current][1] + step[1])
            cells[int(spot)] = cell
            queue.append(int(spot))
    if len(indices) < LEAST_SPOTS:
        return None
    chosen = list(indices)
    return places[chosen], np.array([indices[n] for n in chosen], dtype=np.int64)


def of_disc(mean: DoubleArray, bad: BoolArray) -> FoundDistortion:
    """Return the distortion from the ellipse of the disc's edge in a mean pattern (Qy, Qx).

    Raises MetadataError if no disc is seen.
    """
    disc = find_disc(mean, bad)
    if disc is None:
        raise MetadataError(
            "neither a disc nor a lattice of spots is visible", "use a vacuum scan, or a scan of a grating"
        )
    filled = ndimage.gaussian_filter(np.where(bad, np.median(mean[~bad]), mean), 0.7)
    angle = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    radius = np.arange(0.6, 1.4, 0.1 / disc.radius_px) * disc.radius_px
    ray = np.stack([np.cos(angle), np.sin(angle)])
    points = np.asarray(disc.center_px)[:, None, None] + ray[:, :, None] * radius
    profile = ndimage.map_coordinates(filled, points, order=1, mode="nearest")
    level = (np.median(profile[:, : len(radius) // 8]) + np.median(profile[:, -len(radius) // 8 :])) / 2
    edge = radius[np.argmax(profile < level, axis=1)]
    waves = np.stack([np.ones(RAYS), *(f(m * angle) for m in (1, 2) for f in (np.cos, np.sin))], axis=1)
    weight = np.ones(RAYS)
    for _ in range(5):  # reduces the weight of spots on the edge
        fit = np.linalg.lstsq(waves * weight[:, None], edge * weight, rcond=None)[0]
        residual = edge - waves @ fit
        weight = 1 / np.sqrt(1 + (residual / 0.3) ** 2)
    stretch = fit[3:] / fit[0]
    out = np.zeros((9, 2))
    out[:2] = [[stretch[0], stretch[1]], [stretch[1], -stretch[0]]]
    return FoundDistortion(numbers_of(out), "the edge of the disc", float(np.median(np.abs(residual))))
