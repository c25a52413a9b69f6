"""PtyRAD's model file (``model_iter….hdf5``), written by ``make_save_dict`` of 1.0.0, and from 0.1.0b7 on.

Object, probe and axes are as here. A pattern's window begins at ``crop_pos`` plus ``probe_pos_shifts``, in pixels; its
probe is centred on pixel P // 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.earlier_results import hdf5
from ptylive.engine.earlier_results.earlier_result import EarlierResult

TENSORS, MODEL = "optimizable_tensors", "model_attributes"


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a model of PtyRAD."""
    return f"{TENSORS}/objp" in file and f"{TENSORS}/probe" in file


def read_ptyrad(file: Any, path: Path) -> EarlierResult:
    """Object, probe and positions of a model. Raises InputFileError."""
    phase, modulus = (hdf5.array(file, f"{TENSORS}/{name}") for name in ("objp", "obja"))
    transmission = hdf5.waves(modulus * np.exp(1j * phase.astype(np.float32)))
    probe = hdf5.array(file, f"{TENSORS}/probe")
    if probe.dtype.kind != "c" and probe.shape[-1:] == (2,):  # the layout of torch.view_as_real
        probe = probe[..., 0] + 1j * probe[..., 1]
    pixel_A = float(hdf5.array(file, f"{MODEL}/dx"))
    corners = hdf5.array_or_none(file, f"{MODEL}/crop_pos")
    shifts = hdf5.array_or_none(file, f"{TENSORS}/probe_pos_shifts")
    positions = None
    if corners is not None:
        rest = 0.0 if shifts is None else shifts
        positions = np.asarray(corners + rest + probe.shape[-1] // 2, dtype=np.float64) * pixel_A
    thickness = hdf5.number_or_none(file, f"{TENSORS}/slice_thickness")
    slices = transmission.shape[1] if transmission.ndim == 4 else 1
    known = (thickness,) * slices if thickness is not None and slices > 1 else ()
    return EarlierResult("PtyRAD", transmission, hdf5.waves(probe)[None], pixel_A, known, positions_A=positions)
