"""A product of ptychodus (HDF5, SI units); ``save_product`` of 1.7.0.

Its grids are centred between pixels if their size is even: positions shift by half a pixel, as with ``--to ptychodus``.
Layers are ``object_layer_spacing_m`` apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.earlier_results import hdf5
from ptylive.engine.earlier_results.earlier_result import EarlierResult, square_pixel

A_PER_M = 1e10


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a product of ptychodus."""
    return "probe_position_y_m" in file and "object" in file


def read_ptychodus(file: Any, path: Path) -> EarlierResult:
    """Object, first probe and positions of a product. Raises InputFileError."""
    stored, probe = hdf5.array(file, "object"), hdf5.array(file, "probe")
    attributes = file["object"].attrs
    pixel_A = square_pixel(path, [float(attributes[name]) * A_PER_M for name in ("pixel_height_m", "pixel_width_m")])
    centre = np.array([float(attributes[name]) * A_PER_M for name in ("center_y_m", "center_x_m")])
    planes = stored.reshape(-1, *stored.shape[-2:])
    modes = probe.reshape(-1, *probe.shape[-3:]) if probe.ndim > 2 else probe[None, None]
    origin = centre - (np.asarray(planes.shape[1:]) - 1) / 2 * pixel_A
    middle = (modes.shape[-1] // 2 - (modes.shape[-1] - 1) / 2) * pixel_A
    places = [hdf5.array(file, f"probe_position_{axis}_m").ravel() * A_PER_M + middle for axis in "yx"]
    gaps = hdf5.array_or_none(file, "object_layer_spacing_m")
    known = () if gaps is None or len(planes) == 1 else tuple(float(gap) * A_PER_M for gap in gaps.ravel())
    return EarlierResult(
        "ptychodus",
        hdf5.waves(planes)[None],
        hdf5.waves(modes[:1]),
        pixel_A,
        (*known, *known[-1:])[: len(planes)],
        (float(origin[0]), float(origin[1])),
        np.stack(places, axis=1),
    )
