"""Configuration of the fused kernel for a window size: radices, threads, shared memory, pixel order, and its source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntFlag
from math import prod
from pathlib import Path

import numpy as np

from ptylive.engine.backend.multislice.data_terms import NUMBERS, TINY_COUNTS
from ptylive.engine.backend.multislice.fast_sizes import RADICES as FAST_SIZES
from ptylive.engine.backend.multislice.problem import FEW_COUNTS
from ptylive.schema.model import IndexArray

FOLDER = Path(__file__).parent
COUNTS = {"uint8": "unsigned char", "uint16": "unsigned short", "float32": "float"}
"""Recorded types that are read without conversion, and their CUDA names."""
NVRTC_OPTIONS = ("-std=c++17", "--device-as-default-execution-space")
"""Compiler options: lambdas are device code, like everything in the source."""

_CUTS: dict[int, tuple[tuple[int, ...], int, int, int]] = {
    32: ((8, 4), 32, 128, 1),
    48: ((8, 6), 48, 192, 5),
    64: ((8, 8), 64, 256, 4),
    96: ((12, 8), 96, 384, 2),
    128: ((8, 4, 4), 128, 1024, 1),
    144: ((12, 12), 144, 576, 1),
    192: ((8, 6, 4), 32, 512, 2),
    256: ((8, 8, 4), 32, 512, 2),
    288: ((8, 6, 6), 32, 512, 2),
    384: ((8, 8, 6), 16, 512, 2),
    512: ((8, 8, 8), 16, 512, 2),
}
"""Radices, lines in shared memory at a time, threads, resident blocks per multiprocessor (a bound on registers):
the fastest of several measured on an H100 (48 to 256) and on an H200 (192 to 512). Windows from 192 on do not
fit into shared memory (297 KB; a Hopper multiprocessor has 227 KB), and are processed in strips."""


NARROW_THREADS = 256
"""For windows processed in strips on devices with less shared memory than the best configuration needs."""


class Feature(IntFlag):
    """Features beyond the plain far field that a kernel is compiled for; numbers and meanings as in ``general.cuh``."""

    SEVERAL_PROBES = 1
    ENTRIES = 2
    EXITS = 4
    OWN_SPACES = 8
    ABERRATIONS = 16
    PLATES = 32
    VARIED = 64
    NEAR_FIELD = 128
    MOMENTS = 256
    OF_APERTURE = 512
    TO_DETECTOR = 1024
    FROM_DETECTOR = 2048
    BANDED = 4096
    ANY = 8192


PLAIN = Feature(0)
"""The plain far field."""


@dataclass(frozen=True)
class Plan:
    """The kernel's configuration for windows of P x P pixels."""

    window: int
    radices: tuple[int, ...]
    strip: int
    """Lines of the window that are in shared memory at a time: P, or a divisor of it."""
    threads: int
    blocks: int = 1
    """Resident blocks per multiprocessor to aim for, as far as registers allow."""
    features: Feature = PLAIN
    """Features beyond the plain far field."""

    @classmethod
    def of(cls, window: int, threads: int | None = None) -> Plan | None:
        """The configuration for this window; None if there is none. threads: overrides the best number."""
        if window not in _CUTS:
            return None
        plan = cls(window, *_CUTS[window])
        return plan if threads is None else replace(plan, threads=threads, blocks=1)

    @classmethod
    def fitting(cls, window: int, shared_bytes: int, features: Feature = PLAIN) -> Plan | None:
        """The configuration that fits this much shared memory per block: the whole window if possible, or strips."""
        if window not in _CUTS:
            return None
        plan = cls(window, *_CUTS[window], features)
        narrower = (
            replace(plan, strip=strip, threads=NARROW_THREADS, blocks=1)
            for strip in (48, 32, 16)
            if window % strip == 0 and strip < plan.strip
        )
        return next((each for each in (plan, *narrower) if each.shared_bytes <= shared_bytes), None)

    @property
    def shared_bytes(self) -> int:
        """Bytes for lines with their padding, factors along the axes, the roots of unity, and a number for each thread.

        Factors are ramps and turns and, with any feature, those in front of the specimen and in free space.
        """
        factors = 9 if self.features else 5
        return 8 * (self.strip * (self.window + 1) + factors * self.window) + 4 * self.threads

    @property
    def kept_pixels(self) -> int:
        """Pixels of the window that a block keeps in global memory: none if the window is in shared memory."""
        return 0 if self.strip == self.window else self.window**2

    def defines(self, counts: str) -> dict[str, str]:
        """Preprocessor definitions for the source, for patterns recorded as ``counts`` (a key of ``COUNTS``)."""
        radices = ",".join(str(radix) for radix in self.radices)
        return {
            "WINDOW": str(self.window),
            "STRIP": str(self.strip),
            "THREADS": str(self.threads),
            "BLOCKS": str(self.blocks),
            "RADICES": radices,
            "COUNTS": COUNTS[counts],
            "TINY_COUNTS": f"{TINY_COUNTS}f",
            "FEW_COUNTS": f"{FEW_COUNTS}f",
            "FEATURES": str(int(self.features)),
            "GENERAL": str(int(self.features is not PLAIN)),
            **{name: str(number) for name, number in NUMBERS.items()},
        }

    def order(self) -> IndexArray:
        """(P,) frequency at each place after the passes: the digits of the radices reversed."""
        order = np.zeros(1, np.int64)
        for number, radix in enumerate(self.radices):
            order = (order[:, None] + prod(self.radices[:number]) * np.arange(radix)[None, :]).ravel()
        return order

    def gather(self) -> IndexArray:
        """(P * P,) flat natural index [y, x] of each Fourier-space element in the kernel's order.

        In the kernel's order x comes first, then y, both in ``order``.
        """
        order = self.order()
        return (order[None, :] * self.window + order[:, None]).ravel()


def source() -> str:
    """The kernel's source as one string: compilers that cache by source text must see all of it."""
    text = (FOLDER / "kernel.cu").read_text()
    for name in ("waves.cuh", "transform.cuh", "general.cuh"):
        included = (FOLDER / name).read_text()
        text = text.replace(f'#include "{name}"\n', included.replace("#pragma once\n", ""))
    return text


assert set(_CUTS) <= set(FAST_SIZES)  # noqa: S101  (windows are padded to these)
