"""Square bins of a region of the detector, each of unit norm."""

from __future__ import annotations

import numpy as np

from ptylive.engine.bases.field import DetectorField
from ptylive.schema.model import BoolArray, DoubleArray, IndexArray

WIDTHS = np.linspace(0.6, 1.6, 81)
"""Widths tried, relative to the width required if no bin were cut by the region's edge."""
OFFSETS = (0.0, 0.5)
"""Beam on the middle of a bin, or on the corner of four."""


def square_bins(field: DetectorField, region: BoolArray, count: int) -> DoubleArray:
    """Return bins (n, pixels of the region) of unit norm, n as near to ``count`` as squares allow."""
    row, col = field.grid.k_row[region], field.grid.k_col[region]
    ideal = np.sqrt(len(row) / count)
    best: tuple[int, IndexArray] | None = None
    # from narrow to wide: among those with the right number, bins of the narrowest differ least in size
    for width in np.maximum(WIDTHS * ideal, 1.0):
        for offset in OFFSETS:
            names = np.floor(row / width + offset) * 65536 + np.floor(col / width + offset)
            label = np.unique(names, return_inverse=True)[1]
            miss = abs(int(label.max()) + 1 - count)
            if best is None or miss < best[0]:
                best = (miss, label)
        if best is not None and best[0] == 0:
            break
    label = np.zeros(len(row), dtype=np.int64) if best is None else best[1]
    size = np.bincount(label)
    return np.asarray((label == np.arange(len(size))[:, None]) / np.sqrt(size)[:, None])
