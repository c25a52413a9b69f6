"""Positions of an earlier refinement, of this program or another, as those to begin from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.earlier_results.formats import read_earlier
from ptylive.schema.errors import MetadataError

MOST_AWAY = 0.3
"""Of the scan's diagonal that positions may lie from the nominal ones, root mean square. A square scan whose axes are
exchanged has 0.41, one that is counted backwards 0.58."""


def with_start_positions(dataset: Dataset, path: str | None) -> Dataset:
    """The data set at the positions of a file: (points, 2) of all scan points, or of its own patterns.

    Frames begin where each program likes: positions are moved so that their mean is that of the nominal ones. Raises
    MetadataError: no positions, of another number of points, so far away that they are of another scan.
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
            f"start_positions {path} ({found.program}) lie {away:.3g} Å from the nominal ones, in the mean",
            "are they of this scan, with its rotation?",
        )
    return replace(dataset, positions_A=np.asarray(placed, dtype=float))
