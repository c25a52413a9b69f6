"""Long vectors in 16 bits, with a scale for every block: packed, unpacked, multiplied and added as they are read.

Block floating point (Wilkinson, Rounding Errors in Algebraic Processes, 1963, chapter 1). Products are summed in single
precision within a block and in double precision over blocks. This is more accurate than library sums over whole
vectors, and independent of how the vectors are packed.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ptylive.engine.backend.packing import BLOCK, LARGEST, NOTHING

FAST = {"nopython": True, "nogil": True, "cache": True, "error_model": "numpy", "fastmath": True, "boundscheck": False}
"""fastmath assumes finite numbers: a block with a non-finite one has no scale anyway. Packing avoids approximate
inverses, so that it rounds as every other device does."""


@nb.jit(**FAST | {"fastmath": {"nnan", "ninf", "nsz"}})
def pack(vector, numbers, scales):
    """Fill numbers (n,) int16 and scales (n / BLOCK, rounded up) float32 from a vector (n,) float32."""
    for block in range(scales.size):
        part = vector[block * BLOCK : (block + 1) * BLOCK]
        target = numbers[block * BLOCK : (block + 1) * BLOCK]
        largest = np.float32(0.0)
        for k in range(part.size):
            largest = max(largest, abs(part[k]))
        if largest <= NOTHING:
            scales[block] = np.float32(0.0)
            target[:] = 0
            continue
        scales[block] = largest / np.float32(LARGEST)
        factor = np.float32(LARGEST) / largest
        for k in range(part.size):
            target[k] = np.int16(np.rint(part[k] * factor))


@nb.jit(**FAST)
def unpack(numbers, scales, vector):
    """Fill the vector (n,) float32 represented by numbers and scales."""
    for block in range(scales.size):
        part = numbers[block * BLOCK : (block + 1) * BLOCK]
        target = vector[block * BLOCK : (block + 1) * BLOCK]
        scale = scales[block]
        for k in range(part.size):
            target[k] = scale * np.float32(part[k])


@nb.jit(**FAST)
def product(numbers, scales, vector):
    """Return the dot product of a packed vector and one (n,) float32."""
    total = 0.0
    for block in range(scales.size):
        part = numbers[block * BLOCK : (block + 1) * BLOCK]
        segment = vector[block * BLOCK : (block + 1) * BLOCK]
        sums = np.float32(0.0)
        for k in range(part.size):
            sums += np.float32(part[k]) * segment[k]
        total += np.float64(scales[block]) * np.float64(sums)
    return total


@nb.jit(**FAST)
def product_of_packed(numbers, scales, other_numbers, other_scales):
    """Return the dot product of two packed vectors."""
    total = 0.0
    for block in range(scales.size):
        part = numbers[block * BLOCK : (block + 1) * BLOCK]
        other_part = other_numbers[block * BLOCK : (block + 1) * BLOCK]
        sums = np.float32(0.0)
        for k in range(part.size):
            sums += np.float32(part[k]) * np.float32(other_part[k])
        total += np.float64(scales[block]) * np.float64(other_scales[block]) * np.float64(sums)
    return total


@nb.jit(**FAST)
def add_scaled(vector, factor, numbers, scales):
    """Vector (n,) float32 += factor * a packed vector."""
    for block in range(scales.size):
        part = numbers[block * BLOCK : (block + 1) * BLOCK]
        target = vector[block * BLOCK : (block + 1) * BLOCK]
        by = np.float32(factor * scales[block])
        for k in range(part.size):
            target[k] += by * np.float32(part[k])
