"""Detection of the program that made a result; to add one, write a module with ``recognises`` and a reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ptylive.engine.earlier_results import fold_slice, hdf5, phaser, ptychodus, ptyrad, py4dstem, pypty
from ptylive.engine.earlier_results.earlier_result import EarlierResult
from ptylive.engine.stored_run import StoredRun
from ptylive.schema import InputFileError

NATIVE = "refinements"


class Format(NamedTuple):
    """A program's files."""

    program: str
    recognises: Callable[[Any], bool]
    """Whether an open HDF5 file is of this program."""
    read: Callable[[Any, Path], EarlierResult]


FORMATS: tuple[Format, ...] = (
    Format("PtyRAD", ptyrad.recognises, ptyrad.read_ptyrad),
    Format("fold_slice", fold_slice.recognises, fold_slice.read_fold_slice),
    Format("py4DSTEM", py4dstem.recognises, py4dstem.read_py4dstem),
    Format("ptychodus", ptychodus.recognises, ptychodus.read_ptychodus),
    Format("phaser", phaser.recognises, phaser.read_phaser),
    Format("PyPty", pypty.recognises, pypty.read_pypty_nxs),
)
_PICKLED = (".pt", ".pkl", ".pickle")


def read_earlier(path: Path) -> EarlierResult:
    """The result in a file of this program or of one of FORMATS, or in a folder of PyPty's.

    Raises InputFileError for files that are missing, of an unknown program, damaged, larger than memory, or pickled.
    """
    if pypty.is_folder(path):
        return pypty.read_pypty_folder(path).checked(path)
    if path.suffix.lower() in _PICKLED:
        raise InputFileError(f"{path} is pickled, and pickles are never opened", "save it as HDF5 where it was made")
    with hdf5.opened(path) as file:
        found = None if NATIVE in file else next((each for each in FORMATS if each.recognises(file)), None)
        if found is not None:
            return found.read(file, path).checked(path)
        if NATIVE not in file:
            known = ", ".join(each.program for each in FORMATS)
            raise InputFileError(f"{path} holds no result in a known format", f"known formats: ptylive, {known}")
    return _own_run(StoredRun.read(path))


def _own_run(run: StoredRun) -> EarlierResult:
    return EarlierResult(
        "ptylive",
        run.object,
        run.probe,
        run.pixel_A,
        run.slice_thickness_A,
        run.origin_A,
        run.positions_A,
        in_our_frame=True,
    )
