"""Fourier-space planes in the order of the fused kernel, on the device; share of memory for its scratch arrays."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.fused.plan import COUNTS, Plan
from ptylive.schema.model import Array

UPLOAD_BYTES = 64 << 20
"""Patterns are copied to the device and reordered in portions of this size."""
SCRATCH_SHARE = 0.25
"""Share of the free device memory for waves kept for the way back. With less memory, fewer blocks run at a time."""


class KernelOrder:
    """Conversion between the natural order of pixels and the kernel's, and arrays that depend only on the window."""

    def __init__(self, xp: ModuleType, plan: Plan) -> None:
        self.xp, self._pixels = xp, plan.window**2
        self.gather = xp.asarray(plan.gather())
        """(P * P,) natural index of each element in the kernel's order."""
        self.restore = xp.asarray(np.argsort(plan.gather()))
        """The inverse permutation."""
        self.axis_order = xp.asarray(plan.order())
        """(P,) frequency at each place along an axis."""
        self.roots = xp.asarray(np.exp(-2j * np.pi * np.arange(plan.window) / plan.window).astype(np.complex64))
        """Roots of unity, as the transforms use them."""
        self.frequencies = xp.asarray(np.fft.fftfreq(plan.window)[plan.order()].astype(np.float32))
        """(P,) cycles per pixel along an axis."""

    def ordered(self, values: Any, dtype: Any) -> Any:
        """Copy (..., P, P) in natural order from the host to (..., P * P) on the device in the kernel's order."""
        flat = np.asarray(values).astype(dtype).reshape(*values.shape[:-2], self._pixels)
        return self.xp.ascontiguousarray(self.xp.asarray(flat)[..., self.gather])

    def moved(self, planes: Any, dtype: Any) -> Any:
        """Return planes that are already on the device in the kernel's order."""
        flat = planes.reshape(*planes.shape[:-2], self._pixels)
        return self.xp.ascontiguousarray(flat[..., self.gather].astype(dtype))

    def uploaded(self, patterns: Array, *, in_order: bool = True) -> Any:
        """Copy counts to the device as (N, P * P) in the kernel's order; with ``in_order`` False in natural order."""
        return self.uploaded_planes(patterns, len(patterns), counts_type(patterns), in_order=in_order)

    def uploaded_planes(self, planes: Any, count: int, dtype: Any, *, in_order: bool = True) -> Any:
        """Copy any planes (N, P, P), which may be in a file, to the device, as :meth:`uploaded` does."""
        uploaded = self.xp.empty((count, self._pixels), dtype)
        step = max(1, UPLOAD_BYTES // (self._pixels * np.dtype(dtype).itemsize))
        for start in range(0, count, step):
            part = np.asarray(planes[start : start + step])
            if in_order:
                uploaded[start : start + step] = self.ordered(part, dtype)
            else:
                flat = np.ascontiguousarray(part, dtype=dtype).reshape(len(part), -1)
                uploaded[start : start + step] = self.xp.asarray(flat)
        return uploaded

    def object_planes(self, planes: Any) -> Any:
        """Interleave planes (2, n, ...) into (n * Y * X, 2): real and imaginary part of each pixel together."""
        return self.xp.ascontiguousarray(planes.reshape(2, -1).T, dtype=np.float32)

    def probe_planes(self, planes: Any) -> Any:
        """Turn planes (2, modes, P, P) into (modes, P * P, 2) over P, in the kernel's order."""
        ordered = planes.reshape(2, -1, self._pixels)[:, :, self.gather].transpose(1, 2, 0)
        scale = np.float32(self._pixels**-0.5)
        return self.xp.multiply(ordered, scale, out=self.xp.empty(ordered.shape, np.float32))

    def natural_planes(self, probe: Any) -> Any:
        """Turn a gradient (modes, P * P, 2) in the kernel's order into (2, modes, P * P)."""
        return probe[:, self.restore].transpose(2, 0, 1)


def counts_type(patterns: Array) -> str:
    """Type in which patterns are stored on the device, a key of ``COUNTS``."""
    return patterns.dtype.name if patterns.dtype.name in COUNTS else "float32"
