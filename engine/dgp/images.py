"""Parameters of a refinement as images that a network can produce: real channels of about unit size.

The object's parameters are used as images directly. The probe is stored in Fourier space, zero frequency at [0, 0]; if
its real and imaginary parts are refined the network produces it in real space, centred, otherwise its parameters,
centred.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ptylive.schema.model import Array, FloatArray

FLAT = 1e-6
"""Smallest unit of an image, so that an image without contrast does not cause a division by zero."""


@dataclass(frozen=True)
class Images:
    """A block of the vector of parameters, and its conversion to images and back: values = offset + unit * image."""

    first: int
    """Start of the block in the vector."""
    shape: tuple[int, int, int]
    """Channels, rows, columns."""
    waves: bool = False
    """Whether it is a complex field in Fourier space, real before imaginary parts, produced in real space."""
    centred: bool = False
    """Whether zero frequency is in the middle of the image, but at [0, 0] in the block."""
    offset: FloatArray | None = None
    """(channels, 1, 1)."""
    unit: float = 1.0

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(np.prod(self.shape))

    def of(self, vector: Array, *, above: bool = False) -> tuple[Images, FloatArray]:
        """Set offset and unit from a vector, and return its images (channels, Y, X). above: values at or above 0."""
        images = self._turned(np.asarray(vector[self.first : self.first + self.size], np.float32).reshape(self.shape))
        zero = above or self.waves
        offset = np.zeros((len(images), 1, 1), np.float32) if zero else images.mean(axis=(1, 2), keepdims=True)
        unit = max(FLAT, float(np.sqrt(((images - offset) ** 2).mean())))
        standardised = Images(self.first, self.shape, self.waves, self.centred, offset, unit)
        return standardised, np.asarray((images - offset) / unit, dtype=np.float32)

    def _turned(self, block: FloatArray) -> FloatArray:
        """The block's values in the order of images."""
        if self.waves:
            half = len(block) // 2
            field = np.fft.ifft2(block[:half] + 1j * block[half:], norm="ortho")
            block = np.concatenate([field.real, field.imag]).astype(np.float32)
        return np.fft.fftshift(block, axes=(1, 2)) if self.centred or self.waves else block
