"""Actual positions of scan points off a regular grid: drifted, position-corrected, or lists of positions.

Maps of such a scan still lie on a regular grid: that of the nominal scan if there is one (pixel (0, 0) on the first
nominal point), and otherwise a grid along the detector's axes with one pixel per point. A point represents the area
around it (its Voronoi cell), so that crowded regions do not outweigh sparse ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np

from ptylive.engine.imaging.noise.rings import HALVES, LEAK, quiet_shift
from ptylive.schema import MetadataError, Scan, ScanHeader
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray
from ptylive.schema.scan import rotation_matrix

log = logging.getLogger(__name__)

LARGEST_CELL = 2.0
"""Largest area in pixels that a point at the rim, or next to a hole, may represent."""
MOST_CELLS = 2**18
"""Number of points above which cells take too long; every point then represents the same area."""
ROUNDING = 1e-6
"""Rounding error, in steps, of the extent of positions, which must not add a row or a column."""
LEAST_WEIGHT = 0.25
"""Share of a point that a pixel must have received to count as visited."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Scan points on the grid of the maps.

    at: (points, 2) in pixels of the maps; weight: (points,) number of pixels that each represents; rotation_deg: map
    axes to detector axes.
    """

    at: DoubleArray
    weight: FloatArray
    shape: tuple[int, int]
    step_A: tuple[float, float]
    rotation_deg: float
    origin_A: tuple[float, float]
    """Position of pixel (0, 0) in the detector frame."""
    is_list: bool = False
    """Whether the points belong to no nominal grid."""

    @classmethod
    def of(cls, positions_A: Array, scan: Scan, rotation_deg: float) -> Placement:
        """Return the placement of positions (points, 2), detector frame, relative to the first nominal point.

        Raises ValueError if their number is not that of the scan, or a position is not finite.
        """
        positions = np.asarray(positions_A, dtype=float)
        shape = scan.require_shape()
        if positions.shape != (shape[0] * shape[1], 2):
            raise ValueError(f"{shape[0]} x {shape[1]} scan points do not match positions of shape {positions.shape}")
        if not np.isfinite(positions).all():
            raise ValueError("positions must be finite numbers")
        if scan.step_A is None:
            return cls._of_list(positions, None if scan.matrix is None else np.linalg.norm(scan.matrix, axis=0))
        at = positions @ rotation_matrix(rotation_deg) / np.asarray(scan.step_A)
        return cls(at, _cells(at), shape, scan.step_A, rotation_deg, (0.0, 0.0))

    def turned(self, positions_A: Array, rotation_deg: float) -> Placement:
        """Return the same points, ``positions_A`` (points, 2), after a change of the scan's rotation; areas stay."""
        if rotation_deg == self.rotation_deg or self.is_list:
            return self
        at = np.asarray(positions_A, dtype=float) @ rotation_matrix(rotation_deg) / np.asarray(self.step_A)
        return replace(self, at=at, rotation_deg=rotation_deg)

    @classmethod
    def _of_list(cls, positions: DoubleArray, step: DoubleArray | None) -> Placement:
        low, extent = positions.min(axis=0), np.ptp(positions, axis=0)
        if step is None:
            pixel = max(np.sqrt(extent.prod() / len(positions)), extent.max() / len(positions))
            step = np.full(2, pixel if pixel > 0 else 1.0)
        at = (positions - low) / step
        rows, cols = (int(np.ceil(x - ROUNDING)) + 1 for x in extent / step)
        origin = (float(low[0]), float(low[1]))
        step_A = (float(step[0]), float(step[1]))
        return cls(at, _cells(at), (rows, cols), step_A, 0.0, origin, is_list=True)

    def alternating(self, measured: BoolArray) -> FloatArray:
        """Return 1 or -1 for every point, about as many of each among the points ``measured`` (points,).

        The halves of a checkerboard, or rows or columns of the nominal grid; in a list, every other point or pair.
        """
        if self.is_list:
            number = np.arange(len(self.at))
            order = number if abs((1 - 2 * (number % 2))[measured].sum()) <= LEAK * measured.sum() else number // 2
        else:
            row, col = np.divmod(np.arange(len(self.at)), self.shape[1])
            shift = quiet_shift(measured.reshape(self.shape), HALVES)
            order = shift[0] // 2 * row + shift[1] // 2 * col
        return np.asarray(1 - 2 * (order % 2), dtype=np.float32)

    def gridded(self, values: DoubleArray, measured: Array) -> tuple[DoubleArray, Array]:
        """Return weighted means (pixels, k) of values (points, k) of the points ``measured``, and visited (rows, cols).

        Every point is shared among the four pixels around it.
        """
        rows, cols = self.shape
        low = np.floor(self.at).astype(np.int64)
        part = self.at - low
        total, weight = np.zeros((rows * cols, values.shape[1])), np.zeros(rows * cols)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            row, col = low[:, 0] + down, low[:, 1] + right
            share = np.abs(1 - down - part[:, 0]) * np.abs(1 - right - part[:, 1]) * self.weight
            use = np.flatnonzero(measured & (row >= 0) & (row < rows) & (col >= 0) & (col < cols) & (share > 0))
            pixel = row[use] * cols + col[use]
            weight += np.bincount(pixel, share[use], minlength=rows * cols)
            for k in range(values.shape[1]):
                total[:, k] += np.bincount(pixel, share[use] * values[use, k], minlength=rows * cols)
        visited = weight > LEAST_WEIGHT
        total = np.where(visited[:, None], total / np.maximum(weight, 1e-12)[:, None], 0.0)
        return total, visited.reshape(rows, cols)


def determining_values(scan: Scan) -> tuple[object, ...]:
    """Return the header values that determine where points lie: if one changes, so does :func:`given_placement`."""
    return scan.step_A, scan.matrix, scan.shape, scan.rotation_deg if scan.matrix is not None else None


def given_placement(header: ScanHeader, rotation_deg: float) -> tuple[DoubleArray | None, Placement | None]:
    """Return the positions (points, 2) given by a scan's header and their placement; None, None for a regular grid.

    ``rotation_deg``: of the scan's axes, as far as it is known.
    """
    scan, given = header.scan, header.arrays.get("positions_A")
    if given is None and scan.step_A is None and scan.matrix is not None and scan.shape is not None:
        given = scan.positions_A(scan.rotation_deg or 0.0)
    if given is None:
        return None, None
    positions = np.asarray(given, dtype=float)
    try:
        return positions, Placement.of(positions, scan, rotation_deg)
    except (ValueError, MetadataError) as error:
        log.warning("the positions of scan %s are not used: %s", header.series, error)
        return None, None


def _cells(at: DoubleArray) -> FloatArray:
    """Return the area of every point's Voronoi cell, pixels; 1 for open cells, and for too few or too many points."""
    area = np.ones(len(at), dtype=np.float32)
    if not 4 <= len(at) <= MOST_CELLS or np.ptp(at, axis=0).min() == 0:
        return area
    from scipy import spatial

    try:
        diagram = spatial.Voronoi(at)
    except spatial.QhullError:  # all points lie on one line
        return area
    for point, region in enumerate(diagram.point_region):
        corners = diagram.regions[region]
        if corners and -1 not in corners:
            y, x = diagram.vertices[corners].T
            area[point] = 0.5 * abs(float(y @ np.roll(x, -1) - x @ np.roll(y, -1)))
    # cells at the rim may be closed far outside the scan
    return np.where(area > LARGEST_CELL, np.float32(1), area)
