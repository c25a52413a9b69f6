"""Displacement of a scan from another scan of the same place, found from their maps.

Normalised cross-correlation of two images where both were measured (Padfield, IEEE Trans. Image Process. 21 (2012)
2706). Maps of a crystal also agree after a shift by a lattice vector: among places that agree about as well as the best
one, the nearest is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.ndimage import map_coordinates, maximum_filter

from ptylive.engine.geometry import parabola_vertex
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import BoolArray, DoubleArray
from ptylive.schema.scan import rotation_matrix

OVERLAP = 0.4
"""Least share of the smaller map that both must show: fewer pixels agree by chance."""
AS_GOOD = 0.95
"""Share of the best correlation from which a nearer place is preferred."""
LEAST_CORRELATION = 0.3
"""Below it two maps have nothing in common. Maps of few features agree better by chance: the value is reported."""
MOST_PIXELS = 2048


@dataclass(frozen=True)
class RegisteredMap:
    """Result of a registration: place of the second map."""

    shift_A: tuple[float, float]
    """Place in the frame of the first map minus that in its own frame, Å."""
    correlation: float


@dataclass(frozen=True)
class _Map:
    """A map resampled along the axes of the detector."""

    values: DoubleArray
    mask: BoolArray
    origin_A: DoubleArray


def registered(first: StartGuess, second: StartGuess) -> RegisteredMap:
    """Locate the second map. Raises MetadataError if the maps do not agree anywhere."""
    pixel_A = min(*first.sampling_A, *second.sampling_A)
    first_map, second_map = _upright(first, pixel_A), _upright(second, pixel_A)
    correlation = _correlation(first_map, second_map)
    row, column = _nearest_peak(correlation, second_map.mask.shape, first_map.origin_A - second_map.origin_A, pixel_A)
    best = float(correlation[row, column])
    if best < LEAST_CORRELATION:
        raise MetadataError(
            f"the maps of two scans agree nowhere (correlation {best:.2f} at best)",
            "do they show the same place? give scan_shifts_A if the shifts are known",
        )
    peak = np.array([row, column]) + [_vertex(correlation, (row, column), axis) for axis in (0, 1)]
    moved = (peak - (np.asarray(second_map.mask.shape) - 1)) * pixel_A + first_map.origin_A - second_map.origin_A
    return RegisteredMap((float(moved[0]), float(moved[1])), best)


def _upright(image: StartGuess, pixel_A: float) -> _Map:
    """Resample the map along the axes of the detector."""
    rows, columns = np.asarray(image.phase.shape) - 1
    turn, sampling = rotation_matrix(image.rotation_deg), np.asarray(image.sampling_A)
    corners = (np.array([[0, 0], [0, columns], [rows, 0], [rows, columns]]) * sampling) @ turn.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.floor((high - low) / pixel_A + 1e-6).astype(int) + 1
    if size.max() > MOST_PIXELS:
        raise MetadataError(f"maps of {size[0]} x {size[1]} pixels are too large to compare", "give scan_shifts_A")
    y, x = np.meshgrid(*(np.arange(n) for n in size), indexing="ij")
    place = (np.stack([y, x], -1) * pixel_A + low) @ turn / sampling
    inside = ((place > -1e-6) & (place < np.array([rows, columns]) + 1e-6)).all(axis=-1)
    values = map_coordinates(np.asarray(image.phase, dtype=float), np.moveaxis(place, -1, 0), order=1, mode="nearest")
    return _Map(values, inside, np.asarray(image.origin_A) + low)


def _correlation(first: _Map, second: _Map) -> DoubleArray:
    """Correlation, or -1, for each displacement of the second map, from its last pixel on the first map's first."""
    shape = [fft.next_fast_len(a + b - 1) for a, b in zip(first.mask.shape, second.mask.shape, strict=True)]
    full = tuple(slice(0, a + b - 1) for a, b in zip(first.mask.shape, second.mask.shape, strict=True))

    def correlated(a: DoubleArray, b: DoubleArray) -> DoubleArray:
        product = fft.rfft2(a, shape) * fft.rfft2(b[::-1, ::-1], shape)
        return np.asarray(fft.irfft2(product, shape)[full])

    masks = [part.mask.astype(float) for part in (first, second)]
    values = [(s.values - s.values[s.mask].mean()) * m for s, m in zip((first, second), masks, strict=True)]
    common = np.maximum(correlated(*masks), 1e-9)
    first_sums, second_sums = correlated(values[0], masks[1]), correlated(masks[0], values[1])
    product = correlated(*values) - first_sums * second_sums / common
    squares = (correlated(values[0] ** 2, masks[1]) - first_sums**2 / common) * (
        correlated(masks[0], values[1] ** 2) - second_sums**2 / common
    )
    valid = (common > OVERLAP * min(mask.sum() for mask in masks)) & (squares > 1e-12 * squares.max())
    return np.where(valid, product / np.sqrt(np.maximum(squares, 1e-300)), -1.0)


def _nearest_peak(
    correlation: DoubleArray, second: tuple[int, ...], between_A: DoubleArray, pixel_A: float
) -> tuple[int, int]:
    """Among maxima about as high as the highest, the one with the smallest displacement."""
    peaks = (correlation == maximum_filter(correlation, 3)) & (correlation >= AS_GOOD * correlation.max())
    places = np.argwhere(peaks)
    distances = np.hypot(*((places - (np.asarray(second) - 1)) * pixel_A + between_A).T)
    row, column = places[np.argmin(distances)]
    return int(row), int(column)


def _vertex(values: DoubleArray, at: tuple[int, int], axis: int) -> float:
    """Vertex of the parabola through a maximum and its neighbours, in pixels from the middle one."""
    neighbours = []
    for step in (-1, 0, 1):
        place = list(at)
        place[axis] += step
        if not 0 <= place[axis] < values.shape[axis]:
            return 0.0
        neighbours.append(float(values[place[0], place[1]]))
    return 0.0 if min(neighbours) < -0.5 else parabola_vertex(*neighbours)
