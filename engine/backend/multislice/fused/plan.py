"""How the fused kernel is cut for a window size: radices, threads, shared memory, order of pixels, and its source."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ptylive.engine.backend.multislice.data_terms import NUMBERS, TINY_COUNTS
from ptylive.engine.backend.multislice.fast_sizes import RADICES as FAST_SIZES
from ptylive.engine.backend.multislice.problem import FEW_COUNTS
from ptylive.schema.model import IndexArray

FOLDER = Path(__file__).parent
COUNTS = {"uint8": "unsigned char", "uint16": "unsigned short", "float32": "float"}
"""Recorded types that are read as they are, and what CUDA calls them."""
NVRTC_OPTIONS = ("-std=c++17", "--device-as-default-execution-space")
"""For the compiler: lambdas are code for the device, like everything in the source."""

_CUTS: dict[int, tuple[tuple[int, ...], int, int]] = {
    32: ((8, 4), 128, 1),
    48: ((12, 4), 192, 1),
    64: ((8, 8), 256, 4),
    96: ((12, 8), 384, 1),
    128: ((16, 8), 512, 1),
    144: ((12, 12), 576, 1),
}
"""Radices and threads: in every pass each thread has the same number of butterflies, at most four, and its values fit
its registers. Larger windows do not fit a chip's shared memory (192: 297 KB; a Hopper chip has 227 KB)."""


@dataclass(frozen=True)
class Plan:
    """The kernel for windows of P x P pixels."""

    window: int
    radices: tuple[int, ...]
    threads: int
    blocks: int = 1
    """That a chip shall run at a time, as far as registers go."""

    @classmethod
    def of(cls, window: int, threads: int | None = None) -> Plan | None:
        """The cut for this window, None where there is none. threads: other than the best."""
        if window not in _CUTS:
            return None
        radices, best, blocks = _CUTS[window]
        return cls(window, radices, threads or best, blocks if threads is None else 1)

    @property
    def shared_bytes(self) -> int:
        """The window with its padded rows, two ramps, two turns, the roots of unity, a number for each thread."""
        return 8 * (self.window * (self.window + 1) + 5 * self.window) + 4 * self.threads

    def defines(self, counts: str) -> dict[str, str]:
        """What the source wants to be told, for patterns recorded as ``counts`` (a key of ``COUNTS``)."""
        radices = ",".join(str(radix) for radix in self.radices)
        return {
            "WINDOW": str(self.window),
            "THREADS": str(self.threads),
            "BLOCKS": str(self.blocks),
            "RADICES": radices,
            "COUNTS": COUNTS[counts],
            "TINY_COUNTS": f"{TINY_COUNTS}f",
            "FEW_COUNTS": f"{FEW_COUNTS}f",
            **{name: str(number) for name, number in NUMBERS.items()},
        }

    def order(self) -> IndexArray:
        """(P,) the frequency that stands at each place after the passes: digits of the radices reversed."""
        order = np.zeros(1, np.int64)
        for done, radix in enumerate(self.radices):
            order = (order[:, None] + prod(self.radices[:done]) * np.arange(radix)[None, :]).ravel()
        return order

    def gather(self) -> IndexArray:
        """(P * P,) flat natural index [y, x] of each element of Fourier space as the kernel stores it.

        There x comes first, then y, both in ``order``.
        """
        order = self.order()
        return (order[None, :] * self.window + order[:, None]).ravel()


def source() -> str:
    """The kernel in one piece: compilers that cache by the text they are given must see all of it."""
    included = (FOLDER / "transform.cuh").read_text()
    return (
        (FOLDER / "kernel.cu").read_text().replace('#include "transform.cuh"\n', included.replace("#pragma once\n", ""))
    )


assert set(_CUTS) <= set(FAST_SIZES)  # noqa: S101  (windows are padded to these)
