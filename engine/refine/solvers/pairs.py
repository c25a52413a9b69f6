"""Pairs (s, y) that L-BFGS keeps: a step, and the change of the gradient over it; in 16 bits where they are long.

Ten pairs are twenty vectors as long as the object, the largest part of a run's memory after its patterns. A pair
estimates a curvature whose gradients differ by more than rounding anyway, so long vectors of single precision are kept
as whole numbers of 16 bits, a scale for every block of them (block floating point, Wilkinson, Rounding Errors in
Algebraic Processes, 1963, chapter 1): wrong by at most 1.6e-5 of the largest number in a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.engine.backend.packing import BLOCK, LARGEST, NOTHING
from ptylive.engine.refine.parameters import pieces as long
from ptylive.engine.refine.parameters.pieces import pieces

LONG = 1 << 22
"""Numbers from which on a vector is packed: ten pairs of shorter ones are less than what a program takes by itself."""


@dataclass(frozen=True)
class Packed:
    """A vector of n numbers in single precision, rounded."""

    numbers: Any
    """(n,) int16."""
    scales: Any
    """(n / BLOCK, rounded up) float32: what a 1 in its block stands for."""


Part = Any
"""A vector (n,), or one that is :class:`Packed`."""
Pair = tuple[Part, Part]


def kept(vector: Any, xp: Any) -> Part:
    """The vector (n,), packed where it is long and in single precision. It must be finite."""
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
    """The vector (n,) of what :func:`kept` gave: a new one where it is packed."""
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
    """Sum of products of two vectors (n,); on the processor no copy is made of packed ones."""
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
    """Vector (n,) += factor * part; on the processor no copy is made of a packed one."""
    if xp is np and isinstance(part, Packed):
        from ptylive.engine.backend import packed_vectors

        packed_vectors.add_scaled(vector, np.float32(factor), part.numbers, part.scales)
    else:
        long.add_scaled(vector, factor, whole(part, xp), xp)


def _blocks(piece: slice) -> list[tuple[slice, slice]]:
    """Parts of a piece that are whole blocks, or a shorter one at the end, each with the places of its scales."""
    end = piece.start + (piece.stop - piece.start) // BLOCK * BLOCK
    found = [(slice(piece.start, end), slice(piece.start // BLOCK, end // BLOCK))] if end > piece.start else []
    if piece.stop > end:
        found.append((slice(end, piece.stop), slice(end // BLOCK, end // BLOCK + 1)))
    return found
