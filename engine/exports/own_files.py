"""Recognise files that an earlier export wrote; an export replaces only these.

Arrays in `.npy` files cannot say who wrote them: they are recognised by the `params.json` next to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ptylive.engine import file_guard
from ptylive.engine.damaged_files import FAULTS
from ptylive.engine.exports import hspy, ptychodus, ptyrad, py4dstem, pypty
from ptylive.engine.exports.tiff import is_own_tiff
from ptylive.pictures.snapshot import is_own_png

HDF5: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "hspy": hspy.is_own,
        "nxs": pypty.is_own_nxs,
        "ptyrad": ptyrad.is_own,
        "py4dstem": py4dstem.is_own,
        "ptychodus": ptychodus.is_own,
    }
)
"""For each format whose files are HDF5: whether an open file was written here."""
OTHERS: Mapping[str, Callable[[Path], bool]] = MappingProxyType(
    {
        "png": is_own_png,
        "tiff": is_own_tiff,
        "pypty": lambda path: pypty.is_own_parameters(path.with_name(pypty.PARAMETERS)),
    }
)


def is_own(path: Path, kind: str) -> bool:
    """Whether a file was written by an export of this kind. Raises InputFileError, OSError."""
    if kind in OTHERS:
        return OTHERS[kind](path)
    import h5py

    file_guard.admit(path)
    try:
        with h5py.File(path, "r") as file:
            return HDF5[kind](file)
    except FAULTS:
        return False
