"""Centre of mass of each pattern: the gradient of the projected phase (DPC).

CoM = grad(phase)/(2 pi) * |probe|^2 in the detector frame; R(-rotation) turns it to the scan axes.
Waddell & Chapman 1979; Lazić, Bosch & Lazar 2016, eq. 11; docs/theory/live-maps.md.
"""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import BoolArray, DoubleArray
from ptylive.schema.scan import rotation_matrix


def center_of_mass(moments: DoubleArray, visited: BoolArray) -> DoubleArray:
    """CoM (2, rows, cols) in pixels along the detector axes, its mean over the visited points removed, 0 elsewhere.

    moments (N, 3): sum, sum I k_row, sum I k_col of every point.
    """
    # unvisited points have moments of zero
    com = np.ascontiguousarray(moments[:, 1:].T) / np.maximum(moments[:, 0], 1e-12)
    com -= com.sum(axis=1, keepdims=True) / max(int(visited.sum()), 1)
    return np.where(visited, com.reshape(2, *visited.shape), 0.0)


def along_scan_axes(com: DoubleArray, rotation_deg: float) -> DoubleArray:
    """Components (2, rows, cols) along the scan axes: R(-rotation) @ CoM."""
    turned = rotation_matrix(-rotation_deg) @ com.reshape(2, -1)
    return np.asarray(turned.reshape(com.shape))
