"""Distortion of the recorded pattern: where each point of the true pattern was recorded, and its correction.

With u = (row, col) from the middle of the detector, as recorded, in half-widths of its longer side: what belongs at u
was recorded at u + sum c_ij u_row^i u_col^j: linear terms (u_row, u_col) for the row and for the column, then quadratic
(u_row^2, u_row u_col, u_col^2) and cubic ones (u_row^3, u_row^2 u_col, u_row u_col^2, u_col^3) likewise.

The number of counts is preserved: a pixel gets the counts recorded on its area, each recorded pixel being uniform.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import DoubleArray, IndexArray

POWERS = ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3))
COUNTS = {2: 4, 5: 10, 9: 18}
"""Numbers of a linear, a quadratic and a cubic distortion, by terms along an axis."""
SUBPIXELS, FEW_PIXELS = (8, 4), 2**17
"""Points sampled along a pixel for its recorded position: for detectors up to that many pixels, and for larger ones."""
LARGEST = 0.3
"""Largest coefficient, far above what lenses do (some hundredths): more is a mistake."""
SETTLED_PX = 1e-10
"""Step below which a true position is found: rounding leaves a hundredth of it at the edge of a large detector."""
STEPS, LEAST_AREA = 50, 1e-9
"""Most steps towards a true position (strong distortions take about ten), and least area by which a step is divided."""


def terms(u: DoubleArray, count: int = 9) -> DoubleArray:
    """Powers (n, terms) at positions (n, 2)."""
    row, col = ((1.0, along, along * along, along * along * along) for along in np.ascontiguousarray(u.T))
    return np.stack([row[i] * col[j] for i, j in POWERS[:count]]).T


def distortion_of(numbers: Sequence[float]) -> DoubleArray:
    """Coefficients (9, 2) from 4, 10 or 18 numbers, the linear ones first, each order rows before columns; 0: none.

    Raises ValueError for any other count, and for an impossibly large distortion.
    """
    out, given = np.zeros((9, 2)), np.asarray(numbers, dtype=float).ravel()
    if len(given) == 1 and given[0] == 0:
        return out
    if len(given) not in COUNTS.values() or not np.isfinite(given).all():
        raise ValueError(f"distortion has {len(given)} numbers: give 0, the 4 of a linear one, 10 or 18")
    if np.abs(given).max() > LARGEST:
        raise ValueError(f"a distortion of {np.abs(given).max():.3g} of the pattern is too large: at most {LARGEST}")
    at = 0
    for first, last in ((0, 2), (2, 5), (5, 9)):
        if at < len(given):
            out[first:last] = given[at : at + 2 * (last - first)].reshape(2, -1).T
            at += 2 * (last - first)
    return out


def numbers_of(coefficients: DoubleArray) -> tuple[float, ...]:
    """The 18 numbers of coefficients (9, 2)."""
    parts = [coefficients[first:last].T.ravel() for first, last in ((0, 2), (2, 5), (5, 9))]
    return tuple(np.concatenate(parts).tolist())


def recorded_at(places_px: DoubleArray, coefficients: DoubleArray, shape: tuple[int, ...]) -> DoubleArray:
    """Where positions (n, 2) of the true pattern, pixels, were recorded."""
    middle, half = (np.array(shape) - 1) / 2, max(shape) / 2
    u = (places_px - middle) / half
    return np.asarray(places_px + half * terms(u) @ coefficients)


def areas(coefficients: DoubleArray, shape: tuple[int, int]) -> tuple[IndexArray, DoubleArray]:
    """Recorded pixels (K, pixels) on the area of each true pixel, and how much of each lies there."""
    rows, cols = shape
    times = SUBPIXELS[rows * cols > FEW_PIXELS]
    inside = (np.arange(times) + 0.5) / times - 0.5
    offsets = np.stack(np.meshgrid(inside, inside, indexing="ij"), axis=-1).reshape(-1, 2)
    pixels = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1).reshape(-1, 2)
    every = np.empty((len(offsets), len(pixels)), dtype=np.int64)
    area = np.empty(every.shape)
    for n, offset in enumerate(offsets):
        places = pixels + offset
        at = recorded_at(places, coefficients, shape)
        area[n] = _area(_slopes(places, at, coefficients, shape))
        nearest = np.rint(at).astype(np.int64)
        on_detector = ((nearest >= 0) & (nearest < (rows, cols))).all(axis=1)
        every[n] = np.where(on_detector, nearest[:, 0] * cols + nearest[:, 1], -1)
    if area.min() <= 0:
        raise MetadataError("the distortion folds the pattern over itself", "measure it again, or give smaller values")
    return _merged(every, area / len(offsets))


def _merged(every: IndexArray, area: DoubleArray) -> tuple[IndexArray, DoubleArray]:
    """List every pixel once, with summed areas; -1 for none becomes pixel 0 without weight."""
    order = np.argsort(every, axis=0, kind="stable")
    every, area = np.take_along_axis(every, order, axis=0), np.take_along_axis(area, order, axis=0)
    rank = np.concatenate([np.zeros((1, every.shape[1]), dtype=np.int64), (np.diff(every, axis=0) != 0).cumsum(axis=0)])
    count = int(rank.max()) + 1
    sources, weights = np.zeros((count, every.shape[1]), dtype=np.int64), np.zeros((count, every.shape[1]))
    column = np.broadcast_to(np.arange(every.shape[1]), every.shape)
    sources[rank, column] = np.maximum(every, 0)
    np.add.at(weights, (rank, column), np.where(every >= 0, area, 0.0))
    return sources, weights


def _slopes(
    places_px: DoubleArray, at_px: DoubleArray, coefficients: DoubleArray, shape: tuple[int, ...]
) -> DoubleArray:
    """Derivatives (row and column, n, 2) of the recorded positions ``at_px`` of ``places_px`` (n, 2)."""
    step = 0.01  # pixels: cubic terms change little over it, and rounding is 1e-12 of it
    along = [(recorded_at(places_px + step * axis, coefficients, shape) - at_px) / step for axis in np.eye(2)]
    return np.stack(along)


def _area(slopes: DoubleArray) -> DoubleArray:
    """Areas (n,) that unit areas are recorded on; not above 0 where the pattern is folded over itself."""
    down, across = slopes
    return np.asarray(down[:, 0] * across[:, 1] - down[:, 1] * across[:, 0])


def true_places(recorded_px: DoubleArray, coefficients: DoubleArray, shape: tuple[int, ...]) -> DoubleArray:
    """True positions of recorded ones (n, 2), by Newton's method.

    They are looked for from the detector on: a distortion that does not fold it may fold what lies beyond.
    """
    wanted = np.asarray(recorded_px, dtype=float)
    place = wanted.clip(0.0, np.array(shape) - 1.0)
    for _ in range(STEPS):
        at = recorded_at(place, coefficients, shape)
        row, col = (wanted - at).T
        slopes = _slopes(place, at, coefficients, shape)
        (down_row, down_col), (across_row, across_col) = slopes[0].T, slopes[1].T
        step = np.stack([across_col * row - across_row * col, down_row * col - down_col * row], axis=1)
        step /= np.maximum(_area(slopes), LEAST_AREA)[:, None]
        place = place + step
        if np.abs(step).max(initial=0.0) < SETTLED_PX:
            break
    return place


def true_place(
    recorded_px: tuple[float, float], coefficients: DoubleArray, shape: tuple[int, int]
) -> tuple[float, float]:
    """Like :func:`true_places`, for one position."""
    row, col = true_places(np.asarray(recorded_px, dtype=float)[None], coefficients, shape)[0].tolist()
    return row, col
