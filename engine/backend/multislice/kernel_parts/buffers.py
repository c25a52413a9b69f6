"""Work planes of one thread of the compiled kernel, and their alignment in memory."""

from __future__ import annotations

import numpy as np

from ptylive.engine.backend.multislice.kernel_parts.planes import SINGLE, Real, plane_size
from ptylive.schema.model import Array

PAGE = 4096
PLACES = {"far_field": 1792, "a": 1024, "b": 3072, "counts": 2560}
"""Byte offsets in a page at which buffers begin; 0 for others. The best of 157 draws (docs/history/kernel.md)."""


def plane_shapes(size: int, slices: int, pairs: int, real: Real = SINGLE) -> dict[str, tuple[int, ...]]:
    """Shapes of the :class:`~.arguments.Work` buffers that every model needs."""
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
    """Zeros for the buffer ``name`` of :class:`~.arguments.Work`, at its offset within a memory page.

    Reads wait for earlier writes at the same offset of another page; page-sized planes would collide at every pixel.
    """
    size = int(np.prod(shape)) * real.itemsize
    room = np.zeros(size + 2 * PAGE, np.uint8)
    start = -room.ctypes.data % PAGE + PLACES.get(name, 0)
    return room[start : start + size].view(real).reshape(shape)
