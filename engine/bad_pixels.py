"""Pixels that are not to be trusted: those that a sender or a file names, and those that a calibration has found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptylive.schema import Calibration, ScanHeader
from ptylive.schema.model import BoolArray


def bad_pixels(header: ScanHeader) -> BoolArray:
    """The bad-pixel mask (Qy, Qx), recorded coordinates; all good where none was sent."""
    return np.asarray(header.arrays.get("bad_pixel_mask", np.zeros(header.detector_shape, dtype=bool)), dtype=bool)


def with_noted_pixels(header: ScanHeader, calibration: Calibration) -> ScanHeader:
    """The scan with the bad pixels that its calibration names."""
    places = calibration.get("bad_pixels_px")
    if places is None or not header.basis.is_raw:
        return header
    mask = bad_pixels(header).copy()
    rows, cols = np.asarray(places[: len(places) // 2 * 2], dtype=int).reshape(-1, 2).T
    inside = (rows >= 0) & (rows < mask.shape[0]) & (cols >= 0) & (cols < mask.shape[1])
    mask[rows[inside], cols[inside]] = True
    return replace(header, arrays={**header.arrays, "bad_pixel_mask": mask})
