"""The formats a refinement can be exported to, each by one function of a run and a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ptylive.engine.exports.maps import write_hspy_run, write_tiffs
from ptylive.engine.exports.ptychodus import write_ptychodus
from ptylive.engine.exports.ptyrad import write_ptyrad
from ptylive.engine.exports.py4dstem import write_py4dstem
from ptylive.engine.exports.pypty import write_nxs, write_pypty
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import MetadataError

Exporter = Callable[[StoredRun, Path], list[Path]]
EXPORTERS: Mapping[str, Exporter] = MappingProxyType(
    {
        "pypty": write_pypty,
        "nxs": write_nxs,
        "ptyrad": write_ptyrad,
        "py4dstem": write_py4dstem,
        "ptychodus": write_ptychodus,
        "tiff": write_tiffs,
        "hspy": write_hspy_run,
    }
)
"""What ``ptylive export --to`` takes."""


def export(run: StoredRun, kind: str, folder: Path) -> list[Path]:
    """Write a run in a format; the files written. Raises MetadataError for unknown formats, OSError."""
    if kind not in EXPORTERS:
        raise MetadataError(f"no export to {kind!r}", f"choose from {', '.join(EXPORTERS)}")
    folder.mkdir(parents=True, exist_ok=True)
    return EXPORTERS[kind](run, folder)
