"""Coordinates of the detector and of the scan's spatial frequencies (docs/conventions.md), and of sampled maxima.

Vectors are (row, col). All physical quantities are evaluated in the detector frame: the detector transform is undone on
the pixel coordinates, and a scan frequency becomes Q_det = R(rotation) Q_scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.detector import parse_transform
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.scan import rotation_matrix


def parabola_vertex(before: float, peak: float, after: float) -> float:
    """Return the place of the maximum of the parabola through three neighbouring samples, in steps from the middle one.

    0 if the samples have no maximum.
    """
    curvature = before - 2 * peak + after
    return float(0.5 * (before - after) / curvature) if curvature < 0 else 0.0


@dataclass(frozen=True)
class DetectorGrid:
    """Spatial frequency of every recorded pixel, beam centre at 0, components along the detector-frame axes.

    k_row, k_col: (Qy, Qx), in ``unit`` (1/Å if the pixel size is known, otherwise pixels).
    """

    k_row: DoubleArray
    k_col: DoubleArray
    pixel: float

    @property
    def radius(self) -> DoubleArray:
        """|k| of every recorded pixel."""
        return np.hypot(self.k_row, self.k_col)

    @classmethod
    def of(cls, shape: tuple[int, int], center_px: tuple[float, float], transform: str, pixel: float) -> DetectorGrid:
        """Return the grid of a detector of ``shape``; ``center_px`` in recorded coordinates, ``pixel`` its pixel size.

        The transform is undone on coordinates, never on data: each recorded pixel is assigned its place in the
        detector frame, relative to the beam centre.
        """
        recorded = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"))
        offset = recorded - np.asarray(center_px, dtype=float)[:, None, None]
        k_row, k_col = turned_to_detector_axes(offset, transform)
        return cls(k_row * pixel, k_col * pixel, pixel)


def turned_to_detector_axes(vectors: DoubleArray, transform: str) -> DoubleArray:
    """Turn vectors (2, …) from the recorded axes to the detector axes; the words are undone in reverse order."""
    row, col = np.asarray(vectors[0], dtype=float), np.asarray(vectors[1], dtype=float)
    for operation in reversed(parse_transform(transform)):
        if operation == "transpose":
            row, col = col, row
        elif operation == "flip_rows":
            row = -row
        else:
            col = -col
    return np.stack([row, col])


def scan_frequencies(
    shape: tuple[int, int], step_A: tuple[float, float], rotation_deg: float, *, half: bool = False
) -> DoubleArray:
    """Return spatial frequencies (n, 2) of a scan-sized FFT, in the detector frame, 1/Å, numpy order, row-major.

    ``half``: only the half plane kept by the transform of a real image.
    """
    along_cols = np.fft.rfftfreq(shape[1], step_A[1]) if half else np.fft.fftfreq(shape[1], step_A[1])
    axes = np.meshgrid(np.fft.fftfreq(shape[0], step_A[0]), along_cols, indexing="ij")
    q_scan = np.stack(axes, -1).reshape(-1, 2)
    return np.asarray(q_scan @ rotation_matrix(rotation_deg).T)


def single_columns(q: DoubleArray) -> tuple[FloatArray, FloatArray]:
    """Return rows and columns of frequencies (nq, 2) as the two contiguous single-precision arrays the kernels need."""
    return np.ascontiguousarray(q[:, 0], dtype=np.float32), np.ascontiguousarray(q[:, 1], dtype=np.float32)
