"""An EMD 1.0 file that ``py4DSTEM.read`` opens: object, probe and positions as calibrated arrays."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ptylive.engine.stored_run import StoredRun
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5
from ptylive.schema.model import Array

ROOT = "ptylive"


class Dim(NamedTuple):
    """An axis of an array."""

    name: str
    values: Array
    units: str


def write_py4dstem(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write ``object`` (slices, row, col) complex, ``object_phase``, ``probe`` and ``positions`` as arrays of one file.

    ``phase_deviation`` (row, col) is the standard deviation of the summed phase, written if the run has it. The object
    is the mean of its modes; the probe the first of several, (modes, row, col).
    """
    import h5py

    path = folder / f"{run.name}_py4dstem.h5"
    rows, cols = run.object.shape[2:]
    pixels = (
        Dim("z", run.depths_A(), "A"),
        Dim("row", run.origin_A[0] + run.pixel_A * np.arange(rows), "A"),
        Dim("col", run.origin_A[1] + run.pixel_A * np.arange(cols), "A"),
    )
    across = run.pixel_A * (np.arange(run.window) - run.window // 2)
    modes = Dim("mode", np.arange(run.probe.shape[1]), "")
    point = Dim("point", np.arange(len(run.positions_A)), "")
    with replacing(path) as temporary, for_hdf5(temporary) as stream, h5py.File(stream, "w") as file:
        file.attrs.update(
            emd_group_type="file",
            version_major=1,
            version_minor=0,
            UUID=str(uuid.uuid4()),
            authoring_program=ROOT,
            authoring_user="",
        )
        root = file.create_group(ROOT)
        root.attrs.update(emd_group_type="root", python_class="Root")
        _array(root, "object", run.object.mean(axis=0), pixels, "")
        _array(root, "object_phase", run.phase(), pixels, "rad")
        if run.phase_deviation is not None:
            _array(root, "phase_deviation", run.phase_deviation, pixels[1:], "rad")
        _array(root, "probe", run.probe[0], (modes, Dim("row", across, "A"), Dim("col", across, "A")), "")
        _array(root, "positions", run.positions_A, (point, Dim("axis", np.arange(2), "")), "A")
    yield path


def is_own(file: Any) -> bool:
    """Whether an open HDF5 file was made by :func:`write_py4dstem`."""
    return bool(file.attrs.get("authoring_program") == ROOT)


def _array(root: Any, name: str, data: Array, dims: tuple[Dim, ...], units: str) -> None:
    group = root.create_group(name)
    group.attrs.update(emd_group_type="array", python_class="Array")
    group["data"] = data
    group["data"].attrs["units"] = units
    for number, dim in enumerate(dims):
        group[f"dim{number}"] = np.asarray(dim.values, dtype=np.float64)
        group[f"dim{number}"].attrs.update(name=dim.name, units=dim.units)
