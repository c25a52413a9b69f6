"""Start values for beam currents and background, read from files."""

from __future__ import annotations

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.start_illumination import centred_array
from ptylive.schema.errors import MetadataError
from ptylive.schema.files.npy import read_npy
from ptylive.schema.model import FloatArray
from ptylive.schema.preset.start import StartSettings


def start_currents(settings: StartSettings, dataset: Dataset) -> FloatArray | None:
    """(N,) start beam current of each pattern, with mean 1; None if none are given.

    The file holds one value for each scan point, row by row, or for each pattern. Raises MetadataError for any other
    number of values, and for values that cannot be currents.
    """
    path = settings.start_beam_current
    if path is None:
        return None
    values = read_npy("start_beam_current", path, "give an npy file of numbers", dtype=np.float64).ravel()
    points, patterns = int(np.prod(dataset.scan_shape)), len(dataset.patterns)
    if len(values) == points:
        values = values[dataset.point]
    elif len(values) != patterns:
        raise MetadataError(
            f"start_beam_current {path} holds {len(values)} numbers", f"the scan has {points} points; give one for each"
        )
    if not np.isfinite(values).all() or (values <= 0).any():
        raise MetadataError(f"start_beam_current {path} holds values that are not currents", "give numbers above 0")
    return np.asarray(values / values.mean(), dtype=np.float32)


def start_background(settings: StartSettings, size: int) -> FloatArray | None:
    """(P, P) counts that are added to every pattern, zero frequency at [0, 0]; None if none are given.

    The file holds them centred on pixel P // 2; a smaller array is padded with 0. Raises MetadataError for another
    window, and for counts below 0.
    """
    path = settings.start_background
    if path is None:
        return None
    counts = centred_array("start_background", path, size)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise MetadataError(f"start_background {path} holds values that are not counts", "give numbers at or above 0")
    return counts.astype(np.float32)
