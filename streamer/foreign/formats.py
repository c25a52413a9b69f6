"""Select the reader for a file: by its name and, for HDF5, by its contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py

from ptylive.streamer.foreign import (
    archives,
    dectris_files,
    digital_micrograph,
    emd,
    nion,
    numpy_files,
    pantarhei,
    rosetta,
    timepix3,
    tvips,
    velox,
)
from ptylive.streamer.foreign.exchange import cxi, mrc_files, nion_files, plain_hdf5, ptyd, tiff_stacks, zarr_files
from ptylive.streamer.storage.hdf5 import opened
from ptylive.streamer.storage.scan_file import ScanFile

Reader = Callable[[Path], AbstractContextManager[ScanFile]]

BY_NAME: dict[str, Reader] = {
    ".npy": numpy_files.open_npy,
    ".npz": archives.open_npz,
    ".json": nion.open_nion,
    ".mib": rosetta.open_mib,
    ".hdr": rosetta.open_mib,
    ".xml": rosetta.open_empad,
    ".raw": rosetta.open_empad,
    ".blo": rosetta.open_blo,
    ".hspy": rosetta.open_hspy,
    ".zspy": rosetta.open_hspy,
    ".dm3": digital_micrograph.open_dm,
    ".dm4": digital_micrograph.open_dm,
    ".tvips": tvips.open_tvips,
    ".prz": pantarhei.open_prz,
    ".ndata": nion_files.open_ndata,
    ".nhdf": nion_files.open_nhdf,
    ".tif": tiff_stacks.open_tiff,
    ".tiff": tiff_stacks.open_tiff,
    ".mrc": mrc_files.open_mrc,
    ".mrcs": mrc_files.open_mrc,
    ".zarr": zarr_files.open_zarr,
}
OF_EVENTS: dict[str, Callable[[Path, Mapping[str, Any]], AbstractContextManager[ScanFile]]] = {
    ".tpx3": timepix3.open_tpx3,
}
"""Files of events with times: the known properties of the scan define the frames."""
SUFFIXES = (*BY_NAME, *OF_EVENTS)
PICTURES_TOO = (".tif", ".tiff", ".mrc", ".mrcs")
"""Suffixes of files that are more often pictures than scans: opened when named, but not taken up from a folder."""
FOLDERS = (".zarr", ".zspy")
"""Suffixes of folders that are one scan each."""
HDF5_NAMES = (".h5", ".hdf5", ".nxs", ".emd", ".hdf", ".cxi", ".ptyd", ".mat")
_NATIVE = ("data", "coefficients")
_BY_CONTENT: tuple[tuple[Callable[[Any], bool], Reader], ...] = (
    (dectris_files.recognises, dectris_files.open_dectris),
    (rosetta.recognises_hspy, rosetta.open_hspy),
    (velox.recognises, velox.open_velox),
    (emd.recognises, emd.open_emd),
    (cxi.recognises, cxi.open_cxi),
    (ptyd.recognises, ptyd.open_ptyd),
    (plain_hdf5.recognises, plain_hdf5.open_plain),
)
"""Readers of HDF5 files of other programs, and how to recognise theirs; the first one that does reads the file."""


def reader_for(path: Path, values: Mapping[str, Any] | None = None) -> Reader | None:
    """Return the reader of a foreign file; None for a native or unknown one. ``values``: see open_source."""
    suffix = path.suffix.lower()
    if suffix in OF_EVENTS:
        opening, known = OF_EVENTS[suffix], values or {}
        return lambda archive: opening(archive, known)
    if suffix in BY_NAME:
        return BY_NAME[suffix]
    if not path.is_file() or not (suffix in HDF5_NAMES or h5py.is_hdf5(path)):
        return None
    with opened(path) as file:
        return _by_content(file)


def _by_content(file: Any) -> Reader | None:
    if any(_is_array(file, name) for name in _NATIVE):
        return None
    for recognises, reader in _BY_CONTENT:
        if recognises(file):
            return reader
    if Path(file.filename).suffix.lower() == ".mat" or plain_hdf5.holds_one_scan(file):
        return plain_hdf5.open_plain
    return None


def _is_array(file: Any, name: str) -> bool:
    """Whether something of that name exists that is not a group: Berkeley's EMD files have a group ``data``."""
    is_own = isinstance(file.get(name, getlink=True), h5py.HardLink)  # targets of links are examined by their reader
    return name in file and not (is_own and file.get(name, getclass=True) is h5py.Group)
