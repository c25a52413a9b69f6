"""Recordings of one place added up: what their dose gains, and what more would gain (docs/dose.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptylive.application.offline import MapRequest, Reconstruction, reconstruct_source
from ptylive.engine.repeats import Places, RepeatedScan
from ptylive.engine.results_file import look
from ptylive.engine.stored_maps import StoredMaps
from ptylive.schema import LiveMap
from ptylive.schema.advice.dose_curve import DoseCurve
from ptylive.streamer.source import open_source

METHOD = "obf"
PATIENCE_S = 60.0


@dataclass(frozen=True, eq=False)
class DoseStep:
    """State after one more recording: the curve of its place, None without one (``problem``), and the mean map."""

    path: Path
    made: Reconstruction
    curve: DoseCurve | None
    mean: LiveMap | None
    problem: str = ""


def holds_mean(path: Path) -> bool:
    """Whether a results file holds only mean maps of :func:`add_recordings`. Raises InputFileError for other files."""
    if look(path).runs:
        return False
    return all("scans" in live_map.settings for live_map in StoredMaps.read(path).maps.values())


def add_recordings(
    paths: Sequence[Path],
    values: Mapping[str, Any],
    backend: str = "auto",
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[DoseStep]:
    """Add recordings one after the other, in the given order. Raises PtyliveError for a file without a map.

    ``values``: metadata for all of them, which take precedence over those of the files.
    """
    places = Places()
    for number, path in enumerate(paths):
        with open_source(path, values) as source:
            reconstruction = reconstruct_source(source, values, [METHOD], MapRequest(backend=backend), on_progress)
            # two files may hold the same scan twice, or have no identity
            header = reconstruction.engine.header.renamed(f"{number}", path.stem)
        scan = RepeatedScan.of(header, reconstruction.rendering.maps, reconstruction.engine.recent_mean(PATIENCE_S))
        if scan is None:
            yield DoseStep(
                path,
                reconstruction,
                None,
                None,
                reconstruction.rendering.missing.get(METHOD, "no map was made of this scan"),
            )
            continue
        curve = places.take(scan)
        yield DoseStep(path, reconstruction, curve, None if curve is None else places.mean(), scan.problem)
