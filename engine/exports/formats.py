"""Export formats of a refinement, each a function of a run and a folder."""

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
"""Writes a run into a folder, and yields each file when it is complete."""
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
"""Formats that ``ptylive export --to`` accepts."""


def names(run: StoredRun, kind: str) -> list[str]:
    """Names of the files that an export writes. Raises MetadataError."""
    by_kind: Mapping[str, Callable[[], list[str]]] = {
        "pypty": lambda: pypty_files(run),
        "nxs": lambda: [f"{run.name}.nxs"],
        "ptyrad": lambda: [f"{run.name}_ptyrad.hdf5"],
        "py4dstem": lambda: [f"{run.name}_py4dstem.h5"],
        "ptychodus": lambda: [f"{run.name}_ptychodus.h5"],
        "png": lambda: [f"{run.name}_{picture.name}.png" for picture in pictures(run)],
        "tiff": lambda: [f"{run.name}_{picture.name}.tiff" for picture in pictures(run)],
        "hspy": lambda: [f"{run.name}.hspy"],
    }
    if kind not in by_kind:
        raise MetadataError(f"no export to {kind!r}", f"choose from {', '.join(EXPORTERS)}")
    return by_kind[kind]()


def export(
    run: StoredRun, kind: str, folder: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Path]:
    """Write a run in a format; return the files written. Raises MetadataError for unknown formats, OSError.

    ``on_progress`` is called with the number of files written and the total.
    """
    total = len(names(run, kind))
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for path in EXPORTERS[kind](run, folder):
        written.append(path)
        on_progress(len(written), total)
    return written
