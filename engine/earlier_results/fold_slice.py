"""``Niter….mat`` of fold_slice, and of PtychoShelves engines that save alike: MATLAB v7.3, which is HDF5.

MATLAB's axes are reversed in HDF5: object (y, x, layers), probe (y, x, modes, variable modes), positions (N, 2) as
column and row in pixels from the middle. Lengths are in Å for electron beams, otherwise in m; the wavelength shows
which. The first variable mode is the mean probe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.earlier_results import hdf5
from ptylive.engine.earlier_results.earlier_result import EarlierResult
from ptylive.schema import InputFileError
from ptylive.schema.model import Array, DoubleArray

LEAST_WAVELENGTH_A = 1e-3
"""Lower bound of electron wavelengths; in m a wavelength is far smaller."""


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a MATLAB file with the variables that these programs save."""
    return all(name in file for name in ("object", "probe", "outputs", "p"))


def read_fold_slice(file: Any, path: Path) -> EarlierResult:
    """Object, probe and positions. Raises InputFileError if something is missing, or for a result of x-rays."""
    transmission, probe = (_matlab(hdf5.array(file, name)) for name in ("object", "probe"))
    scale = _angstrom(file, path)
    pixel_A = float(hdf5.array(file, "p/dx_spec").ravel()[0]) * scale
    planes = np.moveaxis(np.atleast_3d(transmission), 2, 0)
    modes = np.moveaxis(np.atleast_3d(probe[..., 0] if probe.ndim == 4 else probe), 2, 0)
    thickness = hdf5.array_or_none(file, "p/multi_slice_param/z_distance")
    known = () if thickness is None else tuple(float(z) * scale for z in thickness.ravel() if np.isfinite(z))
    slices = len(planes)
    known = known[:slices] if len(known) >= slices else known + known[-1:] * (slices - len(known))
    places = hdf5.array_or_none(file, "outputs/probe_positions")
    return EarlierResult(
        "fold_slice",
        hdf5.waves(planes)[None],
        hdf5.waves(modes)[None],
        pixel_A,
        known if slices > 1 else (),
        positions_A=None if places is None else _positions_px(_matlab(places), planes, modes) * pixel_A,
    )


def _positions_px(places: Array, planes: Array, modes: Array) -> DoubleArray:
    """Positions (N, 2) row and column in object pixels; fold_slice cuts windows at whole pixels."""
    size = modes.shape[-1]
    first = np.ceil(np.asarray(planes.shape[1:]) / 2 - size / 2) - 1  # MATLAB counts from 1
    return np.asarray(places[:, ::-1] + first + size // 2, dtype=np.float64)


def _matlab(values: Array) -> Array:
    return values.transpose()


def _angstrom(file: Any, path: Path) -> float:
    """Å per unit of length of this file."""
    wavelength = hdf5.number_or_none(file, "p/lambda")
    if wavelength is None:
        raise InputFileError(f"{path} has no p/lambda", "it determines the unit of lengths: save the whole of p")
    if wavelength < LEAST_WAVELENGTH_A:
        raise InputFileError(
            f"{path}: a wavelength of {wavelength:.3g} m belongs to X-rays", "give an electron reconstruction"
        )
    return 1.0
