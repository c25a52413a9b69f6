"""Convert a scan file to PyPty's format, with the calibration that its maps would have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ptylive.application.offline import reconstruct_source, refinable
from ptylive.application.outputs import OTHER_NAME, check_output_file, check_recording
from ptylive.engine.exports.pypty_dataset import PyptyScan, is_own_script, script_of, write_pypty_dataset
from ptylive.schema import InputFileError

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

        def check() -> None:
            check_recording(target, source)
            _check_script(script, path)

        check()
        calibration = reconstruct_source(source, values, QUICKEST).calibration
        identity = {"uid": source.identity(), "series": source.header.series}
        dataset = refinable(source, calibration)
        return write_pypty_dataset(dataset, target, script, identity, on_progress, check), script


def _check_script(script: Path, scan: Path) -> None:
    """Raise InputFileError if the preset cannot be written, or would replace a script that is not one."""
    check_output_file(script, [scan])
    if script.exists() and not is_own_script(script.read_text(encoding="utf-8", errors="replace")):
        raise InputFileError(f"{script} exists and is not a preset that ptylive wrote", OTHER_NAME)
