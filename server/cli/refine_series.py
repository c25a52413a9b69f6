"""``ptylive refine`` with several files: scans of one place at different tilts, as one data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptylive.schema import MetadataError
from ptylive.server.cli.output import say

if TYPE_CHECKING:
    from ptylive.application.extensions import Preset
    from ptylive.application.offline import Reconstruction
    from ptylive.application.presets import PresetFile
    from ptylive.engine.dataset import Dataset
    from ptylive.engine.refine.data.start_guess import StartGuess
    from ptylive.schema import LiveMap
    from ptylive.streamer.source import FileSource


def look_through(files: Sequence[Path], values: Mapping[str, Any], loaded: PresetFile, *, shared: bool) -> None:
    """Vet the files other than the first. Raises MetadataError for options that work with one file only, and for a
    file given twice.
    """
    from ptylive.application.tilt_series import each_once
    from ptylive.streamer.vetting.whole_file import vet

    each_once(files)
    further = files[1:]
    if further and shared:
        raise MetadataError(
            "several scans are refined together on this machine", "leave out --cluster, or refine a single scan"
        )
    if further and loaded.positions_A is not None:
        raise MetadataError(
            "the preset holds positions of one scan", "leave out its positions, or refine a single scan"
        )
    for file in further:
        vet(file, values)


def map_of(mapped: Reconstruction, wanted: Preset) -> LiveMap | None:
    """Return the map that a refinement starts from and by which scans are located."""
    return next((live_map for live_map in mapped.rendering.maps if live_map.name == wanted.start.start_map), None)


def with_others(
    first: tuple[str, Dataset, StartGuess | None],
    others: Iterable[FileSource],
    wanted: Preset,
    mapping: Callable[[Path], Reconstruction],
) -> Dataset:
    """Combine the first scan (name, data set, map) with other open scans into one data set; alone it stays as it is.

    ``mapping`` makes the map by which each scan is located. Raises MetadataError, InputFileError.
    """
    from ptylive.application.tilt_series import RecordedScan, together

    scans = [RecordedScan(*first)]
    for source in others:
        mapped = mapping(source.path)
        for remark in mapped.remarks:
            say(f"{source.path.name}: {remark}")
        scans.append(RecordedScan.beside(scans[0], source, mapped.calibration, map_of(mapped, wanted)))
    return scans[0].dataset if len(scans) == 1 else together(scans, wanted, say)
