"""Picture types: an array as received, and its form for the browser, with contrast limits and a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from ptylive.pictures.colours import Indexed, Levels, levels, to_indices, to_wheel
from ptylive.pictures.sampling import reduced
from ptylive.schema.maps import InformationLimit
from ptylive.schema.model import Array, BoolArray, FloatArray
from ptylive.schema.scan import rotation_matrix

MAP_SIDE = 512
PATTERN_SIDE = 256
OBJECT_SIDE = 768
PROBE_SIDE = 512
"""Longest sides in pixels after reduction: about the size of the panels."""


FFT = ":fft"
"""Suffix of the name of a map's Fourier transform."""
OVERWRITING = ":over"
"""Suffix of the name of a map that is drawn over the previous scan's."""
SLICE, SLICE_AMPLITUDE, SLICE_WHEEL = "slice:", "slice_amplitude:", "slice_wheel:"
"""Prefixes of the names of pictures of one slice of the object (phase, amplitude, both), before its number from 1."""


@dataclass(frozen=True)
class RawPicture:
    """An array as received with an event; complex only for the probe."""

    name: str
    data: Array
    units: str = ""
    sampling_A: tuple[float, float] | None = None
    frames: int = 0
    method: str = ""
    deviation: float | None = None
    """Standard deviation of a pixel due to noise, if known."""
    at_least: bool = False
    """Whether ``deviation`` is a lower bound."""
    buried: bool = False
    """Whether two halves of the data agree at no frequency."""
    faint: bool = False
    """Whether no pixel is significant."""
    carries: Mapping[float, InformationLimit] = field(default_factory=dict)
    """Information limits by multiples of the dose, if known."""


Corner = tuple[float, float]
"""A place (row, col)."""


@dataclass(frozen=True)
class LabelledCircle:
    """A circle with a word next to it; radius in the coordinates of the picture."""

    radius: float
    text: str
    degrees: float = 45.0
    """Angle of the word along the circle, anticlockwise from the right; words of nearby rings must not overlap."""


@dataclass(frozen=True)
class Picture:
    """A picture ready to be shown.

    ``data`` float32 (ny, nx) reduced, (2, ny, nx) for a ``wheel`` of vectors; ``visited`` bool (ny, nx) or None when
    every pixel counts; ``origin`` coordinates (row, col) of the centre of pixel (0, 0); ``pixel`` size (row, col) of a
    reduced pixel and ``size`` (row, col) of the whole, in Å when ``calibrated``, otherwise in scan points or detector
    pixels; ``indexed`` the colour indices at ``limits``.
    """

    name: str
    version: int
    data: FloatArray = field(repr=False)
    visited: BoolArray | None = field(repr=False)
    limits: Levels
    indexed: Indexed = field(repr=False)
    pixel: tuple[float, float]
    size: tuple[float, float]
    calibrated: bool
    units: str = ""
    frames: int = 0
    method: str = ""
    note: str = ""
    deviation: float | None = None
    """Standard deviation of a pixel due to noise, in ``units``, if known."""
    at_least: bool = False
    """Whether ``deviation`` is a lower bound."""
    buried: bool = False
    """Whether two halves of the data agree at no frequency."""
    faint: bool = False
    """Whether no pixel is significant."""
    carries: Mapping[float, InformationLimit] = field(default_factory=dict)
    """Information limits by multiples of the dose, if known."""
    peak: float | None = None
    """Largest value, in ``units``, of a picture that shows it on another scale."""
    focus: tuple[float, float] | None = None
    """Height and width of the central part that is shown first; None: all of it."""
    origin: tuple[float, float] = (0.0, 0.0)
    wheel: bool = False
    frequencies: bool = False
    """Whether the coordinates are spatial frequencies."""
    rings: tuple[LabelledCircle, ...] = ()
    """Circles around the zero of the coordinates."""
    scanned: tuple[Corner, ...] = ()
    """Corners of the scanned field, in the coordinates of the picture, if the field is only a part of the picture."""

    @property
    def complete(self) -> bool:
        """Whether every pixel has been visited."""
        return self.visited is None or bool(self.visited.all())

    def indices(self, limits: Levels) -> Indexed:
        """Colour indices at other contrast limits."""
        if limits == self.limits:
            return self.indexed
        if self.wheel:
            return to_wheel(self.data, limits[1], self.visited)
        return to_indices(self.data, limits, self.visited)


@dataclass(frozen=True)
class Surroundings:
    """What drawing a picture requires of the scan."""

    coverage: BoolArray | None = None
    scan_shape: tuple[int, int] | None = None
    step_A: tuple[float, float] | None = None
    rotation_deg: float = 0.0
    aperture_invA: float | None = None
    """Radius of the probe-forming aperture, 1/Å."""
    before: Mapping[str, RawPicture] = field(default_factory=lambda: MappingProxyType({}))
    """Maps of the previous scan, by name."""

    @property
    def scanned_A(self) -> tuple[float, float] | None:
        """Height and width, in the detector frame, of the upright rectangle around the scanned area; Å."""
        if self.scan_shape is None or self.step_A is None:
            return None
        corners = np.asarray(self.scanned_corners_A)
        height, width = np.ptp(corners, axis=0)
        return float(height), float(width)

    @property
    def scanned_corners_A(self) -> tuple[Corner, ...]:
        """Corners of the scanned area in the detector frame, relative to its centre; Å. Empty if no step is known."""
        if self.scan_shape is None or self.step_A is None:
            return ()
        height, width = (n * step / 2 for n, step in zip(self.scan_shape, self.step_A, strict=True))
        along_scan = np.array([(-height, -width), (-height, width), (height, width), (height, -width)])
        return tuple((float(row), float(col)) for row, col in along_scan @ rotation_matrix(self.rotation_deg).T)


def whole(
    raw: RawPicture,
    version: int,
    values: Array,
    side: int,
    *,
    percentiles: tuple[float, float],
    calibrated: bool,
) -> Picture:
    """A picture that belongs to no scan: every pixel counts; coordinates in Å, or in pixels."""
    sampling = (raw.sampling_A if calibrated else None) or (1.0, 1.0)
    size = (values.shape[0] * sampling[0], values.shape[1] * sampling[1])
    data, _ = reduced(np.asarray(values, dtype=np.float32), None, side)
    limits = levels(data, None, percentiles)
    return Picture(
        name=raw.name,
        version=version,
        data=data,
        visited=None,
        limits=limits,
        indexed=to_indices(data, limits),
        pixel=(size[0] / data.shape[0], size[1] / data.shape[1]),
        size=size,
        calibrated=calibrated and raw.sampling_A is not None,
        units=raw.units,
        frames=raw.frames,
        method=raw.method,
        deviation=raw.deviation,
        at_least=raw.at_least,
    )


def with_limits(picture: Picture, limits: Levels, note: str = "") -> Picture:
    """Return the picture at other contrast limits."""
    return replace(picture, limits=limits, indexed=to_indices(picture.data, limits, picture.visited), note=note)
