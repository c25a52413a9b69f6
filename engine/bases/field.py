"""The three parts of a detector that a basis treats separately: bright field, dark field, and the edge beyond.

Bright field: the disc and its one-pixel soft edge. Dark field: from there to the largest circle around the beam that
fits on the detector. Edge: the corners outside that circle. Bad pixels belong to none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ptylive.engine.geometry import DetectorGrid
from ptylive.schema.model import BoolArray, DoubleArray


@dataclass(frozen=True, eq=False)
class DetectorField:
    """A detector with its disc: center_px (row, col) and radius_px in recorded pixels; good (Qy, Qx)."""

    center_px: tuple[float, float]
    radius_px: float
    good: BoolArray

    @cached_property
    def grid(self) -> DetectorGrid:
        """Recorded pixels relative to the beam, in pixels."""
        return DetectorGrid.of((self.good.shape[0], self.good.shape[1]), self.center_px, "none", 1.0)

    @cached_property
    def radius(self) -> DoubleArray:
        """Distance of each pixel from the beam, pixels (Qy, Qx)."""
        return self.grid.radius

    @property
    def bright_radius(self) -> float:
        """Outer radius of the bright field: the disc's and half a pixel of soft edge."""
        return self.radius_px + 0.5

    @cached_property
    def dark_radius(self) -> float:
        """Outer radius of the dark field: the largest circle on the detector, at least the bright field's."""
        (row, col), (rows, cols) = self.center_px, self.good.shape
        room = min(row, col, rows - 1 - row, cols - 1 - col) + 0.5
        return float(max(room, self.bright_radius))

    @cached_property
    def bright(self) -> BoolArray:
        """Good pixels of the bright field, (Qy, Qx)."""
        return np.asarray((self.radius < self.bright_radius) & self.good)

    @cached_property
    def dark(self) -> BoolArray:
        """Good pixels of the dark field, (Qy, Qx)."""
        return np.asarray((self.radius >= self.bright_radius) & (self.radius < self.dark_radius) & self.good)

    @cached_property
    def edge(self) -> BoolArray:
        """Good pixels beyond both, (Qy, Qx)."""
        return np.asarray(self.good & ~self.bright & ~self.dark)
