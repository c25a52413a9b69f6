"""Values given for every scan point, selected for the patterns of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptylive.engine.dataset import Dataset
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array, ComplexArray, DoubleArray, IndexArray
from ptylive.schema.preset.probe import Marker

SCANS = "scans"
"""Marker for scans that are refined together."""
PLATES = "configs"
"""PyPty's name of the data set that holds the phase plates."""


def per_pattern(values: Array | DoubleArray, dataset: Dataset, setting: str) -> Array:
    """Rows (N, …) for the patterns, from values given once (1, …) or for each scan point.

    Raises MetadataError for another number of rows.
    """
    points = dataset.scan_shape[0] * dataset.scan_shape[1]
    if len(values) == 1:
        return np.repeat(values, len(dataset.patterns), axis=0)
    if len(values) != points:
        raise MetadataError(f"{setting} has {len(values)} entries", f"give one, or one for each of {points} points")
    return np.asarray(values[dataset.point])


def parts_of_scan(marker: Marker, dataset: Dataset, setting: str) -> IndexArray:
    """(N,) part of the scan that each pattern belongs to. Raises MetadataError for a marker of another length."""
    if not isinstance(marker, str):
        return np.asarray(per_pattern(np.asarray(marker, dtype=np.int64), dataset, setting), dtype=np.int64)
    if marker == SCANS:
        number_of_parts(marker, dataset)
        return np.asarray(dataset.scan_of, dtype=np.int64)
    direction, bands = marker.split(":")
    if direction == "squares":
        columns, side = dataset.scan_shape[1], int(bands)
        row, column = np.divmod(dataset.point, columns)
        return np.asarray(row // side * -(-columns // side) + column // side, dtype=np.int64)
    axis = 0 if direction == "rows" else 1
    line = np.divmod(dataset.point, dataset.scan_shape[1])[axis]
    return np.asarray(line * int(bands) // dataset.scan_shape[axis], dtype=np.int64)


def number_of_parts(marker: Marker, dataset: Dataset) -> int:
    """Number of parts that a marker defines, even if a data set holds patterns of only some of them.

    Raises MetadataError if the parts are scans and there is only one.
    """
    scan_shape = dataset.scan_shape
    if not isinstance(marker, str):
        return max(marker) + 1
    if marker == SCANS:
        if dataset.scan_of is None:
            raise MetadataError(
                "a marker of scans needs several scans, and there is one", "give several files, or another marker"
            )
        return len(dataset.scan_names)
    kind, number = marker.split(":")
    if kind != "squares":
        return int(number)
    return -(-scan_shape[0] // int(number)) * -(-scan_shape[1] // int(number))


class PhasePlates:
    """Factors (N, P, P) on the probe in the aperture plane, read from an HDF5 file a few patterns at a time.

    The data set ``configs`` is (scan points, P, P), complex or real, zero frequency on pixel (P // 2, P // 2).
    """

    def __init__(self, path: Path, dataset: Dataset, window: int) -> None:
        """Raise MetadataError if the file, its data set or its shape does not match."""
        self._path, self._point = path, dataset.point
        points = dataset.scan_shape[0] * dataset.scan_shape[1]
        shape = self._shape()
        if shape != (points, window, window):
            raise MetadataError(
                f"phase_plate_in_h5: {path}: {PLATES} has shape {shape}",
                f"it must be {(points, window, window)}: scan points and window",
            )

    def __getitem__(self, patterns: IndexArray) -> ComplexArray:
        """Plates (n, P, P) of the given pattern numbers, zero frequency at [0, 0]."""
        import h5py

        points, back = np.unique(self._point[patterns], return_inverse=True)
        with h5py.File(self._path, "r") as file:
            plates = file[PLATES][points]
        return np.fft.ifftshift(plates, axes=(1, 2)).astype(np.complex64)[back]

    def _shape(self) -> tuple[int, ...]:
        import h5py

        try:
            with h5py.File(self._path, "r") as file:
                return tuple(int(size) for size in file[PLATES].shape)
        except (OSError, KeyError, AttributeError) as error:
            raise MetadataError(f"phase_plate_in_h5: {self._path}: {error}", f"give a file with {PLATES}") from None
