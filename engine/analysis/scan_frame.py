"""A refined object as a scan sees it: in the frame of the live maps, pixel (0, 0) at scan point (0, 0).

The object lies along the axes of the detector, maps along those of the scan: a position there is R(rotation) times the
place on the scan (docs/conventions.md). Positions that were refined moved the patterns, not the object's frame.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import map_coordinates

from ptylive.engine.stored_run import StoredRun
from ptylive.schema.model import FloatArray
from ptylive.schema.scan import rotation_matrix

MOST_PIXELS = 4096**2


def finer_by(run: StoredRun, shape: tuple[int, int], sampling_A: tuple[float, float]) -> int:
    """Into how many pixels along each axis those of a map are divided, to show all that the object holds."""
    wanted = math.ceil(max(sampling_A) / run.pixel_A - 1e-6)
    most = math.isqrt(MOST_PIXELS // max(1, shape[0] * shape[1]))
    return max(1, min(wanted, most))


def phase_on_scan(
    run: StoredRun, shape: tuple[int, int], sampling_A: tuple[float, float], rotation_deg: float, finer: int = 1
) -> FloatArray:
    """Phase of all slices together, rad, on the field of a map (Y, X): (finer Y, finer X) pixels.

    Each is read where its middle lies, from the transmission interpolated linearly; a map's pixel is centred on its
    scan point, so that the mean of the ``finer`` × ``finer`` pixels in it is what the map shows there.
    """
    rows, cols = ((np.arange(n * finer) + 0.5) / finer - 0.5 for n in shape)
    along_scan = np.stack(np.meshgrid(rows * sampling_A[0], cols * sampling_A[1], indexing="ij"), axis=-1)
    at = (along_scan @ rotation_matrix(rotation_deg).T - np.asarray(run.origin_A)) / run.pixel_A
    place = np.moveaxis(at, -1, 0)
    total = np.zeros(place.shape[1:])
    for one in run.transmission():
        real, imaginary = (map_coordinates(part, place, order=1, mode="nearest") for part in (one.real, one.imag))
        total += np.arctan2(imaginary, real)
    return np.asarray(total, dtype=np.float32)


def averaged(fine: FloatArray, finer: int) -> FloatArray:
    """Means over ``finer`` × ``finer`` pixels."""
    rows, cols = fine.shape[0] // finer, fine.shape[1] // finer
    return np.asarray(fine.reshape(rows, finer, cols, finer).mean(axis=(1, 3)), dtype=np.float32)
