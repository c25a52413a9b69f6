"""Positions from an earlier refinement, by this program or another, as starting positions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.earlier_results.formats import read_earlier
from ptylive.schema.errors import MetadataError

MOST_AWAY = 0.3
"""Largest root-mean-square distance from the nominal positions, as a share of the scan's diagonal. A square scan with
exchanged axes has 0.41, one that is counted backwards 0.58."""


def with_start_positions(dataset: Dataset, path: str | None) -> Dataset:
    """The data set at the positions in a file: (points, 2) for all scan points, or for its own patterns.

    Programs use different origins, so positions are shifted to the mean of the nominal ones. Raises
    MetadataError for a file without positions, another number of points, or positions too far away to be of this scan.
    """
    if path is None:
        return dataset
    earlier = read_earlier(Path(path))
    stored = earlier.require_positions(path)
    points, nominal = int(np.prod(dataset.scan_shape)), np.asarray(dataset.positions_A, dtype=float)
    if len(stored) == points:
        placed = stored[dataset.point]
    elif earlier.in_our_frame and len(stored) == len(nominal):
        placed = stored
    else:
        raise MetadataError(
            f"start_positions {path} ({earlier.program}) holds {len(stored)} positions, the scan has {points} points",
            "give a result of the whole scan",
        )
    if not earlier.in_our_frame:
        placed = placed + (nominal - placed).mean(axis=0)
    distance_A = float(np.sqrt(((placed - nominal) ** 2).sum(axis=1).mean()))
    extent = float(np.hypot(*np.ptp(nominal, axis=0)))
    if distance_A > MOST_AWAY * extent:
        raise MetadataError(
            f"start_positions {path} ({earlier.program}) lie {distance_A:.3g} Å from the nominal ones, on average",
            "do they belong to this scan, with its rotation?",
        )
    return replace(dataset, positions_A=np.asarray(placed, dtype=float))
