"""Bad pixels: those that a sender or a file names, those that dark and gain references make useless, and those that a
calibration has found.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.schema import Calibration, ScanHeader
from ptylive.schema.detector import useless_pixels
from ptylive.schema.model import BoolArray


def bad_pixels(header: ScanHeader) -> BoolArray:
    """Return the bad-pixel mask (Qy, Qx) in recorded coordinates; all good unless the metadata state otherwise."""
    given = header.arrays.get("bad_pixel_mask")
    mask = np.zeros(header.detector_shape, dtype=bool) if given is None else np.asarray(given, dtype=bool)
    useless = useless_pixels(header.arrays, header.detector.saturation_value)
    return mask if useless is None else mask | useless


def with_noted_pixels(header: ScanHeader, calibration: Calibration) -> ScanHeader:
    """Return the header with the bad pixels of its calibration added to the mask."""
    places = calibration.get("bad_pixels_px")
    if places is None or not header.basis.is_raw:
        return header
    mask = bad_pixels(header).copy()
    rows, cols = np.asarray(places[: len(places) // 2 * 2], dtype=int).reshape(-1, 2).T
    inside = (rows >= 0) & (rows < mask.shape[0]) & (cols >= 0) & (cols < mask.shape[1])
    mask[rows[inside], cols[inside]] = True
    return replace(header, arrays={**header.arrays, "bad_pixel_mask": mask})
