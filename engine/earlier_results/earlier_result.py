"""Object, probe and positions of an earlier refinement by any program, in our units and axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ptylive.schema import InputFileError, MetadataError
from ptylive.schema.model import Array, ComplexArray, DoubleArray

COARSEST_A, FINEST_A = 50.0, 1e-3
"""Range of object pixels in electron ptychography; other values are in another unit, or from x-rays."""


@dataclass(frozen=True)
class EarlierResult:
    """Final state of a refinement; what the file does not hold is None or empty."""

    program: str
    """Program that made the result, by the name that users know."""
    object: ComplexArray | None = None
    """(object modes, slices, Y, X) transmission, entrance side first."""
    probe: ComplexArray | None = None
    """(probes, modes, P, P) real space at the entrance, centred on pixel P // 2; its scale has no meaning."""
    pixel_A: float | None = None
    """Pixel of object and probe."""
    slice_thickness_A: tuple[float, ...] = ()
    origin_A: tuple[float, float] = (0.0, 0.0)
    """Position of object pixel (0, 0)."""
    positions_A: DoubleArray | None = None
    """(N, 2) in the order of the file, which numbers scan points row by row."""
    in_our_frame: bool = False
    """Whether the origin of positions is ours: the first nominal scan point."""

    def checked(self, path: Path) -> EarlierResult:
        """Return self. Raises InputFileError for invalid shapes, non-finite numbers, or pixels in another unit."""
        for name, array in (("object", self.object), ("probe", self.probe)):
            if array is None:
                continue
            if array.ndim != 4 or not array.size or (name == "probe" and array.shape[2] != array.shape[3]):
                raise _unusable(path, f"its {name} has the shape {array.shape}")
            if not np.isfinite(array).all() or not array.any():
                raise _unusable(path, f"its {name} is empty, or holds values that are not numbers")
        if self.pixel_A is not None and not FINEST_A < self.pixel_A < COARSEST_A:
            raise _unusable(path, f"its pixel of {self.pixel_A:.3g} Å is not plausible for an electron reconstruction")
        if not all(0 <= thickness < np.inf for thickness in self.slice_thickness_A):
            raise _unusable(path, "its slices have no thickness")
        places = self.positions_A
        if places is not None and (places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all()):
            raise _unusable(path, f"its positions have the shape {places.shape}, or hold values that are not numbers")
        return self

    def require_object(self, path: str) -> tuple[ComplexArray, float]:
        """The object and its pixel, Å. Raises MetadataError if there is none."""
        if self.object is None or self.pixel_A is None:
            raise MetadataError(f"start_object {path} ({self.program}) holds no object", "give a file that holds one")
        return self.object, self.pixel_A

    def require_probe(self, path: str) -> tuple[ComplexArray, float]:
        """The modes (modes, P, P) of the first probe, and their pixel, Å. Raises MetadataError if there are none."""
        if self.probe is None or self.pixel_A is None:
            raise MetadataError(f"start_probe {path} ({self.program}) holds no probe", "give a file that holds one")
        return self.probe[0], self.pixel_A

    def require_positions(self, path: str) -> DoubleArray:
        """Positions (N, 2), Å. Raises MetadataError if there are none."""
        if self.positions_A is None:
            raise MetadataError(
                f"start_positions {path} ({self.program}) holds no positions", "give a file that holds one"
            )
        return self.positions_A


def square_pixel(path: Path, sides: Sequence[float] | Array) -> float:
    """The side of a pixel whose sides are equal within the accuracy of single precision and a calibration.

    Raises InputFileError.
    """
    first, second = (float(side) for side in sides)
    if not math.isclose(first, second, rel_tol=1e-3):
        raise InputFileError(f"{path}: its pixels of {first:.4g} x {second:.4g} are not square", "square pixels only")
    return first


def _unusable(path: Path, problem: str) -> InputFileError:
    return InputFileError(f"{path}: {problem}", "is it complete, and an electron reconstruction?")
