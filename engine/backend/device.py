"""Whether there is a GPU, and what of its memory can be had: asked by whatever chooses one, for maps and refinements.

Nothing is allocated on a device before :meth:`ArrayDevice.check_room` has allowed it, or in portions that it sets.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.schema.model import Array

NAMES = ("auto", "cpu", "gpu")
"""A GPU where one answers; none; a GPU, and a word where there is none."""
SHARE = 0.8
"""Of the free memory of a card: the rest is for work memory."""
WORK_BYTES = 256 * 2**20
"""Work memory of one step; less where the card has less."""
WORK_SHARE = 0.25
"""Of the free memory: a step never takes more."""
_COMPUTE_MODE = 20
"""``cudaDevAttrComputeMode``; 0 is the default, of which every process may make use."""


class NoRoom(MemoryError):
    """What was asked for does not fit a device; the message says how much it would take."""


@dataclass(frozen=True, eq=False)
class ArrayDevice:
    """An array module, and the memory of the device its arrays lie on."""

    xp: Any
    """Cupy, or what can be taken for it."""
    free_bytes: Callable[[], float]
    failures: tuple[type[Exception], ...] = (MemoryError, RuntimeError)
    """What its functions raise where the device, and not the program, is at fault."""
    release: Callable[[], None] = lambda: None
    """Gives memory of arrays that are gone back to others, other processes among them."""

    def check_room(self, needed_bytes: float, what: str) -> None:
        """Raise NoRoom where ``what`` would take more memory than there is."""
        free = SHARE * self.free_bytes()
        if needed_bytes > free:
            raise NoRoom(f"{what} need {needed_bytes / 1e9:.3g} GB of its memory, {free / 1e9:.3g} GB are to be had")

    def portion(self, bytes_each: float, what: str) -> int:
        """How many things of this size are worked on at a time. Raises NoRoom where not even one fits."""
        room = min(float(WORK_BYTES), WORK_SHARE * self.free_bytes())
        if bytes_each > room:
            self.check_room(bytes_each, what)
        return max(1, int(room // max(bytes_each, 1.0)))

    def to_host(self, array: Any) -> Array:
        """A numpy array with the values of ``array``."""
        return on_host(array)


def on_host(array: Any) -> Array:
    """An array of a device in the memory of this machine; one of this machine as it is."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def may_be_there() -> bool:
    """Whether cupy is installed; nothing is imported, so no card is asked."""
    return "cupy" in sys.modules or importlib.util.find_spec("cupy") is not None


def missing() -> str:
    """Why no GPU can be used, in words; the empty string where one can."""
    if not may_be_there():
        return "cupy is not installed"
    try:
        import cupy

        return "" if cupy.cuda.runtime.getDeviceCount() > 0 else "no CUDA device answers"
    except Exception as error:  # any failure of the driver means the same here: no GPU
        return f"CUDA does not start ({' '.join(str(error).split())[:100]})"


def is_shared() -> bool:
    """Whether several processes may use the current device: an operator can keep it for one at a time."""
    import cupy

    return int(cupy.cuda.runtime.deviceGetAttribute(_COMPUTE_MODE, cupy.cuda.Device().id)) == 0


def free_bytes() -> int:
    """Memory of the current device that can be had: nobody's, and what cupy keeps of arrays that are gone."""
    import cupy

    return int(cupy.cuda.Device().mem_info[0] + cupy.get_default_memory_pool().free_bytes())


def current_gpu() -> ArrayDevice:
    """The current CUDA device; :func:`missing` has said that there is one."""
    import cupy

    failures = (MemoryError, RuntimeError, cupy.cuda.compiler.CompileException)
    return ArrayDevice(cupy, free_bytes, failures, cupy.get_default_memory_pool().free_all_blocks)
