"""Which reader a file needs: by its name, and, for HDF5, by what is in it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ptylive.streamer.foreign import dectris_files, emd, nion, numpy_files, rosetta
from ptylive.streamer.storage.hdf5 import opened
from ptylive.streamer.storage.scan_file import ScanFile

Reader = Callable[[Path], AbstractContextManager[ScanFile]]

BY_NAME: dict[str, Reader] = {
    ".npy": numpy_files.open_npy,
    ".json": nion.open_nion,
    ".mib": rosetta.open_mib,
    ".hdr": rosetta.open_mib,
    ".xml": rosetta.open_empad,
    ".raw": rosetta.open_empad,
    ".blo": rosetta.open_blo,
    ".hspy": rosetta.open_hspy,
    ".zspy": rosetta.open_hspy,
}
HDF5_NAMES = (".h5", ".hdf5", ".nxs", ".emd", ".hdf", ".cxi")
_NATIVE = ("data", "coefficients")


def reader_for(path: Path) -> Reader | None:
    """The reader of a foreign file; None for a native one, and for what no reader knows."""
    suffix = path.suffix.lower()
    if suffix in BY_NAME:
        return BY_NAME[suffix]
    if suffix not in HDF5_NAMES or not path.is_file():
        return None
    with opened(path) as file:
        return _by_content(file)


def _by_content(file: Any) -> Reader | None:
    if any(name in file for name in _NATIVE):
        return None
    if dectris_files.recognises(file):
        return dectris_files.open_dectris
    if emd.recognises(file):
        return emd.open_emd
    return None
