"""A corner of a bundled scan: faster to replay, convert and distort than the whole."""

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401

from ptylive.simulators.data import bundled


def part_of(name: str, points: int, path: Path) -> Path:
    """A file of the first ``points`` x ``points`` patterns of a scan, with its metadata."""
    with h5py.File(bundled(name)) as whole, h5py.File(path, "w") as part:
        part["data"] = whole["data"][:points, :points]
        whole.copy("metadata", part)
        part["metadata"].attrs["scan_shape"] = (points, points)
    return path
