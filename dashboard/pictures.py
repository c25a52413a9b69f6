"""Pictures as the browser gets them: reduced to what a panel can show, with contrast limits and a version."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from ptylive.pictures.colours import Indexed, Levels, levels, to_indices, to_wheel
from ptylive.pictures.sampling import reduced, stretched
from ptylive.schema.maps import InformationLimit
from ptylive.schema.model import Array, BoolArray, FloatArray

MAP_SIDE = 512
PATTERN_SIDE = 256
OBJECT_SIDE = 768
PROBE_SIDE = 512
"""Longest sides in pixels after reduction: about the size of the panels."""


@dataclass(frozen=True)
class RawPicture:
    """An array as it came with an event; complex only for the probe."""

    name: str
    data: Array
    units: str = ""
    sampling_A: tuple[float, float] | None = None
    frames: int = 0
    method: str = ""
    deviation: float | None = None
    """Standard deviation of a pixel by noise, where it is known."""
    buried: bool = False
    """Whether two halves of the data agree in nothing."""
    carries: Mapping[float, InformationLimit] = field(default_factory=dict)
    """Information limits by multiples of the dose, where they are known."""


@dataclass(frozen=True)
class Ring:
    """A circle with a word beside it; radius in the coordinates of the picture."""

    radius: float
    text: str


@dataclass(frozen=True)
class Picture:
    """A picture ready to be shown.

    ``data`` float32 (ny, nx) reduced, (2, ny, nx) for a ``wheel`` of vectors; ``visited`` bool (ny, nx) or None when
    every pixel counts; ``origin`` coordinates (row, col) of the centre of pixel (0, 0);
    ``pixel`` size (row, col) of a reduced pixel and ``size`` (row, col) of the whole, in Å when ``calibrated``, else in
    scan points or detector pixels; ``indexed`` the colour indices at ``limits``.
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
    """Standard deviation of a pixel by noise, in ``units``, where it is known."""
    buried: bool = False
    """Whether two halves of the data agree in nothing."""
    carries: Mapping[float, InformationLimit] = field(default_factory=dict)
    """Information limits by multiples of the dose, where they are known."""
    focus: tuple[float, float] | None = None
    """Height and width of the middle that matters and is shown first; None: all of it."""
    origin: tuple[float, float] = (0.0, 0.0)
    wheel: bool = False
    frequencies: bool = False
    """Whether the coordinates are spatial frequencies."""
    rings: tuple[Ring, ...] = ()
    """Circles around the zero of the coordinates."""

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
    """What pictures need to know of the scan to be drawn."""

    coverage: BoolArray | None = None
    scan_shape: tuple[int, int] | None = None
    step_A: tuple[float, float] | None = None
    rotation_deg: float = 0.0
    aperture_invA: float | None = None
    """Radius of the probe-forming aperture, 1/Å."""
    before: Mapping[str, RawPicture] = field(default_factory=lambda: MappingProxyType({}))
    """Maps of the scan before, by name."""

    @property
    def scanned_A(self) -> tuple[float, float] | None:
        """Height and width, in the detector frame, of the upright rectangle around the scanned area; Å."""
        if self.scan_shape is None or self.step_A is None:
            return None
        height, width = (n * step for n, step in zip(self.scan_shape, self.step_A, strict=True))
        angle = math.radians(self.rotation_deg)
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        return height * cos + width * sin, height * sin + width * cos


Recipe = Callable[[Sequence[RawPicture], int, Surroundings], Picture]


def prepare(
    raw: RawPicture, version: int, surroundings: Surroundings, *, wanted: str = "", more: Sequence[RawPicture] = ()
) -> Picture:
    """The picture ``wanted`` (default: the name of ``raw``) made from the arrays that :func:`sources_of` names."""
    name = wanted or raw.name
    if name.endswith(OVERWRITING):
        plain = name.removesuffix(OVERWRITING)
        raws = [overwritten(one, surroundings) for one in (raw, *more)]
        if all(merged is not one for merged, one in zip(raws, (raw, *more), strict=True)):
            surroundings = replace(surroundings, coverage=None)
        return replace(prepare(raws[0], version, surroundings, wanted=plain, more=raws[1:]), name=name)
    if name.startswith(SLICE):
        number = min(int(name.removeprefix(SLICE)), len(raw.data)) - 1
        return object_picture((replace(raw, name=name, data=raw.data[number]),), version, surroundings)
    recipe = fft_picture if name.endswith(FFT) else RECIPES.get(name, map_picture)
    return recipe((raw, *more), version, surroundings)


def sources_of(wanted: str) -> tuple[str, ...]:
    """Names of the arrays that a picture is made from."""
    if wanted.startswith(SLICE):
        return ("slices",)
    wanted = wanted.removesuffix(OVERWRITING)
    return DERIVED.get(wanted, (wanted.removesuffix(FFT),))


def overwritten(raw: RawPicture, surroundings: Surroundings) -> RawPicture:
    """A map over the one of the scan before: where no frame has arrived, the old one is still to be seen.

    The map itself where there is no older one of the same size, or nothing is missing.
    """
    before, coverage = surroundings.before.get(raw.name), surroundings.coverage
    if before is None or coverage is None or before.data.shape != raw.data.shape or coverage.all():
        return raw
    return replace(raw, data=np.where(stretched(coverage, raw.data.shape), raw.data, before.data))


