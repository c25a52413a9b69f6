"""The grid of a simulated object: the pixels of the model, with room for a window around every position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft

from ptylive.engine.backend.multislice.fast_sizes import RADICES
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray, IndexArray
from ptylive.schema.simulation.settings import SimulationSettings
from ptylive.schema.units import mrad_to_invA, wavelength_A

MARGIN_PX = 4
"""Pixels around the outermost windows."""
SEMIANGLES = 2.0
"""Semi-angles that a detector covers if its pixel is not given."""
LIMIT = 2 / 3
"""Fraction of the model's highest frequency at which products of object and wave alias only to what is cut off."""


@dataclass(frozen=True)
class Window:
    """The square window in which a probe is propagated. Lengths in Å, frequencies in 1/Å."""

    size: int
    """Pixels P along a side."""
    side_A: float
    oversampling: int
    wavelength_A: float
    detector_edge_invA: float
    """Frequency at the edge of the detector, in the middle of the end of its longer side."""

    @classmethod
    def of(cls, settings: SimulationSettings) -> Window:
        """The window for some settings. Raises MetadataError if it exceeds the sizes of the compiled transform."""
        wavelength = wavelength_A(settings.probe.energy_eV)
        longest, times = max(settings.detector.detector_shape), settings.model.oversampling
        pixel = mrad_to_invA(detector_pixel_mrad(settings), wavelength)
        needed = times * longest * settings.model.reach
        size = next((size for size in RADICES if size >= needed - 1e-6), None)
        if size is None:
            raise MetadataError(
                f"the model needs {needed:.0f} pixels along a side, but can have at most {max(RADICES)}",
                "reduce reach or oversampling, or use fewer detector pixels",
            )
        return cls(size, times / pixel, times, wavelength, pixel * longest / 2)

    @property
    def pixel_A(self) -> float:
        """Pixel of the object."""
        return self.side_A / self.size

    @property
    def detector_pixel_invA(self) -> float:
        """Pixel of the detector."""
        return self.oversampling / self.side_A

    @property
    def limit_invA(self) -> float:
        """Frequency at which waves are cut off: two thirds of the model's highest, but never inside the detector."""
        highest = self.size / (2 * self.side_A)
        return max(LIMIT * highest, min(highest, self.detector_edge_invA))

    def frequencies(self) -> tuple[DoubleArray, DoubleArray]:
        """Rows and columns (P, P) of the window's frequencies, zero frequency first."""
        k = np.fft.fftfreq(self.size, self.pixel_A)
        rows, cols = np.meshgrid(k, k, indexing="ij")
        return rows, cols


def detector_pixel_mrad(settings: SimulationSettings) -> float:
    """Angle of a detector pixel: as given, or such that the shorter side reaches two semi-angles."""
    given = settings.detector.detector_pixel_mrad
    if given is not None:
        return given
    return 2 * SEMIANGLES * settings.probe.convergence_semiangle_mrad / min(settings.detector.detector_shape)


@dataclass(frozen=True)
class ObjectGrid:
    """Pixels of the object. ``origin_A``: position of pixel (0, 0) relative to the first nominal scan point."""

    shape: tuple[int, int]
    pixel_A: float
    origin_A: tuple[float, float]

    @classmethod
    def around(cls, positions_A: DoubleArray, window: Window) -> ObjectGrid:
        """A grid that holds a window around each position (N, 2)."""
        low, high = positions_A.min(axis=0), positions_A.max(axis=0)
        half = (window.size // 2 + MARGIN_PX) * window.pixel_A
        needed = np.ceil((high - low + 2 * half) / window.pixel_A).astype(int)
        rows, cols = (scipy.fft.next_fast_len(int(n), real=True) for n in needed)
        origin = low - half
        return cls((rows, cols), window.pixel_A, (float(origin[0]), float(origin[1])))

    @property
    def extent_A(self) -> tuple[float, float]:
        """Lengths of the sides."""
        return self.shape[0] * self.pixel_A, self.shape[1] * self.pixel_A

    def placed(self, positions_A: DoubleArray, window: Window) -> tuple[IndexArray, DoubleArray]:
        """Corners (N, 2) of the windows whose pixel P // 2 is nearest to each position, and the rests in pixels."""
        pixels = (positions_A - np.asarray(self.origin_A)) / self.pixel_A
        nearest = np.rint(pixels).astype(np.int64)
        return nearest - window.size // 2, pixels - nearest

    def frequencies(self) -> tuple[DoubleArray, DoubleArray]:
        """Frequencies of the rows (rows,) and of the half of the columns that a real transform keeps, 1/Å."""
        rows, cols = np.fft.fftfreq(self.shape[0], self.pixel_A), np.fft.rfftfreq(self.shape[1], self.pixel_A)
        return np.asarray(rows, dtype=np.float64), np.asarray(cols, dtype=np.float64)
