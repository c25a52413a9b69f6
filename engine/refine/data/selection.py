"""Selection of patterns by ``sequence``, and of those in the middle of a scan, on which trials are made.

Where the middle is empty and the specimen lies elsewhere, as with a single particle at the edge of the field, trials in
the middle would judge noise. The square of patterns that differ most from each other takes its place if they differ
clearly more than those in the middle do.
"""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.pattern_view import shuffled
from ptylive.schema.model import Array, BoolArray, DoubleArray, FloatArray, IndexArray
from ptylive.schema.preset.patterns import PatternSettings
from ptylive.schema.preset.sequence import chosen_patterns

PART, PLACES = 576, 9
"""Patterns of a part that is compared with the middle, and parts along each axis."""
MORE, CERTAIN = 4.0, 6.0
"""Structure of another part over that of the middle, and standard deviations between the two, from which on it takes
the place of the middle. In 108 scans of the zoo, all of which show something in the middle, the ratio is at most 1.8;
it is 18 and more where the middle is empty.
"""
READ, READ_BYTES, BINS = 4096, 2**25, 12
"""Maximum number of patterns that are read, their bytes at a time, and bins of a pattern along each axis."""
OUTLIERS = (1.0, 99.0)
"""Percentiles at which a bin is cut off: flashes are no structure."""
LOST = 0.1
"""Counts of a pattern over the median below which it was lost."""
_centres: dict[int, tuple[weakref.ref[Array], int]] = {}
"""Pattern at the centre of each set of patterns, by identity: trials ask again and again."""


def central(dataset: Dataset, most: int) -> IndexArray:
    """Indices of the patterns in a square around the middle of the scan, or around its structure if that is elsewhere.

    The centre depends on the patterns and on where they were recorded, not on ``most``.
    """
    distance_A = np.abs(dataset.positions_A - _centre_A(dataset)).max(axis=1)
    return np.sort(np.argsort(distance_A, kind="stable")[:most])


def _centre_A(dataset: Dataset) -> DoubleArray:
    """Position (2,) in Å around which trials are made."""
    patterns, positions = dataset.patterns, dataset.positions_A
    middle = np.median(positions, axis=0)
    if not isinstance(patterns, np.ndarray) or dataset.masks is not None or len(patterns) <= PART:
        return np.asarray(middle)
    known = _centres.get(id(patterns))
    if known is None or known[0]() is not patterns:
        for key in [key for key, (kept, _) in _centres.items() if kept() is None]:
            del _centres[key]
        known = _centres[id(patterns)] = weakref.ref(patterns), _structured(dataset, middle)
    return np.asarray(middle if known[1] < 0 else positions[known[1]])


def _structured(dataset: Dataset, middle: DoubleArray) -> int:
    """Index of the pattern at the centre of the part with the most structure; -1 if the middle has about as much."""
    from scipy.spatial import cKDTree

    count = len(dataset.patterns)
    read = np.sort(np.random.default_rng(0).permutation(count)[:READ])
    halves, lost = _halves(dataset, read)
    halves, read = halves[:, ~lost], read[~lost]
    if not len(read):
        return -1
    positions = dataset.positions_A[read]
    tree, nearest = cKDTree(positions), max(2, round(PART * len(read) / count))

    def structure(centre: DoubleArray) -> tuple[float, float]:
        return _structure(halves[:, tree.query(centre, k=nearest, p=np.inf)[1]])

    axes = [np.linspace(low, high, PLACES) for low, high in zip(positions.min(0), positions.max(0), strict=True)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    parts = [structure(centre) for centre in centres]
    best = max(range(len(parts)), key=lambda number: parts[number][0])
    (most, deviation), (present, also) = parts[best], structure(middle)
    if most <= MORE * present or most - present <= CERTAIN * np.hypot(deviation, also):
        return -1
    return int(read[tree.query(centres[best], p=np.inf)[1]])


def _structure(halves: FloatArray) -> tuple[float, float]:
    """How much patterns (2, n, bins) differ from each other, free of counting noise, and its standard deviation.

    This is the covariance of the two halves of the pixels, whose noise is independent, summed over the bins.
    """
    first, second = halves - halves.mean(axis=1, keepdims=True)
    noise = ((first**2).mean(axis=0) * (second**2).mean(axis=0)).sum() / len(first)
    return float((first * second).mean(axis=0).sum()), float(np.sqrt(noise))


def _halves(dataset: Dataset, read: IndexArray) -> tuple[FloatArray, BoolArray]:
    """Counts of those patterns in bins of the detector over those of the whole pattern, (2, n, bins).

    Each half holds the pixels of one colour of a chessboard. Also which of the patterns (n,) hold hardly any counts,
    because the detector or the beam was off.
    """
    white = np.indices(dataset.bad_pixels.shape).sum(axis=0) % 2 == 0
    colours = (white & ~dataset.bad_pixels, ~white & ~dataset.bad_pixels)
    at_once = max(1, READ_BYTES // max(1, 4 * white.size))
    blocks = [
        np.stack([_binned(np.where(colour, counts, np.float32(0))) for colour in colours])
        for first in range(0, len(read), at_once)
        for counts in [np.nan_to_num(dataset.patterns[read[first : first + at_once]].astype(np.float32))]
    ]
    binned = np.concatenate(blocks, axis=1)
    low, high = np.percentile(binned, OUTLIERS, axis=1, keepdims=True)
    binned = np.clip(binned, low, high)
    totals = binned.sum(axis=(0, 2))
    lost = totals <= LOST * np.median(totals)
    return (binned / np.where(lost, 1, totals)[:, None]).astype(np.float32), lost


def _binned(counts: FloatArray) -> FloatArray:
    """Sums (n, bins) of patterns (n, Qy, Qx) in bins of the detector."""
    for axis in (1, 2):
        bins = min(BINS, counts.shape[axis])
        counts = np.add.reduceat(counts, np.arange(bins) * counts.shape[axis] // bins, axis=axis)
    return counts.reshape(len(counts), -1)


def selected(dataset: Dataset, patterns: PatternSettings) -> Dataset:
    """Return the selected patterns.

    With ``use_full_FOV`` the object still covers the positions of all patterns. Raises MetadataError if none is left.
    """
    if patterns.sequence is None:
        return dataset
    index = chosen_patterns(patterns.sequence, len(dataset.patterns))
    stored = isinstance(dataset.patterns, np.ndarray)
    reach = np.stack([dataset.positions_A.min(axis=0), dataset.positions_A.max(axis=0)])
    part = dataset.part(index, None if stored else shuffled(dataset.patterns, index).as_array())
    return replace(part, reach_A=reach if patterns.use_full_FOV else None)
