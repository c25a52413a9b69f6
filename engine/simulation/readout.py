"""From the model's intensities to what a detector records: pixels, distortion, point spread, noise, bad pixels.

The steps, in order: intensities are read at the pixels (distorted ones by linear interpolation), rotated and flipped as
the detector does, spread, multiplied by the electrons of a pattern, drawn as whole electrons, converted to counts,
multiplied by each pixel's gain; dark counts and read-out noise are added, bad pixels inserted, full pixels clipped, and
all rounded to the recorded type. An electron is counted in one pixel, which the point spread determines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import ndimage, sparse

from ptylive.engine.geometry import turned_to_detector_axes
from ptylive.engine.memory import check_fits
from ptylive.engine.simulation.object_grid import Window
from ptylive.schema.detector import parse_transform, undo_transform_of_center
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray
from ptylive.schema.scan import rotation_matrix
from ptylive.schema.simulation.groups import DetectorSettings
from ptylive.schema.simulation.settings import SimulationSettings

SUBPIXELS = 3
"""Points along a distorted pixel at which the model is read."""
MOST_ELECTRONS = 1e18
"""Upper bound: Poisson numbers are drawn as 64-bit integers."""
FULL_FLOAT = 65535.0
"""Value of a hot pixel in a floating-point recording."""


@dataclass(frozen=True, eq=False)
class Readout:
    """A detector. Maps are (Qy, Qx) as recorded."""

    settings: DetectorSettings
    electrons: float
    """Electrons that enter the specimen per pattern."""
    poisson: bool
    seed: int
    window: Window
    gain: FloatArray
    dead: BoolArray
    hot: BoolArray
    center_px: tuple[float, float] = field(default=(0.0, 0.0))
    """Position of the beam without descan, as recorded."""

    @classmethod
    def of(cls, settings: SimulationSettings, window: Window) -> Readout:
        """Draw gain and bad pixels. Raises MetadataError for a dose that the detector's type cannot count."""
        detector, rng = settings.detector, np.random.default_rng([settings.model.seed, 4])
        shape = detector.detector_shape
        gain = np.clip(1 + detector.gain_spread * rng.normal(size=shape), 0.1, None).astype(np.float32)
        order = rng.permutation(shape[0] * shape[1])
        dead, hot = np.zeros(order.size, dtype=bool), np.zeros(order.size, dtype=bool)
        dead[order[: detector.dead_pixels]] = True
        hot[order[detector.dead_pixels : detector.dead_pixels + detector.hot_pixels]] = True
        row, col = (n // 2 + offset for n, offset in zip(shape, detector.beam_offset_px, strict=True))
        if not (0 <= row <= shape[0] - 1 and 0 <= col <= shape[1] - 1):
            raise MetadataError("beam_offset_px moves the beam off the detector", "use a smaller offset")
        electrons = settings.electrons_per_pattern
        if not max(electrons, electrons * detector.counts_per_electron) < MOST_ELECTRONS:
            raise MetadataError(f"{electrons:.3g} electrons per pattern cannot be counted", "lower the dose")
        return cls(
            detector,
            electrons,
            settings.dose.poisson,
            settings.model.seed,
            window,
            gain,
            dead.reshape(shape),
            hot.reshape(shape),
            (float(row), float(col)),
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a recorded pixel."""
        return np.dtype(f"<{self.settings.dtype}")

    @property
    def bad_pixels(self) -> BoolArray:
        """Dead and hot pixels."""
        return self.dead | self.hot

    @property
    def full(self) -> float:
        """Largest count of a pixel; unlimited for floating-point types unless a saturation value is given."""
        most = math.inf if self.dtype.kind == "f" else float(np.iinfo(self.dtype).max)
        given = self.settings.saturation_value
        return most if given is None else min(given, most)

    def check_descan(self, descan_px: DoubleArray) -> None:
        """Raise MetadataError if a descan (N, 2) moves the beam off the detector."""
        places = descan_px + np.asarray(self.center_px)
        if (places < 0).any() or (places > np.asarray(self.settings.detector_shape) - 1).any():
            raise MetadataError("the descan moves the beam off the detector", "lower descan_px or descan_jump_px")

    def offsets_px(self, descan_px: DoubleArray) -> DoubleArray:
        """(N, 2) shift of the model's patterns, in its pixels, for a descan (N, 2) in pixels as recorded."""
        times = self.window.oversampling
        turned = turned_to_detector_axes(np.asarray(descan_px).T, self.settings.detector_transform).T
        rest = self._center - self._rounded_center
        half = (times - 1) / 2 - times // 2  # an even number of points has no central one
        return np.asarray(times * (turned + rest) + half)

    def expected(self, intensities: FloatArray) -> FloatArray:
        """Fraction of the electrons of a pattern in each pixel, (n, Qy, Qx) as recorded.

        intensities: (n, P, P) of the model, zero frequency first, moved by :meth:`offsets_px`.
        """
        fractions = self._distorted(intensities) if self.distorts else self._plain(intensities)
        for word in parse_transform(self.settings.detector_transform):
            if word == "transpose":
                fractions = fractions.swapaxes(-1, -2)
            else:
                fractions = fractions[..., ::-1, :] if word == "flip_rows" else fractions[..., ::-1]
        if self.settings.point_spread_px:
            sigma = (0.0, self.settings.point_spread_px, self.settings.point_spread_px)
            fractions = ndimage.gaussian_filter(fractions, sigma, mode="constant")
        return np.ascontiguousarray(fractions, dtype=np.float32)

    def recorded(self, expected: FloatArray, index: IndexArray) -> Array:
        """Frames (n, Qy, Qx) of mean patterns; ``index``: their acquisition numbers, which determine their noise."""
        detector = self.settings
        out = np.empty(expected.shape, self.dtype)
        for n, number in enumerate(index.tolist()):
            rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, int(number)]))
            mean = np.clip(expected[n], 0, None).astype(np.float64) * self.electrons
            counts = rng.poisson(mean).astype(np.float64) if self.poisson else mean
            counts *= detector.counts_per_electron
            if detector.gain_spread:
                counts *= self.gain
            if detector.dark_counts:
                counts += detector.dark_counts
            if detector.read_noise_counts:
                counts += rng.normal(0.0, detector.read_noise_counts, counts.shape)
            counts[self.dead] = 0.0
            counts[self.hot] = self.full if math.isfinite(self.full) else FULL_FLOAT
            counts = np.minimum(counts, self.full)
            out[n] = counts if self.dtype.kind == "f" else np.rint(np.maximum(counts, 0))
        return out

    @property
    def distorts(self) -> bool:
        """Whether patterns are distorted."""
        detector = self.settings
        return bool(detector.ellipticity or any(detector.distortion_second) or detector.distortion_third)

    def scattered_to(self, rows: DoubleArray, cols: DoubleArray) -> DoubleArray:
        """Origin of electrons that arrive at places of the distorted pattern: (2, …), both in half-widths.

        The unit is half the detector's longer side; coordinates are along its axes before any transform, from the beam.
        """
        detector = self.settings
        turn = rotation_matrix(detector.ellipse_deg)
        long = math.sqrt(1 + detector.ellipticity)
        shape = turn @ np.diag([1 / long, long]) @ turn.T
        a, b = detector.distortion_second
        squared = rows**2 + cols**2
        y = shape[0, 0] * rows + shape[0, 1] * cols + a * squared + detector.distortion_third * squared * rows
        x = shape[1, 0] * rows + shape[1, 1] * cols + b * squared + detector.distortion_third * squared * cols
        return np.stack([y, x])

    @cached_property
    def _turned_shape(self) -> tuple[int, int]:
        """Shape of a pattern before the transform."""
        rows, cols = self.settings.detector_shape
        swapped = parse_transform(self.settings.detector_transform).count("transpose") % 2
        return (cols, rows) if swapped else (rows, cols)

    @cached_property
    def _center(self) -> DoubleArray:
        """Position of the beam before the transform."""
        detector = self.settings
        return undo_transform_of_center(self.center_px, detector.detector_shape, detector.detector_transform)

    @cached_property
    def _rounded_center(self) -> DoubleArray:
        return np.rint(self._center)

    def _places(self, axis: int) -> IndexArray:
        """Points of the model, counted from the zero frequency, that make up the pixels along an axis."""
        times = self.window.oversampling
        pixels = np.arange(self._turned_shape[axis])[:, None] - int(self._rounded_center[axis])
        return np.asarray(times * pixels + np.arange(times) - times // 2).ravel()

    def _plain(self, intensities: FloatArray) -> FloatArray:
        """Sums (n, rows, cols) of the points of each pixel; 0 beyond the model."""
        size, times = self.window.size, self.window.oversampling
        rows, cols = self._places(0), self._places(1)
        sums = intensities[:, (rows % size)[:, None], (cols % size)[None, :]]
        for axis, places in ((1, rows), (2, cols)):
            outside = (places < -size // 2) | (places >= size // 2)
            if outside.any():
                sums[(slice(None),) * axis + (outside,)] = 0
        if times == 1:
            return np.asarray(sums)
        shape = (len(sums), len(rows) // times, times, len(cols) // times, times)
        return np.asarray(sums.reshape(shape).sum(axis=(2, 4)))

    def _distorted(self, intensities: FloatArray) -> FloatArray:
        """Like :meth:`_plain`, but through the distortion, by :attr:`_distortion_matrix`."""
        flat = intensities.reshape(len(intensities), -1)
        return np.asarray((self._distortion_matrix @ flat.T).T.reshape(-1, *self._turned_shape), dtype=np.float32)

    @cached_property
    def _distortion_matrix(self) -> Any:
        """Sparse matrix (pixels, P * P): linear interpolation at points of each pixel, weighted by their areas."""
        size, times, (rows, cols) = self.window.size, self.window.oversampling, self._turned_shape
        points = rows * cols * SUBPIXELS**2
        check_fits(points * 4 * 40.0, "the distortion of the detector", "use fewer detector pixels")
        half = max(self.settings.detector_shape) / 2
        inside = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
        y, x = (
            ((np.arange(n)[:, None] + inside).ravel() - self._rounded_center[axis]) / half
            for axis, n in enumerate((rows, cols))
        )
        grid = np.meshgrid(y, x, indexing="ij")
        step = 1e-4
        area = _determinant(
            (self.scattered_to(grid[0] + step, grid[1]) - self.scattered_to(grid[0] - step, grid[1])) / (2 * step),
            (self.scattered_to(grid[0], grid[1] + step) - self.scattered_to(grid[0], grid[1] - step)) / (2 * step),
        )
        if area.min() <= 0:
            raise MetadataError("the distortion folds the pattern over itself", "use smaller distortions")
        centred = (times - 1) / 2 - times // 2
        place = self.scattered_to(*grid) * half * times + centred
        pixel = np.broadcast_to(
            (np.arange(rows).repeat(SUBPIXELS)[:, None] * cols + np.arange(cols).repeat(SUBPIXELS)[None, :]), area.shape
        )
        weight = area * times**2 / SUBPIXELS**2
        low = np.floor(place).astype(np.int64)
        rest = place - low
        parts = []
        for dy in (0, 1):
            for dx in (0, 1):
                corner = (low[0] + dy, low[1] + dx)
                share = (rest[0] if dy else 1 - rest[0]) * (rest[1] if dx else 1 - rest[1]) * weight
                valid = (np.abs(corner[0]) < size // 2) & (np.abs(corner[1]) < size // 2)
                parts.append((share[valid], pixel[valid], (corner[0][valid] % size) * size + corner[1][valid] % size))
        values, target, source = (np.concatenate(column) for column in zip(*parts, strict=True))
        return sparse.csr_array((values.astype(np.float32), (target, source)), shape=(rows * cols, size * size))


def _determinant(by_row: DoubleArray, by_col: DoubleArray) -> DoubleArray:
    return np.asarray(by_row[0] * by_col[1] - by_row[1] * by_col[0])
