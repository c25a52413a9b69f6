"""Some patterns of an arriving scan, for viewing before they are in its recording.

All patterns of a small scan; for a larger scan those of every second, third, … row and column, as many as fit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ptylive.schema import FrameBatch, ScanHeader
from ptylive.schema.model import Array, FloatArray

MOST_BYTES = 32 * 2**20
"""Maximum size of the patterns kept for one scan."""
MOST_AVERAGED = 1024
"""Maximum number of patterns averaged over a rectangle; of more, every second, third, … is used."""
Point = tuple[int, int]


class Found(NamedTuple):
    """A mean pattern, its number of frames, and the nearest kept point if the requested one was not kept."""

    pattern: FloatArray
    frames: int
    nearest: Point | None = None


class KeptPatterns:
    """Patterns kept from the batches of a scan as they arrive, in bounded memory. Not thread-safe."""

    def __init__(self, header: ScanHeader, most_bytes: int = MOST_BYTES) -> None:
        self._header = header
        rows, cols = header.scan.shape or (0, 0)
        frame_bytes = math.prod(header.detector.shape or (0, 0)) * header.frame_dtype.itemsize
        fits = header.basis.is_raw and rows * cols > 0 and 0 < frame_bytes <= most_bytes
        self.spacing = 0 if not fits else 1
        """Spacing of the kept points in rows and columns; 0: nothing is kept."""
        while fits and -(-rows // self.spacing) * -(-cols // self.spacing) * frame_bytes > most_bytes:
            self.spacing += 1
        self._frames: dict[Point, Array] = {}

    def add(self, batch: FrameBatch) -> None:
        """Keep the frames of a batch that lie on the grid of kept points."""
        if not self.spacing:
            return
        cols = self._header.scan.require_shape()[1]
        point = np.asarray(self._header.scan.point_of(batch.index))
        row, col = point // cols, point % cols
        for i in np.flatnonzero((point >= 0) & (row % self.spacing == 0) & (col % self.spacing == 0)):
            self._frames[int(row[i]), int(col[i])] = np.array(batch.frame(int(i)))

    def mean(self, first: Point, last: Point) -> Found | None:
        """Return the mean counts of the kept points of a rectangle, corners included; of the nearest point if it
        contains none.

        None if that point has not arrived yet, or nothing is kept.
        """
        if not self.spacing:
            return None
        (top, left), (bottom, right) = np.min([first, last], axis=0), np.max([first, last], axis=0)
        inside = [(row, col) for row, col in self._frames if top <= row <= bottom and left <= col <= right]
        if inside:
            chosen = inside[:: -(-len(inside) // MOST_AVERAGED)]
            return Found(self._mean(chosen), len(chosen))
        middle = 0.5 * (top + bottom), 0.5 * (left + right)
        nearest = min(self._frames, key=lambda point: math.dist(point, middle), default=None)
        if nearest is None or max(abs(nearest[0] - middle[0]), abs(nearest[1] - middle[1])) > self.spacing:
            return None
        return Found(self._mean([nearest]), 1, nearest)

    def _mean(self, points: list[Point]) -> FloatArray:
        frames = np.stack([self._frames[point] for point in points])
        counts = self._header.readout.counts(frames)[0]
        return np.asarray(np.mean(counts, axis=0, dtype=np.float64), dtype=np.float32)
