"""The one array of patterns in a MATLAB v7.3 file or a plain HDF5 file, or its data set ``dp``.

MATLAB stores axes in reverse: patterns of its (ky, kx, points), or (ky, kx, rows, columns), are transposed on reading.
Files that only have the name ``.mat``, as written by PtyRAD, hold (…, ky, kx) as in numpy: MATLAB's own files begin
with a block of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptylive.schema import InputFileError
from ptylive.schema.model import Array
from ptylive.streamer.foreign.axes_order import SWAPPED, ReorderedFrames
from ptylive.streamer.foreign.exchange.nexus_axes import tells_axes, with_nexus_axes
from ptylive.streamer.storage.hdf5 import dataset, opened, pattern_arrays
from ptylive.streamer.storage.scan_file import ScanFile

PLAIN = "dp"
MATLAB = b"MATLAB 7.3 MAT-file"


class TransposedFrames:
    """Frames (N, Qy, Qx) of an array (N, Qx, Qy)."""

    def __init__(self, array: Any) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, Qy, Qx)."""
        points, columns, rows = self._array.shape
        return (int(points), int(rows), int(columns))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel, in native byte order."""
        dtype: np.dtype[Any] = self._array.dtype
        return dtype.newbyteorder("=")

    def __getitem__(self, selection: Any) -> Array:
        return np.asarray(self._array[selection]).swapaxes(-2, -1)


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file has the data set ``dp`` that fold_slice, PtyRAD and phaser read."""
    return isinstance(file.get(PLAIN, getlink=True), h5py.HardLink) and isinstance(file[PLAIN], h5py.Dataset)


def holds_one_scan(file: Any) -> bool:
    """Whether an open HDF5 file has a single array of real numbers with four axes, or none and a single one with three
    whose units tell the axis of the scan; and no results of this program.
    """
    return "calibration" not in file and len(_scans(file, pattern_arrays(file))) == 1


def _scans(file: Any, names: list[str]) -> list[str]:
    """Those of the arrays that are taken for scans: with four axes, or else with three whose units tell the scan's."""
    with_four = [name for name in names if file[name].ndim == 4]
    return with_four or [name for name in names if tells_axes(file[name])]


@contextmanager
def open_plain(path: Path) -> Iterator[ScanFile]:
    """Open the only array of real numbers with three or four axes, or the only one with four.

    Raises InputFileError for none, or several.
    """
    with path.open("rb") as raw:
        of_matlab = raw.read(len(MATLAB)) == MATLAB
    with opened(path) as file:
        names = [PLAIN] if recognises(file) else pattern_arrays(file)
        if len(names) > 1:
            names = _scans(file, names) or names
        if len(names) != 1:
            several = f" ({', '.join(names[:4])})" if names else ""
            problem = f"{path} holds {len(names) or 'no'} arrays of three or four axes{several}"
            raise InputFileError(problem, "save only the patterns, or name them dp")
        data = dataset(file, names[0])
        if data is None or data.ndim not in (3, 4) or data.dtype.kind not in "iuf" or 0 in data.shape:
            raise InputFileError(
                f"{path}: {names[0]} does not hold patterns", "save (N, Qy, Qx), or MATLAB's (ky, kx, N)"
            )
        notes: tuple[str, ...] = (f"patterns read from {names[0]}",)
        if not of_matlab:
            yield with_nexus_axes(data, notes)
            return
        frames = TransposedFrames(data) if data.ndim == 3 else ReorderedFrames(data, SWAPPED)
        order = "(ky, kx, points)" if data.ndim == 3 else "(ky, kx, rows, columns)"
        notes += (f"read as MATLAB's {order}: if the order was different, permute it there",)
        yield ScanFile(frames, notes=notes)
