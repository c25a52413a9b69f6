"""Centre of mass of each pattern: the gradient of the projected phase (DPC).

CoM = grad(phase)/(2 pi) * |probe|^2 in the detector frame; R(-rotation) turns it to the scan axes.
Waddell & Chapman 1979; Lazić, Bosch & Lazar 2016, eq. 11; live-maths, section 2.
"""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import BoolArray, DoubleArray
from ptylive.schema.scan import rotation_matrix


def center_of_mass(moments: DoubleArray, visited: BoolArray) -> DoubleArray:
    """CoM (2, rows, cols) in pixels along the detector axes, its mean over the visited points removed, 0 elsewhere.

    moments (N, 3): sum, sum I k_row, sum I k_col of every point.
    """
    total = np.maximum(moments[:, 0], 1e-12)
    com = (moments[:, 1:] / total[:, None]).T.reshape(2, *visited.shape)
    mean = com[:, visited].mean(axis=1) if visited.any() else np.zeros(2)
    return np.where(visited, com - mean[:, None, None], 0.0)


def along_scan_axes(com: DoubleArray, rotation_deg: float) -> DoubleArray:
    """Components (2, rows, cols) along the scan axes: R(-rotation) @ CoM."""
    return np.asarray(np.einsum("ij,jyx->iyx", rotation_matrix(-rotation_deg), com))