def map_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """A live map on the scan grid or finer; unvisited where no frame has arrived."""
    raw = raws[0]
    data = np.asarray(raw.data, dtype=np.float32)
    visited = None if surroundings.coverage is None else stretched(surroundings.coverage, data.shape)
    sampling, calibrated = _sampling(raw, surroundings)
    size = (data.shape[0] * sampling[0], data.shape[1] * sampling[1])
    data, visited = reduced(data, visited, MAP_SIDE)
    limits = levels(data, visited)
    return Picture(
        name=raw.name,
        version=version,
        data=data,
        visited=visited,
        limits=limits,
        indexed=to_indices(data, limits, visited),
        pixel=(size[0] / data.shape[0], size[1] / data.shape[1]),
        size=size,
        calibrated=calibrated,
        units=raw.units,
        frames=raw.frames,
        method=raw.method,
        deviation=raw.deviation,
        buried=raw.buried,
        carries=raw.carries,
    )


def _sampling(raw: RawPicture, surroundings: Surroundings) -> tuple[tuple[float, float], bool]:
    """Size of a pixel of a map in Å, or in scan points when no step is known."""
    shape = surroundings.scan_shape or raw.data.shape
    if raw.sampling_A is not None:
        return raw.sampling_A, True
    finer = (shape[0] / raw.data.shape[0], shape[1] / raw.data.shape[1])
    if surroundings.step_A is not None:
        return (finer[0] * surroundings.step_A[0], finer[1] * surroundings.step_A[1]), True
    return finer, False


def _whole(
    raw: RawPicture,
    version: int,
    values: Array,
    side: int,
    *,
    percentiles: tuple[float, float],
    calibrated: bool,
) -> Picture:
    """A picture without a scan behind it: every pixel counts; coordinates in Å, or in pixels."""
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
    )


def pattern_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """A diffraction pattern, linear from zero."""
    raw = raws[0]
    picture = _whole(raw, version, raw.data, PATTERN_SIDE, percentiles=(0, 99.9), calibrated=False)
    limits = (0.0, max(picture.limits[1], 1e-9))
    return _with_limits(picture, limits)


def log_pattern_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """A diffraction pattern as log10(1 + counts)."""
    raw = raws[0]
    values = np.log10(1 + np.maximum(np.asarray(raw.data, dtype=np.float32), 0))
    picture = _whole(raw, version, values, PATTERN_SIDE, percentiles=(0, 100), calibrated=False)
    return _with_limits(picture, (0.0, max(picture.limits[1], 1e-9)))


def object_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """The refined object's phase, rad; shown first, and deciding the contrast: the scanned area in its middle."""
    raw = raws[0]
    picture = _whole(raw, version, raw.data, OBJECT_SIDE, percentiles=(1, 99), calibrated=True)
    scanned = surroundings.scanned_A
    if scanned is None or not picture.calibrated:
        return picture
    focus = (min(scanned[0], picture.size[0]), min(scanned[1], picture.size[1]))
    margin = [
        int((size - part) / (2 * pixel)) for size, part, pixel in zip(picture.size, focus, picture.pixel, strict=True)
    ]
    rows, cols = picture.data.shape
    middle = picture.data[margin[0] : rows - margin[0], margin[1] : cols - margin[1]]
    return replace(_with_limits(picture, levels(middle)), focus=focus)


def deviation_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """Standard deviation of the object's phase, rad; empty where hardly any light fell."""
    picture = object_picture(raws, version, surroundings)
    told = np.isfinite(picture.data)
    return replace(picture, visited=told, indexed=to_indices(picture.data, picture.limits, told))


def probe_picture(raws: Sequence[RawPicture], version: int, _: Surroundings) -> Picture:
    """The probe modes (modes, y, x) side by side as amplitudes, each on its own scale; the note says their powers."""
    raw = raws[0]
    modes = np.abs(raw.data if raw.data.ndim == 3 else raw.data[None]).astype(np.float32)
    powers = (modes**2).sum(axis=(1, 2))
    modes = middle_that_matters(modes)
    strongest = np.maximum(modes.max(axis=(1, 2), keepdims=True), 1e-30)
    side_by_side = np.concatenate(list(modes / strongest), axis=1)
    picture = _whole(raw, version, side_by_side, PROBE_SIDE, percentiles=(0, 100), calibrated=True)
    shares = " · ".join(f"{100 * p / max(powers.sum(), 1e-30):.0f}" for p in powers) + " %"
    return _with_limits(picture, (0.0, 1.0), note=shares)


