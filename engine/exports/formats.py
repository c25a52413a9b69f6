"""The formats a refinement can be exported to, each by one function of a run and a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from ptylive.engine.exports.maps import pictures, write_hspy_run, write_pngs, write_tiffs
from ptylive.engine.exports.ptychodus import write_ptychodus
from ptylive.engine.exports.ptyrad import write_ptyrad
from ptylive.engine.exports.py4dstem import write_py4dstem
from ptylive.engine.exports.pypty import pypty_files, write_nxs, write_pypty
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import MetadataError

Exporter = Callable[[StoredRun, Path], Iterator[Path]]
"""Writes a run into a folder, and yields each file when it is whole."""
EXPORTERS: Mapping[str, Exporter] = MappingProxyType(
    {
        "pypty": write_pypty,
        "nxs": write_nxs,
        "ptyrad": write_ptyrad,
        "py4dstem": write_py4dstem,
        "ptychodus": write_ptychodus,
        "png": write_pngs,
        "tiff": write_tiffs,
        "hspy": write_hspy_run,
    }
)
"""What ``ptylive export --to`` takes."""


def names(run: StoredRun, kind: str) -> list[str]:
    """Names that the files of an export has. Raises MetadataError."""
    named: Mapping[str, Callable[[], list[str]]] = {
        "pypty": lambda: pypty_files(run),
        "nxs": lambda: [f"{run.name}.nxs"],
        "ptyrad": lambda: [f"{run.name}_ptyrad.hdf5"],
        "py4dstem": lambda: [f"{run.name}_py4dstem.h5"],
        "ptychodus": lambda: [f"{run.name}_ptychodus.h5"],
        "png": lambda: [f"{run.name}_{picture.name}.png" for picture in pictures(run)],
        "tiff": lambda: [f"{run.name}_{picture.name}.tiff" for picture in pictures(run)],
        "hspy": lambda: [f"{run.name}.hspy"],
    }
    if kind not in named:
        raise MetadataError(f"no export to {kind!r}", f"choose from {', '.join(EXPORTERS)}")
    return named[kind]()


def export(
    run: StoredRun, kind: str, folder: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Path]:
    """Write a run in a format; the files written. Raises MetadataError for unknown formats, OSError.

    ``on_progress`` is called with files written and files to write.
    """
    total = len(names(run, kind))
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for path in EXPORTERS[kind](run, folder):
        written.append(path)
        on_progress(len(written), total)
    return written
