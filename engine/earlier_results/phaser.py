"""A state of phaser (HDF5, ``phaser_state`` 0.1 and 0.2; phaserEM 0.3.1).

Lengths are in Å. The grid of an object is given by its corner; a window of P pixels around a position begins (P - 1) /
2 pixels before it, and a probe is centred between pixels if P is even: half a pixel from ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.earlier_results import hdf5
from ptylive.engine.earlier_results.earlier_result import EarlierResult, square_pixel


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file is a state of phaser."""
    return hdf5.text_or_none(file, "type") == "phaser_state"


def read_phaser(file: Any, path: Path) -> EarlierResult:
    """Object, probe and positions of a state; each may be missing. Raises InputFileError."""
    planes, modes = (hdf5.array_or_none(file, f"{name}/data") for name in ("object", "probe"))
    pixel_A, origin, size = None, np.zeros(2), 0
    if modes is not None:
        size = modes.shape[-1]
        pixel_A = float(hdf5.array(file, "probe/extent").ravel()[0]) / size
    if planes is not None:
        sampling, origin = (hdf5.array(file, f"object/{name}").ravel() for name in ("sampling", "corner"))
        pixel_A = square_pixel(path, sampling)
    places = hdf5.array_or_none(file, "scan/data" if "scan/data" in file else "scan")
    if places is not None and pixel_A is not None:
        places = places.reshape(-1, 2).astype(np.float64) + (size // 2 - max(size - 1, 0) / 2) * pixel_A
    thickness = hdf5.array_or_none(file, "object/thicknesses")
    known = () if thickness is None or planes is None or len(planes) == 1 else tuple(map(float, thickness.ravel()))
    return EarlierResult(
        "phaser",
        None if planes is None else hdf5.waves(planes)[None],
        None if modes is None else hdf5.waves(modes)[None],
        pixel_A,
        known,
        (float(origin[0]), float(origin[1])),
        places,
    )
