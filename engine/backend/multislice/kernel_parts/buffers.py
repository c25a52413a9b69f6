"""Work planes of one thread of the compiled kernel, and where in memory they begin."""

from __future__ import annotations

import numpy as np

from ptylive.engine.backend.multislice.kernel_parts.planes import SINGLE, Real, plane_size
from ptylive.schema.model import Array

PAGE = 4096
PLACES = {"far_field": 1792, "a": 1024, "b": 3072, "counts": 2560}
"""Bytes into a page at which buffers begin; 0 for others. The best of 157 draws (docs/performance.md)."""


def plane_shapes(size: int, slices: int, pairs: int, real: Real = SINGLE) -> dict[str, tuple[int, ...]]:
    """Of the buffers of :class:`~.arguments.Work` that every model needs: window, slices, pairs of modes."""
    plane = plane_size(size, real)
    return {
        "waves": (pairs, slices, 2, plane),
        "far_field": (pairs, 2, plane),
        "a": (2, plane),
        "b": (2, plane),
        "intensity": (plane,),
        "counts": (plane,),
        "ramp": (2, 2, size),
    }


def aligned(shape: tuple[int, ...], name: str, real: Real = SINGLE) -> Array:
    """Zeros for the buffer ``name`` of :class:`~.arguments.Work`, at its place within a page of memory.

    Reads wait for earlier writes to the same place of another page, and planes of whole pages then meet at every pixel.
    """
    size = int(np.prod(shape)) * real.itemsize
    room = np.zeros(size + 2 * PAGE, np.uint8)
    start = -room.ctypes.data % PAGE + PLACES.get(name, 0)
    return room[start : start + size].view(real).reshape(shape)
