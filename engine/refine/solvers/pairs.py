"""Pairs (s, y) that L-BFGS stores, a step and the change of the gradient over it; in 16 bits if they are long.

Ten pairs are twenty vectors as long as the object, the largest part of a run's memory after its patterns. A pair
estimates a curvature from gradients that differ by more than rounding anyway. Long single-precision vectors are
therefore stored as 16-bit integers with one scale per block (block floating point, Wilkinson, Rounding Errors in
Algebraic Processes, 1963, chapter 1), with an error of at most 1.6e-5 of the largest number in a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.packing import BLOCK, LARGEST, NOTHING
from ptylive.engine.refine.parameters import pieces as long
from ptylive.engine.refine.parameters.pieces import pieces

LONG = 1 << 22
"""Length from which a vector is packed: ten pairs of shorter ones need less memory than the program itself."""


@dataclass(frozen=True)
class Packed:
    """A vector of n numbers in single precision, rounded."""

    numbers: Any
    """(n,) int16."""
    scales: Any
    """(n / BLOCK, rounded up) float32: the value of one integer unit in each block."""


Part = Any
"""A vector (n,), plain or :class:`Packed`."""
Pair = tuple[Part, Part]


def kept(vector: Any, xp: Any) -> Part:
    """Return the vector (n,), packed if it is long and in single precision. It must be finite."""
    if vector.dtype != np.float32 or len(vector) < LONG:
        return vector
    numbers = xp.empty(len(vector), xp.int16)
    scales = xp.empty(-(-len(vector) // BLOCK), xp.float32)
    if xp is np:
        from ptylive.engine.backend import packed_vectors

        packed_vectors.pack(vector, numbers, scales)
        return Packed(numbers, scales)
    for piece in pieces(len(vector), xp):
        for part, blocks in _blocks(piece):
            values = vector[part].reshape(len(range(*blocks.indices(len(scales)))), -1)
            largest = xp.abs(values).max(axis=1)
            scales[blocks] = xp.where(largest > NOTHING, largest / LARGEST, 0)
            factors = xp.where(largest > NOTHING, LARGEST / xp.maximum(largest, NOTHING), 0).astype(xp.float32)
            numbers[part] = xp.rint(values * factors[:, None]).astype(xp.int16).ravel()
    return Packed(numbers, scales)


def whole(part: Part, xp: Any) -> Any:
    """Return the vector (n,) from the result of :func:`kept`: a new array if that is packed."""
    if not isinstance(part, Packed):
        return part
    if xp is np:
        from ptylive.engine.backend import packed_vectors

        vector = np.empty(len(part.numbers), np.float32)
        packed_vectors.unpack(part.numbers, part.scales, vector)
        return vector
    vector = part.numbers.astype(xp.float32)
    for piece in pieces(len(vector), xp):
        for place, blocks in _blocks(piece):
            scales = part.scales[blocks]
            vector[place].reshape(len(scales), -1)[...] *= scales[:, None]
    return vector


def product(a: Part, b: Part, xp: Any) -> Any:
    """Return the dot product of two vectors (n,); on the CPU packed vectors are not copied."""
    packed = [part for part in (a, b) if isinstance(part, Packed)]
    if not packed:
        return xp.dot(a, b)
    if xp is not np:
        return xp.dot(whole(a, xp), whole(b, xp))
    from ptylive.engine.backend import packed_vectors

    if len(packed) == 2:
        return packed_vectors.product_of_packed(a.numbers, a.scales, b.numbers, b.scales)
    plain = b if a is packed[0] else a
    return packed_vectors.product(packed[0].numbers, packed[0].scales, plain)


def add_scaled(vector: Any, factor: Any, part: Part, xp: Any) -> None:
    """Add factor * part to a vector (n,), in place; on the CPU a packed part is not copied."""
    if xp is np and isinstance(part, Packed):
        from ptylive.engine.backend import packed_vectors

        packed_vectors.add_scaled(vector, np.float32(factor), part.numbers, part.scales)
    else:
        long.add_scaled(vector, factor, whole(part, xp), xp)


def _blocks(piece: slice) -> list[tuple[slice, slice]]:
    """The whole blocks of a piece, then a shorter one at the end if there is one, each with the slice of its scales."""
    end = piece.start + (piece.stop - piece.start) // BLOCK * BLOCK
    blocks = [(slice(piece.start, end), slice(piece.start // BLOCK, end // BLOCK))] if end > piece.start else []
    if piece.stop > end:
        blocks.append((slice(end, piece.stop), slice(end // BLOCK, end // BLOCK + 1)))
    return blocks
