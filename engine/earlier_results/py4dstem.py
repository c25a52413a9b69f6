"""A ptychographic reconstruction that py4DSTEM saved (EMD 1.0, ``py4DSTEM.save``), with its class's own metadata.

Checked against 0.14.18. Objects of type ``potential`` hold a phase. Probes are centred on pixel (0, 0); positions, in
pixels, are those of their centres. For transposed data, py4DSTEM transposes the positions and leaves the patterns: its
object is the transpose of the one that ``detector_transform = "transpose"`` gives here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.earlier_results import hdf5
from ptylive.engine.earlier_results.earlier_result import EarlierResult, square_pixel
from ptylive.schema import InputFileError
from ptylive.schema.model import Array

OBJECT, PROBE = "_object_emd/data", "_probe_emd/data"
INSTANCE, PREPARED = "metadatabundle/instantiation_metadata", "metadatabundle/preprocess_metadata"
_MOST_GROUPS = 100


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file holds a reconstruction of py4DSTEM."""
    return _group(file) is not None


def read_py4dstem(file: Any, path: Path) -> EarlierResult:
    """Object, probe and positions of the first reconstruction of a file. Raises InputFileError."""
    group = _group(file)
    stored, probe = hdf5.array(group, OBJECT), hdf5.array(group, PROBE)
    if stored.ndim not in (2, 3) or probe.ndim not in (2, 3):
        problem = f"{path}: its object has the shape {stored.shape}, its probe {probe.shape}"
        raise InputFileError(problem, "save one reconstruction, not several measurements")
    phase = hdf5.text_or_none(group, f"{INSTANCE}/object_type") == "potential" or stored.dtype.kind != "c"
    planes = np.exp(1j * stored) if phase else stored
    planes = planes.reshape(-1, *planes.shape[-2:])
    modes = np.fft.fftshift(probe.reshape(-1, *probe.shape[-2:]), axes=(-2, -1))
    pixel_A = square_pixel(path, hdf5.array(group, f"{PREPARED}/sampling").ravel())
    positions = hdf5.array_or_none(group, f"{PREPARED}/positions_px")
    if bool(hdf5.number_or_none(group, f"{PREPARED}/data_transpose")):
        planes, modes = planes.swapaxes(-2, -1), modes.swapaxes(-2, -1)
        positions = None if positions is None else positions[:, ::-1]
    return EarlierResult(
        "py4DSTEM",
        hdf5.waves(planes)[None],
        hdf5.waves(modes)[None],
        pixel_A,
        _thickness(group, len(planes)),
        positions_A=None if positions is None else np.asarray(positions, dtype=np.float64) * pixel_A,
    )


def _thickness(group: Any, slices: int) -> tuple[float, ...]:
    """Thickness of each slice, from the distances between slices; empty if the file does not give them."""
    stored = hdf5.array_or_none(group, f"{INSTANCE}/slice_thicknesses")
    if slices == 1 or stored is None or stored.size == 0:
        return ()
    distances: Array = stored.ravel()[: slices - 1].astype(float)
    return (*distances.tolist(), *[float(distances[-1])] * (slices - len(distances)))


def _group(file: Any) -> Any:
    """The group of a reconstruction, in the root or one or two levels below it; None if there is none."""
    import h5py

    for first in list(file)[:_MOST_GROUPS]:
        outer = file.get(first) if isinstance(file.get(first, getlink=True), h5py.HardLink) else None
        if not isinstance(outer, h5py.Group):
            continue
        names = list(outer)[:_MOST_GROUPS]
        inside = [outer[name] for name in names if isinstance(outer.get(name, getlink=True), h5py.HardLink)]
        for group in (outer, *(member for member in inside if isinstance(member, h5py.Group))):
            if OBJECT in group and PROBE in group:
                return group
    return None
