"""Maps and refinement of a stored scan in one picture, drawn in the process that opens files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

IN_A_ROW = 4


def side_by_side(path: Path) -> dict[str, Any]:
    """Of a results file: ``png`` (bytes,) uint8, names ``shown``, ``run``, and each map's ``correlation`` with that.

    Raises InputFileError, MetadataError.
    """
    from ptylive.application.comparison import compare

    found = compare(path)
    return {
        "png": np.frombuffer(found.picture(IN_A_ROW), dtype=np.uint8),
        "shown": [one.name for one in found.shown],
        "run": found.first_run or "",
        "correlation": found.correlations(),
    }
