"""Maps and refinement of a stored scan as a picture, page or film, drawn in the process that opens files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import MetadataError

IN_A_ROW = 4
MOST_PIXELS = 2**24
"""Maximum pixels over all slices, some seconds of drawing; a file that takes longer would count as damaged."""


def side_by_side(path: Path) -> dict[str, Any]:
    """Return, for a results file, ``png`` (bytes,) uint8, names ``shown``, ``run``, and each map's ``correlation``
    with that run.

    Raises InputFileError, MetadataError.
    """
    from ptylive.application.comparison import compare

    check_size(path, f"ptylive compare {path.name} PICTURE.png")
    found = compare(path)
    return {
        "png": np.frombuffer(found.picture(IN_A_ROW), dtype=np.uint8),
        "shown": [item.name for item in found.shown],
        "run": found.first_run or "",
        "correlation": found.correlations(),
    }


def report_page(path: Path) -> dict[str, Any]:
    """Return, for a results file, ``html`` (bytes,) uint8, titles of pictures ``shown``, and ``runs``.

    Raises InputFileError, MetadataError.
    """
    from ptylive.application.report import read_report, to_html

    check_size(path, f"ptylive report {path.name}")
    found = read_report(path)
    return {
        "html": np.frombuffer(to_html(found).encode("utf-8"), dtype=np.uint8),
        "shown": [item.title for item in found.pictures],
        "runs": [item.name for item in found.runs],
    }


def film_of(last: Path) -> dict[str, Any]:
    """Return, for the last snapshot of a history, ``gif`` (bytes,) uint8, the number of ``pictures`` and the last
    ``epoch``.

    Raises InputFileError, MetadataError.
    """
    from ptylive.application.film import short_film

    gif, pictures, epoch = short_film(last)
    return {"gif": np.frombuffer(gif, dtype=np.uint8), "pictures": pictures, "epoch": epoch}


def check_size(path: Path, instead: str) -> None:
    """Raise MetadataError for an object that takes too long to draw, naming the command to use ``instead``."""
    import h5py

    with h5py.File(path, "r") as file:
        sizes = [run["object"].size for run in file.get("refinements", {}).values() if "object" in run]
    if max(sizes, default=0) > MOST_PIXELS:
        problem = f"the object of {path.name} has {max(sizes) / 1e6:.0f} million pixels: too many to draw here"
        raise MetadataError(problem, f"use {instead}")
