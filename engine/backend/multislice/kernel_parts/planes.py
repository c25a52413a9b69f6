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


def plane_size(size: int, real: Real = SINGLE) -> int:
    """Number of elements of a plane."""
    return size * pitch_of(size, real.itemsize)


def zeros_at_a_line(shape: tuple[int, ...], real: Real = SINGLE) -> Array:
    """Zeros aligned to a cache line: a vector that straddles two lines is read twice."""
    size = math.prod(shape) * real.itemsize
    room = np.zeros(size + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(real).reshape(shape)


def laid_out(planes: Any, real: Real = SINGLE) -> Array:
    """Planes (..., P, P) in the kernel's layout: contiguous (..., P * pitch) of type ``real``, 0 between rows."""
    size = planes.shape[-1]
    pitch, shape = pitch_of(size, real.itemsize), (*planes.shape[:-2], plane_size(size, real))
    padded = zeros_at_a_line((*planes.shape[:-1], pitch), real)
    padded[..., :size] = planes
    return padded.reshape(shape)


def unlaid(flat: Array, size: int) -> Array:
    """The planes (..., P, P) in ``flat`` (..., P * pitch), as a view."""
    return flat.reshape(*flat.shape[:-1], size, flat.shape[-1] // size)[..., :size]
