"""PyPty's NeXus file (``convert_to_nxs``, and ours of ``--to nxs``) and its checkpoint folder.

Rows of the arrays are in reverse order in the file, so that y points up; positions are the windows' corners, Å, with y
pointing down. A folder has ``co.npy``, ``cp.npy`` and ``cg.npy``; its ``params.pkl`` is pickled and never opened: the
pixel size is read from a ``params.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.damaged_files import FAULTS
from ptylive.engine.earlier_results import hdf5
from ptylive.engine.earlier_results.earlier_result import EarlierResult
from ptylive.engine.memory import check_fits
from ptylive.schema import InputFileError
from ptylive.schema.files.small_files import read_bytes
from ptylive.schema.model import Array, DoubleArray

OBJECT = "entry/object/data"
PROBES = ("entry/instrument/probe/data", "entry/probe/data")
POSITIONS = ("entry/instrument/scan/positions", "entry/positions/positions")
PARAMETERS = "params.json"
_MOST_TEXT = 2**24


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is PyPty's NeXus file."""
    return OBJECT in file and any(name in file for name in PROBES)


def read_pypty_nxs(file: Any, path: Path) -> EarlierResult:
    """Object (modes, z, y, x), probe and positions. Raises InputFileError."""
    planes = hdf5.array(file, OBJECT)[..., ::-1, :]
    probe = next(found for name in PROBES if (found := hdf5.array_or_none(file, name)) is not None)[..., ::-1, :]
    pixel_A = _step(hdf5.array(file, "entry/object/y"))
    modes = probe.transpose(1, 0, 2, 3) if probe.ndim == 4 else probe[None]
    corners = next((found for name in POSITIONS if (found := hdf5.array_or_none(file, name)) is not None), None)
    depths = hdf5.array_or_none(file, "entry/object/z")
    many = planes.ndim == 4 and planes.shape[1] > 1 and depths is not None
    return EarlierResult(
        "PyPty",
        hdf5.waves(planes),
        hdf5.waves(modes),
        pixel_A,
        (_step(depths),) * planes.shape[1] if many and depths is not None else (),
        positions_A=None if corners is None else _rows_and_columns(corners) + modes.shape[-1] // 2 * pixel_A,
    )


def _step(axis: Array) -> float:
    return float(axis.ravel()[1] - axis.ravel()[0])


def _rows_and_columns(corners: Array) -> DoubleArray:
    """(N, 2) of corners that may have a depth as well."""
    return np.asarray(corners, dtype=np.float64)[:, :2]


def is_folder(path: Path) -> bool:
    """Whether a folder holds PyPty's arrays."""
    return path.is_dir() and ((path / "co.npy").is_file() or (path / "cp.npy").is_file())


def read_pypty_folder(path: Path) -> EarlierResult:
    """Arrays of a folder; each may be missing. Raises InputFileError if damaged, or without pixel size."""
    pixel_A, gaps = _parameters(path / PARAMETERS)
    stored = {name: _npy(path / f"{name}.npy") for name in ("co", "cp", "cg") if (path / f"{name}.npy").is_file()}
    transmission, probe, corners = stored.get("co"), stored.get("cp"), stored.get("cg")
    modes = None
    if probe is not None:
        probe = probe[..., None] if probe.ndim == 3 else probe  # (y, x, modes, probes)
        modes = hdf5.waves(probe.transpose(3, 2, 0, 1)) if probe.ndim == 4 else hdf5.waves(probe)
    slices = transmission.shape[2] if transmission is not None and transmission.ndim == 4 else 1
    known = (*gaps, *gaps[-1:] * slices)[:slices] if slices > 1 else ()
    positions = None
    if corners is not None and modes is not None:
        positions = (_rows_and_columns(corners) + modes.shape[-1] // 2) * pixel_A
    planes = None
    if transmission is not None:
        planes = hdf5.waves(transmission.transpose(3, 2, 0, 1) if transmission.ndim == 4 else transmission)
    return EarlierResult("PyPty", planes, modes, pixel_A, known, positions_A=positions)


def _parameters(path: Path) -> tuple[float, tuple[float, ...]]:
    """Pixel size and distances of slices, Å."""
    if not path.is_file():
        problem = f"{path.parent} has no {PARAMETERS}, and PyPty's params.pkl is pickled"
        raise InputFileError(problem, f'write {{"pixel_size_y_A": …, "slice_distances": […]}} into {path}')
    try:
        parameters = json.loads(read_bytes(path, _MOST_TEXT))
        pixel_A, gaps = float(parameters["pixel_size_y_A"]), np.atleast_1d(parameters.get("slice_distances") or [])
        return pixel_A, tuple(float(gap) for gap in gaps)
    except (*FAULTS, RecursionError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{path}: {text}", "it needs pixel_size_y_A, in Å") from None


def _npy(path: Path) -> Array:
    try:
        mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        check_fits(hdf5.COPIES * mapped.nbytes, str(path), "use a machine with more memory")
        return np.asarray(mapped)
    except (*FAULTS, SyntaxError, EOFError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputFileError(f"{path}: {text}", "save it with numpy.save") from None
