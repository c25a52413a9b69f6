"""Assignment of a frame's pixels to sums, laid out for the kernels of ``reduction_numba`` (no numba here)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ptylive.schema.model import BoolArray, DoubleArray, IndexArray, LabelArray


class PixelPlan(NamedTuple):
    """Bins and regions in the form used by the kernel; rows and columns as recorded.

    bad (b,): flat pixels set to zero. row_at (rows,), col_at (cols,): coordinates for the moments. runs (r, 3): first
    pixel, end and region of pixels in a row that share a region; the last region is whatever no run holds. band_at
    (bands + 1,): rows in which a band starts; a whole bin lies in one band, ``width`` rows high and columns wide.
    boxes (x, 3): neighbouring whole bins of a band: first column, count, number of the first; boxes_at (bands + 1,):
    the first of each band. ragged (p,): pixels of the other bins, ragged_at (g + 1,): where each bin starts,
    ragged_bin (g,): number of the bin.
    """

    bad: IndexArray
    row_at: DoubleArray
    col_at: DoubleArray
    runs: IndexArray
    band_at: IndexArray
    boxes: IndexArray
    boxes_at: IndexArray
    width: int
    ragged: IndexArray
    ragged_at: IndexArray
    ragged_bin: IndexArray

    @classmethod
    def of(cls, bin_of: LabelArray, region_of: LabelArray, width: int, region_count: int, axes: Axes) -> PixelPlan:
        """Make the plan for bins (Qy, Qx), -1 if none, squares ``width`` pixels wide, and regions (Qy, Qx), -1 bad."""
        rows = len(bin_of)
        top, left, whole = _boxes(bin_of, width)
        first = int(top[whole][0]) % width if whole.any() else 0
        band_at = np.unique(np.concatenate([[0], np.arange(first, rows, width), [rows]]))
        busy = np.isin(band_at[:-1], top[whole])  # bands without boxes are merged
        band_at = np.append(band_at[:-1][busy | np.concatenate([[True], busy[:-1]])], rows)
        boxes, band_of_box = _neighbours(top, left, whole, band_at, width)
        in_ragged = np.flatnonzero((bin_of >= 0) & ~np.isin(bin_of, np.flatnonzero(whole)))
        order = in_ragged[np.argsort(bin_of.ravel()[in_ragged], kind="stable")]
        ragged_bin, ragged_at = np.unique(bin_of.ravel()[order], return_index=True)
        return cls(
            bad=np.flatnonzero(region_of < 0),
            row_at=axes.row_at,
            col_at=axes.col_at,
            runs=_runs(region_of, region_count - 1),
            band_at=band_at,
            boxes=boxes,
            boxes_at=np.searchsorted(band_of_box, np.arange(len(band_at))),
            width=width,
            ragged=order,
            ragged_at=np.append(ragged_at, len(order)).astype(np.int64),
            ragged_bin=ragged_bin.astype(np.int64),
        )


class Axes(NamedTuple):
    """Coordinates of the detector's rows (Qy,) and columns (Qx,)."""

    row_at: DoubleArray
    col_at: DoubleArray


def _boxes(bin_of: LabelArray, width: int) -> tuple[IndexArray, IndexArray, BoolArray]:
    """Return top row and left column of each bin, and whether it is a whole square."""
    count = int(bin_of.max(initial=-1)) + 1
    row, col = np.nonzero(bin_of >= 0)
    label = bin_of[row, col]
    top, left = (np.full(count, max(bin_of.shape), dtype=np.int64) for _ in range(2))
    np.minimum.at(top, label, row)
    np.minimum.at(left, label, col)
    whole = np.bincount(label, minlength=count) == width * width
    if whole.any():  # a bin of a square's area but another shape, or off the grid of the others, is left to the list
        far = np.zeros(count, dtype=np.int64)
        np.maximum.at(far, label, np.maximum(row - top[label], col - left[label]))
        whole &= (far < width) & (top % width == np.bincount(top[whole] % width).argmax())
    return top, left, whole


def _neighbours(
    top: IndexArray, left: IndexArray, whole: BoolArray, band_at: IndexArray, width: int
) -> tuple[IndexArray, IndexArray]:
    """Return whole bins consecutive in number and place, as ``boxes``, and the band of each."""
    number = np.flatnonzero(whole)
    order = number[np.lexsort((left[number], top[number]))]
    if not len(order):
        return np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)
    joined = (np.diff(order) == 1) & (np.diff(top[order]) == 0) & (np.diff(left[order]) == width)
    start = np.flatnonzero(np.concatenate([[True], ~joined]))
    count = np.diff(np.append(start, len(order)))
    first = order[start]
    return np.stack([left[first], count, first], 1), np.searchsorted(band_at, top[first])


def _runs(region_of: LabelArray, skipped_region: int) -> IndexArray:
    """Return runs of pixels in a row in a region other than ``skipped_region``; bad pixels in a run are zero anyway."""
    runs = []
    cols = region_of.shape[1]
    for r, line in enumerate(region_of):
        good = np.flatnonzero(line >= 0)
        if not len(good):
            continue
        filled = line[good[np.searchsorted(good, np.arange(cols)).clip(max=len(good) - 1)]]
        edges = np.concatenate([[0], np.flatnonzero(np.diff(filled)) + 1, [cols]])
        runs += [
            (r * cols + a, r * cols + b, filled[a]) for a, b in pairwise(edges.tolist()) if filled[a] != skipped_region
        ]
    return np.array(runs, dtype=np.int64).reshape(-1, 3)


def accumulator_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which pixels are summed: exact for integers, for at most SUMMED of them."""
    if dtype.kind == "f":
        return np.dtype(np.float64)
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return np.dtype(np.uint32)
    return np.dtype(np.uint64 if dtype.kind == "u" else np.int64)


SUMMED = 2**16
"""Number of frames that a running sum of patterns may hold in the type of :func:`accumulator_of`."""
