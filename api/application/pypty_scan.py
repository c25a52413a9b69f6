"""Convert a scan file to PyPty's format, with the calibration that its maps would have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptylive.application.offline import reconstruct_source, refinable
from ptylive.application.outputs import check_output_file, check_recording
from ptylive.engine.exports.pypty_dataset import PyptyScan, script_of, write_pypty_dataset

QUICKEST = ("bf",)
"""A map of the scan is made, because maps provide its calibration."""


def write_for_pypty(
    path: Path,
    target: Path,
    values: Mapping[str, Any],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[PyptyScan, Path]:
    """Write patterns to ``target`` and the preset next to it; return a description of the former, and the path.

    ``values``: metadata that take precedence over the file's; missing ones are estimated. Raises InputFileError,
    MetadataError; OSError for a full disk.
    """
    from ptylive.streamer.source import open_source

    script = script_of(target)
    with open_source(path, values) as source:
        check_recording(target, source)
        check_output_file(script, [path])
        calibration = reconstruct_source(source, values, QUICKEST).calibration
        identity = {"uid": source.identity(), "series": source.header.series}
        dataset = refinable(source, calibration)
        return write_pypty_dataset(dataset, target, script, identity, on_progress), script
