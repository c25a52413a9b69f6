"""Patterns compressed one by one with bitshuffle/LZ4, as in DECTRIS detectors and recordings."""

from __future__ import annotations

import numpy as np

from ptylive.schema.model import Array


def packed(patterns: Array) -> tuple[bytes, ...]:
    """``bslz4`` parts (docs/protocol.md) of patterns (n, Qy, Qx), made in memory by the HDF5 filter."""
    import h5py
    import hdf5plugin

    patterns = np.ascontiguousarray(patterns)
    with h5py.File("packing", "w", driver="core", backing_store=False) as file:
        stored = file.create_dataset(
            "patterns", data=patterns, chunks=(1, *patterns.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        return tuple(bytes(stored.id.read_direct_chunk((k, 0, 0))[1]) for k in range(len(patterns)))
