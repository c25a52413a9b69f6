"""Virtual detectors: sums over rings of the detector (bright field, annular bright field, annular dark field)."""

from __future__ import annotations

import numpy as np

from ptylive.engine.imaging.reduced_numbers import REGIONS
from ptylive.schema.model import BoolArray, DoubleArray

DETECTORS: dict[str, tuple[str, ...]] = {"bf": ("inner", "outer"), "abf": ("outer",), "adf": ("dark",)}
"""Regions of the detector each image sums over."""


def virtual_image(name: str, regions: DoubleArray, visited: BoolArray) -> DoubleArray:
    """Counts (rows, cols) of one virtual detector; unvisited points hold the mean of the visited.

    regions (N, 4): region sums of every point.
    """
    columns = [REGIONS.index(region) for region in DETECTORS[name]]
    image = regions[:, columns].sum(axis=1).reshape(visited.shape)
    return np.where(visited, image, image[visited].mean() if visited.any() else 0.0)
