"""Recordings of virtual detectors whose masks lie in another file, as in PyPty: a number for each mask.

``data`` of an HDF5 file or a ``.npy`` array, (Ry, Rx, K) or (N, K); masks (K, Qy, Qx) in a ``.npy`` file, or in the
``/basis`` of a native file (docs/compression.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.schema import Basis, InputFileError
from ptylive.schema.model import Array, FloatArray
from ptylive.streamer.foreign.arrays import mapped_array
from ptylive.streamer.storage.hdf5 import attributes, dataset, group, opened
from ptylive.streamer.storage.scan_file import ScanFile
from ptylive.streamer.storage.vectors import VectorSets, load_basis

SIDE, MOST_MASKS = 16_384, 65_536
"""Most pixels along a side of a mask, and most masks."""


@contextmanager
def open_readings(path: Path, masks: str | Path | Array) -> Iterator[ScanFile]:
    """Open a recording of ``masks``. Raises InputFileError: missing, wrong axes, wrong number of masks."""
    basis, planes = _masks(masks)
    if path.suffix.lower() == ".npy":
        yield _scan(path, mapped_array(path), {}, basis, planes)
        return
    with opened(path) as file:
        data = dataset(file, "data")
        if data is None:
            raise InputFileError(f"{path} has no data set /data", "with masks, it must be (Ry, Rx, K) or (N, K)")
        metadata = group(file, "metadata")
        yield _scan(path, data, {} if metadata is None else attributes(metadata), basis, planes)


def _scan(path: Path, data: Any, metadata: dict[str, Any], basis: Basis, masks: FloatArray) -> ScanFile:
    shape = " x ".join(map(str, data.shape))
    if len(data.shape) not in (2, 3) or 0 in data.shape or data.dtype.kind not in "uif":
        raise InputFileError(
            f"{path}: the array is {shape}", "with masks, it must hold numbers of shape (Ry, Rx, K) or (N, K)"
        )
    if data.shape[-1] != len(masks):
        raise InputFileError(
            f"{path}: the array is {shape}, but there are {len(masks)} masks", "give one number per mask"
        )
    return ScanFile(VectorSets(data, None), metadata, {"masks": masks}, basis=basis)


def _masks(given: str | Path | Array) -> tuple[Basis, FloatArray]:
    if isinstance(given, str | Path) and Path(given).suffix.lower() != ".npy":
        return load_basis(Path(given))
    planes = given if isinstance(given, np.ndarray) else mapped_array(Path(given))
    name = "masks" if isinstance(given, np.ndarray) else f"masks ({given})"
    if planes.ndim != 3 or planes.dtype.kind not in "buif" or not 0 < min(planes.shape):
        raise InputFileError(f"{name} are {planes.dtype} {planes.shape}", "give numbers (masks, rows, columns)")
    if len(planes) > MOST_MASKS or max(planes.shape[1:]) > SIDE:
        raise InputFileError(f"{name} are {planes.shape}", f"give at most {MOST_MASKS} masks of {SIDE} pixels a side")
    found = np.asarray(planes, dtype=np.float32)
    if not np.isfinite(found).all():
        raise InputFileError(f"{name} hold values that are not numbers", "give finite numbers")
    return Basis(kind="custom", n_bright=len(found)), found
