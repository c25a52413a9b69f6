"""A PtyRAD reconstruction file (HDF5), readable as source ``PtyRAD`` of object, probe and positions.

PtyRAD's ``load_ptyrad`` reads it, too. Pixels and orders of axes are the same as here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.stored_run import StoredRun
from ptylive.schema.files.atomic import replacing
from ptylive.schema.files.new_hdf5 import for_hdf5

_VERSION = "written by ptylive"


def write_ptyrad(run: StoredRun, folder: Path) -> Iterator[Path]:
    """Write object amplitude and phase (modes, slices, Y, X), probe (modes, P, P), corners and sub-pixel shifts."""
    import h5py

    path = folder / f"{run.name}_ptyrad.hdf5"
    corners = run.corners_px()
    whole_px = np.floor(corners + 0.5)
    probe = run.probe[0]
    with replacing(path) as temporary, for_hdf5(temporary) as stream, h5py.File(stream, "w") as file:
        tensors = file.create_group("optimizable_tensors")
        tensors["obja"] = np.abs(run.object).astype(np.float32)
        tensors["objp"] = np.angle(run.object).astype(np.float32)
        tensors["probe"] = probe
        tensors["probe_pos_shifts"] = (corners - whole_px).astype(np.float32)
        tensors["slice_thickness"] = np.float32(run.spacing_A)
        tensors["obj_tilts"] = np.zeros((1, 2), np.float32)
        model = file.create_group("model_attributes")
        model["crop_pos"] = whole_px.astype(np.int32)
        model["slice_thickness"] = np.float32(run.spacing_A)
        model["dx"] = np.float32(run.pixel_A)
        model["dk"] = np.float32(1 / (run.window * run.pixel_A))
        model["lambd"] = np.float32(run.wavelength_A)
        model["omode_occu"] = np.full(len(run.object), 1 / len(run.object), np.float32)
        model["probe_int_sum"] = np.float32((np.abs(probe) ** 2).sum())
        model["simu_Npix"] = run.window
        file["ptyrad_version"], file["niter"] = _VERSION, len(run.loss)
        file["loss_iters"] = np.stack([np.arange(1, len(run.loss) + 1), run.loss], axis=1)
    yield path


def is_own(file: Any) -> bool:
    """Whether an open HDF5 file was made by :func:`write_ptyrad`."""
    return "ptyrad_version" in file and file["ptyrad_version"][()] == _VERSION.encode()
