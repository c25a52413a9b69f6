"""Depth section of a refinement along a line, and its correlation with another run: the command `analyse`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.application.analysis.figures import curve, same_place
from ptylive.engine.analysis.fourier_correlation import ring_correlation
from ptylive.engine.analysis.sections import Point, depth_section
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import CommandError, MetadataError
from ptylive.server.wire.messages import array_to_plain


def run_curves(results: Path, run: str, other: str = "", line_A: Iterable[float] | None = None) -> dict[str, Any]:
    """Return the depth section of a run along a line, and its ring correlation with another run of the same file.

    line_A: ROW, COL, ROW, COL in Å from the centre of the object's pixel (0, 0). ``section`` is None for a single
    slice or without a line, ``ring_correlation`` None without another run. Raises PtyliveError for a missing run, a
    line outside the object, or runs that cannot be compared.
    """
    first = StoredRun.read(results, run)
    line = parse_line(line_A)
    section = None
    if line is not None and first.slices > 1:
        try:
            found = depth_section(first.phase(), first.pixel_A, first.spacing_A, line)
        except MetadataError as error:  # from the file's own scale: if the line is right, the file is damaged
            raise MetadataError(f"{run} of {results}: {error}", error.hint) from None
        section = {**array_to_plain(found.phase), "sampling_A": list(found.sampling_A)}
    rings = None
    if other:
        first_object, second_object = same_place(first, StoredRun.read(results, other))
        rings = curve(ring_correlation(first_object.sum(axis=0), second_object.sum(axis=0), first.pixel_A))
    return {"run": run, "slices": first.slices, "section": section, "ring_correlation": rings}


def parse_line(line_A: Iterable[float] | None) -> tuple[Point, Point] | None:
    """Parse two points given with a command. Raises CommandError."""
    if line_A is None:
        return None
    values = [float(v) for v in line_A]
    if len(values) != 4 or not np.isfinite(values).all():
        raise CommandError("line_A must be four numbers", "give ROW, COL, ROW, COL in Å")
    return (values[0], values[1]), (values[2], values[3])