def middle_that_matters(modes: FloatArray, share: float = 0.9, least: int = 16) -> FloatArray:
    """The square around the centre (pixel n // 2) of modes (n, y, x) that holds ``share`` of their power, and a rim."""
    power = (modes**2).sum(axis=0)
    rows, cols = np.indices(power.shape)
    middle = power.shape[0] // 2, power.shape[1] // 2
    reach = np.maximum(abs(rows - middle[0]), abs(cols - middle[1]))
    inside = np.cumsum(np.bincount(reach.ravel(), weights=power.ravel()))
    half = int(np.searchsorted(inside, share * inside[-1])) * 3 // 2 + 1
    half = min(max(half, least // 2), *middle)
    if half == 0:
        return modes
    return modes[:, middle[0] - half : middle[0] + half, middle[1] - half : middle[1] + half]


def _with_limits(picture: Picture, limits: Levels, note: str = "") -> Picture:
    return replace(picture, limits=limits, indexed=to_indices(picture.data, limits, picture.visited), note=note)


def dpc_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """Centre of mass as a colour wheel: hue is its direction, saturation its length; `com_row` and `com_col`."""
    row, col = (map_picture((raw,), version, surroundings) for raw in raws)
    vectors = np.stack([row.data, col.data])
    longest = max(levels(np.hypot(*vectors), row.visited)[1], 1e-30)
    return replace(
        row,
        name="dpc",
        data=vectors,
        limits=(0.0, longest),
        indexed=to_wheel(vectors, longest, row.visited),
        method="centre of mass: direction and length",
        wheel=True,
    )


def fft_picture(raws: Sequence[RawPicture], version: int, surroundings: Surroundings) -> Picture:
    """log10 of the amplitude of a map's Fourier transform, in 1/Å (or 1/point), zero frequency at the origin.

    The visited rows only, their mean removed, under a Hann window, so that neither the edge of the scan nor the part
    that is still to come draws a cross.
    """
    picture = map_picture(raws, version, surroundings)
    data, visited = picture.data, picture.visited
    if visited is not None and visited.any():
        rows = np.flatnonzero(visited.any(axis=1))
        part = slice(rows[0], rows[-1] + 1)
        data, visited = data[part], visited[part]
        data = np.where(visited, data, np.nan)
    data = _without_gaps(data)
    window = np.hanning(data.shape[0] + 2)[1:-1, None] * np.hanning(data.shape[1] + 2)[None, 1:-1]
    padded = np.zeros(picture.data.shape)
    padded[: data.shape[0]] = (data - data.mean()) * window
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(padded)))
    values = np.log10(amplitude / max(float(amplitude.max()), 1e-30) + 1e-6).astype(np.float32)
    limits = levels(values, None, (30, 99.98))
    pixel = tuple(1.0 / (n * p) for n, p in zip(values.shape, picture.pixel, strict=True))
    size = tuple(n * p for n, p in zip(values.shape, pixel, strict=True))
    return replace(
        picture,
        name=picture.name + FFT,
        data=values,
        visited=None,
        limits=limits,
        indexed=to_indices(values, limits),
        pixel=(pixel[0], pixel[1]),
        size=(size[0], size[1]),
        origin=(-(values.shape[0] // 2) * pixel[0], -(values.shape[1] // 2) * pixel[1]),
        units="log",
        frequencies=True,
        rings=resolution_rings(0.5 * min(size), surroundings.aperture_invA) if picture.calibrated else (),
    )


def _without_gaps(data: FloatArray) -> FloatArray:
    """A map in double precision whose points without a number, or not visited, have the mean of the others."""
    there = np.isfinite(data)
    values = np.where(there, data, 0.0).astype(float)
    return np.where(there, values, values.sum() / max(1, np.count_nonzero(there)))


def resolution_rings(highest: float, aperture_invA: float | None, most: int = 4) -> tuple[Ring, ...]:
    """Circles at round resolutions up to the frequency ``highest`` (1/Å), and where the aperture's transfer ends."""
    steps = [m * 10.0**e for e in range(3, -3, -1) for m in (5, 2, 1)]
    inside = [d for d in steps if 0.12 * highest < 1 / d <= highest]
    rings = [Ring(1 / d, f"{d / 10:g} nm" if d >= 10 else f"{d:g} Å") for d in inside[-most:]]
    if aperture_invA is not None and 2 * aperture_invA <= highest:
        rings.append(Ring(2 * aperture_invA, "2α"))
    return tuple(rings)


FFT = ":fft"
"""Ending of the name of a map's Fourier transform."""
OVERWRITING = ":over"
"""Ending of the name of a map that is drawn over the one of the scan before."""
SLICE = "slice:"
"""Beginning of the name of one slice of the object, followed by its number from 1."""
RECIPES: Mapping[str, Recipe] = {
    "pattern": pattern_picture,
    "pattern_mean": pattern_picture,
    "pattern_here": pattern_picture,
    "pattern_log": log_pattern_picture,
    "pattern_mean_log": log_pattern_picture,
    "pattern_here_log": log_pattern_picture,
    "object": object_picture,
    "object_deviation": deviation_picture,
    "probe": probe_picture,
    "dpc": dpc_picture,
}
DERIVED: Mapping[str, tuple[str, ...]] = {
    "pattern_log": ("pattern",),
    "pattern_mean_log": ("pattern_mean",),
    "pattern_here_log": ("pattern_here",),
    "dpc": ("com_row", "com_col"),
}
