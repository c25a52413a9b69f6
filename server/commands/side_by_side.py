"""Maps and refinement of a stored scan in one picture, drawn in the process that opens files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import MetadataError

IN_A_ROW = 4
MOST_PIXELS = 2**24
"""Of all slices: some seconds of drawing. A file that takes longer would be taken for a damaged one."""


def side_by_side(path: Path) -> dict[str, Any]:
    """Of a results file: ``png`` (bytes,) uint8, names ``shown``, ``run``, and each map's ``correlation`` with that.

    Raises InputFileError, MetadataError.
    """
    import h5py

    from ptylive.application.comparison import compare

    with h5py.File(path, "r") as file:
        sizes = [run["object"].size for run in file.get("refinements", {}).values() if "object" in run]
    if max(sizes, default=0) > MOST_PIXELS:
        said = f"the object of {path.name} has {max(sizes) / 1e6:.0f} million pixels: too many to draw in a session"
        raise MetadataError(said, f"ptylive compare {path.name} PICTURE.png does")
    found = compare(path)
    return {
        "png": np.frombuffer(found.picture(IN_A_ROW), dtype=np.uint8),
        "shown": [one.name for one in found.shown],
        "run": found.first_run or "",
        "correlation": found.correlations(),
    }
