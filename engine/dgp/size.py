"""Memory and time that a network requires, from its shape alone; torch is not required."""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOPS_A_SECOND, STEP_S = 5e10, 0.012
"""Speed of one core for such convolutions, forward and backward, and overhead of a step (measured on an AMD EPYC):
rough values, used only for the estimate before a run.
"""
ADAM = 4
"""Copies of the weights: themselves, their gradient, its mean and its mean square."""
MEMORY_FACTOR = 1.25
"""Factor for memory besides activations: gradients on their way back, work memory of the convolutions."""


@dataclass(frozen=True)
class NetworkSize:
    """One U-Net and the images that go through it."""

    channels: int
    levels: int
    filters: int
    shape: tuple[int, int]
    """Rows and columns of the images."""

    @property
    def weights(self) -> int:
        """Number of trained parameters."""
        total, before = 0, self.channels
        for width in self._widths:
            total += 9 * before * width + 9 * width**2 + 4 * width  # on the way down
            total += (4 * 2 * width * width + width) + 9 * 2 * width * width + 9 * width**2 + 4 * width  # on the way up
            before = width
        bottom = 2 * self._widths[-1]
        return total + 9 * before * bottom + 9 * bottom**2 + 4 * bottom + self.filters * self.channels + self.channels

    @property
    def bytes(self) -> int:
        """Peak memory of a step, single precision: activations for the backward pass, weights and Adam's copies."""
        stored = 0.0
        for level, width in enumerate(self._widths):
            pixels = self._pixels / 4.0**level
            # down: four of convolutions and normalisations, indices of the maxima; up: one, the two concatenated, four
            stored += pixels * width * (4 + 0.5 + 1 + 2 + 4)
        stored += self._pixels / 4.0**self.levels * 2 * self._widths[-1] * 4 + 4 * self._pixels * self.channels
        return int(4 * (MEMORY_FACTOR * stored + ADAM * self.weights))

    @property
    def flops(self) -> float:
        """Operations of a step, forward and backward."""
        total, before = 0.0, self.channels
        for level, width in enumerate(self._widths):
            pixels = self._pixels / 4.0**level
            total += pixels * (
                9 * before * width + 9 * width**2 + 2 * width * width + 9 * 2 * width * width + 9 * width**2
            )
            before = width
        bottom = 2 * self._widths[-1]
        total += self._pixels / 4.0**self.levels * 9 * (before * bottom + bottom**2)
        total += self._pixels * self.filters * self.channels
        return 2 * 3 * total

    def seconds(self, steps: int, threads: int) -> float:
        """Approximate time of ``steps`` steps on the CPU."""
        return steps * (STEP_S + self.flops / (FLOPS_A_SECOND * max(1, threads)))

    @property
    def _widths(self) -> list[int]:
        return [self.filters * 2**level for level in range(self.levels)]

    @property
    def _pixels(self) -> float:
        """Pixels after padding to multiples of 2^L."""
        least = 2**self.levels
        return float(math.prod(math.ceil(size / least) * least for size in self.shape))


def in_words(sizes: list[NetworkSize], seconds: float) -> str:
    """Summary shown before a run."""
    weights, room = sum(size.weights for size in sizes), sum(size.bytes for size in sizes)
    networks = "1 network" if len(sizes) == 1 else f"{len(sizes)} networks"
    return f"{networks} of {weights / 1e3:.0f} thousand weights, {room / 1e9:.2g} GB, about {seconds:.0f} s"
