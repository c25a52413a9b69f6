"""Planes of Fourier space in the order of the fused kernel, on the device; its scratch memory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.fused.plan import COUNTS, Plan
from ptylive.schema.model import Array

UPLOAD_BYTES = 64 << 20
"""Patterns are brought to the device and put in order in portions of this size."""
SCRATCH_SHARE = 0.25
"""Of the free device memory: waves kept for the way back. With less, fewer blocks or patterns are taken at a time."""


class KernelOrder:
    """Natural order of pixels to the kernel's, and back; what is the same for every problem of a window."""

    def __init__(self, xp: ModuleType, plan: Plan) -> None:
        self.xp, self._pixels = xp, plan.window**2
        self.gather = xp.asarray(plan.gather())
        """(P * P,) natural index of each element as the kernel stores it."""
        self.restore = xp.asarray(np.argsort(plan.gather()))
        """The inverse."""
        self.along = xp.asarray(plan.order())
        """(P,) the frequency at each place along an axis."""
        self.roots = xp.asarray(np.exp(-2j * np.pi * np.arange(plan.window) / plan.window).astype(np.complex64))
        """Of unity, as the transforms want them."""
        self.frequencies = xp.asarray(np.fft.fftfreq(plan.window)[plan.order()].astype(np.float32))
        """(P,) cycles per pixel along an axis."""

    def ordered(self, values: Any, dtype: Any) -> Any:
        """(..., P, P) from the host, in natural order, as (..., P * P) on the device in the kernel's order."""
        flat = np.asarray(values).astype(dtype).reshape(*values.shape[:-2], self._pixels)
        return self.xp.ascontiguousarray(self.xp.asarray(flat)[..., self.gather])

    def moved(self, planes: Any, dtype: Any) -> Any:
        """The same of planes that lie on the device."""
        flat = planes.reshape(*planes.shape[:-2], self._pixels)
        return self.xp.ascontiguousarray(flat[..., self.gather].astype(dtype))

    def uploaded(self, patterns: Array, *, in_order: bool = True) -> Any:
        """(N, P * P) counts on the device, in the kernel's order; images stay as they are (``in_order`` False)."""
        return self.uploaded_planes(patterns, len(patterns), counts_type(patterns), in_order=in_order)

    def uploaded_planes(self, planes: Any, count: int, dtype: Any, *, in_order: bool = True) -> Any:
        """The same of any planes (N, P, P), which may lie in a file."""
        uploaded = self.xp.empty((count, self._pixels), dtype)
        step = max(1, UPLOAD_BYTES // (self._pixels * np.dtype(dtype).itemsize))
        for first in range(0, count, step):
            part = np.asarray(planes[first : first + step])
            if in_order:
                uploaded[first : first + step] = self.ordered(part, dtype)
            else:
                flat = np.ascontiguousarray(part, dtype=dtype).reshape(len(part), -1)
                uploaded[first : first + step] = self.xp.asarray(flat)
        return uploaded

    def object_planes(self, planes: Any) -> Any:
        """(n * Y * X, 2), real and imaginary part of each pixel together, of planes (2, n, ...)."""
        return self.xp.ascontiguousarray(planes.reshape(2, -1).T, dtype=np.float32)

    def probe_planes(self, planes: Any) -> Any:
        """(modes, P * P, 2) over P, in the kernel's order, of planes (2, modes, P, P)."""
        ordered = planes.reshape(2, -1, self._pixels)[:, :, self.gather].transpose(1, 2, 0)
        scale = np.float32(self._pixels**-0.5)
        return self.xp.multiply(ordered, scale, out=self.xp.empty(ordered.shape, np.float32))

    def natural_planes(self, probe: Any) -> Any:
        """(2, modes, P * P) from a gradient (modes, P * P, 2) in the kernel's order."""
        return probe[:, self.restore].transpose(2, 0, 1)


def counts_type(patterns: Array) -> str:
    """The type in which patterns are kept on the device, a key of ``COUNTS``."""
    return patterns.dtype.name if patterns.dtype.name in COUNTS else "float32"
