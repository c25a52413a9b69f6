"""Conversion of planes between whole arrays and the compiled kernel: flat, with the kernel's row pitch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.fast_sizes import pitch_of
from ptylive.schema.model import Array

Real = np.dtype[Any]
"""Type of a plane's numbers: float32 or float64."""


SINGLE: Real = np.dtype(np.float32)
LINE = 64
"""Bytes of a cache line, and of the widest vector."""
APART = 2 * LINE
"""Bytes after each plane. Most planes fill whole pages of memory, so that without them the same row of a wave's real
and imaginary part would compete for the same lines of the first-level cache."""


def plane_size(size: int, real: Real = SINGLE) -> int:
    """Number of elements from the beginning of one plane to that of the next."""
    return size * pitch_of(size, real.itemsize) + APART // real.itemsize


def zeros_at_a_line(shape: tuple[int, ...], real: Real = SINGLE) -> Array:
    """Zeros aligned to a cache line: a vector that straddles two lines is read twice."""
    size = math.prod(shape) * real.itemsize
    room = np.zeros(size + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(real).reshape(shape)


def laid_out(planes: Any, real: Real = SINGLE) -> Array:
    """Planes (..., P, P) in the kernel's layout: (..., plane_size) of type ``real``, 0 between rows and after them."""
    size = planes.shape[-1]
    flat = zeros_at_a_line((*planes.shape[:-2], plane_size(size, real)), real)
    unlaid(flat, size)[...] = planes
    return flat


def unlaid(flat: Array, size: int) -> Array:
    """The planes (..., P, P) in ``flat`` (..., plane_size), as a view.

    The pitch follows from the length (at least one element follows a plane, and at most ``size``), since ``flat`` may
    be a sum of another type than the kernel's planes.
    """
    pitch = (flat.shape[-1] - 1) // size
    return flat[..., : size * pitch].reshape(*flat.shape[:-1], size, pitch)[..., :size]
