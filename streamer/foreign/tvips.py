"""TVIPS ``.tvips`` streams through RosettaSciIO: all frames of the parts ``NAME_000.tvips``, ``NAME_001.tvips``, …"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptylive.schema import InputFileError
from ptylive.streamer.foreign.rosetta import frames_of, only_scan, read_signals, value_at
from ptylive.streamer.foreign.units import energy_eV
from ptylive.streamer.storage.scan_file import ScanFile

LATER_PART = re.compile(r"_(?!000)(\d{3})$")
"""Ending of the stem of a file that continues another one."""
_LEAST_VOLTS = 5000
"""The header's high tension has no unit. No electron microscope has 5000 kV, and none records patterns at 5 kV."""
_NOTES = (
    "the stream has frames from before and after the scan: set skip_first as well as scan_shape",
    "pixel size and dwell time are not used: the stream gives them without a unit",
)


@contextmanager
def open_tvips(path: Path) -> Iterator[ScanFile]:
    """Open the first part; the others are read with it. Raises InputFileError."""
    if part := LATER_PART.search(path.stem):
        first = f"{path.stem[: part.start()]}_000{path.suffix}"
        raise InputFileError(f"{path} is a later part of a recording", f"open {first}")
    found = only_scan(path, read_signals("tvips", path))
    tension = energy_eV(value_at(found, "metadata.Acquisition_instrument.TEM.beam_energy"))
    metadata: dict[str, Any] = {}
    if tension is not None:
        metadata["energy_eV"] = tension if tension >= _LEAST_VOLTS else 1e3 * tension
    yield ScanFile(frames_of(path, found), metadata, notes=_NOTES)
