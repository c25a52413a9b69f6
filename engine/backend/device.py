"""Whether there is a GPU, and how much of its memory is available: for all code that chooses one.

Nothing is allocated on a device unless :meth:`ArrayDevice.check_room` has allowed it, or in portions that it sets.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.errors import MetadataError
from ptylive.schema.model import Array

NAMES = ("auto", "cpu", "gpu")
"""A GPU if one responds; none; a GPU, or a message if there is none."""
SHARE = 0.8
"""Usable share of a card's free memory: the rest is for work memory."""
WORK_BYTES = 256 * 2**20
"""Work memory of one step; less if the card has less."""
WORK_SHARE = 0.25
"""Largest share of the free memory that a step may use."""
_COMPUTE_MODE = 20
"""``cudaDevAttrComputeMode``; 0 is the default, which every process may use."""


class NoRoom(MemoryError):
    """A requested amount does not fit on a device; the message states how much would be needed."""


def check_name(backend: str) -> None:
    """Raise MetadataError for a word that names no backend."""
    if backend not in NAMES:
        raise MetadataError(f"unknown backend {backend!r}", f"use {', '.join(NAMES[:-1])} or {NAMES[-1]}")


@dataclass(frozen=True, eq=False)
class ArrayDevice:
    """An array module, and the memory of the device that holds its arrays."""

    xp: Any
    """Cupy, or a module with the same interface."""
    free_bytes: Callable[[], float]
    failures: tuple[type[Exception], ...] = (MemoryError, RuntimeError)
    """Exceptions of its functions for which the device, not the program, is at fault."""
    release: Callable[[], None] = lambda: None
    """Returns memory of deleted arrays to other users, including other processes."""

    def check_room(self, needed_bytes: float, items: str) -> None:
        """Raise NoRoom if ``items`` would take more memory than there is."""
        free = SHARE * self.free_bytes()
        if needed_bytes > free:
            raise NoRoom(f"{items} need {needed_bytes / 1e9:.3g} GB of GPU memory, {free / 1e9:.3g} GB are available")

    def portion(self, bytes_each: float, items: str) -> int:
        """Return how many items of this size are processed at a time. Raises NoRoom if not even one fits."""
        room = min(float(WORK_BYTES), WORK_SHARE * self.free_bytes())
        if bytes_each > room:
            self.check_room(bytes_each, items)
        return max(1, int(room // max(bytes_each, 1.0)))

    def to_host(self, array: Any) -> Array:
        """Return a numpy array with the values of ``array``."""
        return on_host(array)


def on_host(array: Any) -> Array:
    """Copy an array of a device to host memory; return a host array unchanged."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def may_be_there() -> bool:
    """Return whether cupy is installed, without importing it or querying a card."""
    return "cupy" in sys.modules or importlib.util.find_spec("cupy") is not None


def missing() -> str:
    """Return why no GPU can be used, in words; empty if one can."""
    if not may_be_there():
        return "cupy is not installed"
    try:
        import cupy

        return "" if cupy.cuda.runtime.getDeviceCount() > 0 else "no CUDA device responds"
    except Exception as error:  # any failure of the driver means the same here: no GPU
        return f"CUDA does not start ({' '.join(str(error).split())[:100]})"


def is_shared() -> bool:
    """Return whether several processes may use the current device: an operator can make it exclusive."""
    import cupy

    return int(cupy.cuda.runtime.deviceGetAttribute(_COMPUTE_MODE, cupy.cuda.Device().id)) == 0


def free_bytes() -> int:
    """Return the available memory of the current device: unused, and what cupy keeps of deleted arrays."""
    import cupy

    return int(cupy.cuda.Device().mem_info[0] + cupy.get_default_memory_pool().free_bytes())


def current_gpu() -> ArrayDevice:
    """Return the current CUDA device; call only if :func:`missing` found one."""
    import cupy

    failures = (MemoryError, RuntimeError, cupy.cuda.compiler.CompileException)
    return ArrayDevice(cupy, free_bytes, failures, cupy.get_default_memory_pool().free_all_blocks)
