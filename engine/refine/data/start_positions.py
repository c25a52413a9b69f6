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
    found = read_earlier(Path(path))
    theirs = found.require_positions(path)
    points, nominal = int(np.prod(dataset.scan_shape)), np.asarray(dataset.positions_A, dtype=float)
    if len(theirs) == points:
        placed = theirs[dataset.point]
    elif found.in_our_frame and len(theirs) == len(nominal):
        placed = theirs
    else:
        raise MetadataError(
            f"start_positions {path} ({found.program}) holds {len(theirs)} positions, the scan has {points} points",
            "give a result of the whole scan",
        )
    if not found.in_our_frame:
        placed = placed + (nominal - placed).mean(axis=0)
    away = float(np.sqrt(((placed - nominal) ** 2).sum(axis=1).mean()))
    extent = float(np.hypot(*np.ptp(nominal, axis=0)))
    if away > MOST_AWAY * extent:
        raise MetadataError(
            f"start_positions {path} ({found.program}) lie {away:.3g} Å from the nominal ones, on average",
            "do they belong to this scan, with its rotation?",
        )
    return replace(dataset, positions_A=np.asarray(placed, dtype=float))
