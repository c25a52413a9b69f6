"""Planes between whole arrays and the compiled kernel: flat, with its pitch from row to row."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.fast_sizes import pitch_of
from ptylive.schema.model import Array, FloatArray


def plane_size(size: int) -> int:
    """Numbers of a plane."""
    return size * pitch_of(size)


def laid_out(planes: Any) -> FloatArray:
    """Planes (..., P, P) as the kernel has them: contiguous float32 (..., P * pitch), 0 between rows."""
    size = planes.shape[-1]
    pitch = pitch_of(size)
    if pitch == size:
        return np.ascontiguousarray(planes, dtype=np.float32).reshape(*planes.shape[:-2], plane_size(size))
    made = np.zeros((*planes.shape[:-1], pitch), np.float32)
    made[..., :size] = planes
    return made.reshape(*planes.shape[:-2], plane_size(size))


def unlaid(flat: Array, size: int) -> Array:
    """The planes (..., P, P) that lie in ``flat`` (..., P * pitch): a view."""
    return flat.reshape(*flat.shape[:-1], size, pitch_of(size))[..., :size]
