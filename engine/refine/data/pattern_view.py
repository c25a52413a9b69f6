"""Patterns that are read on demand, from a file or in another order, without a copy in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from ptylive.schema.model import Array, IndexArray


class PatternView:
    """Replaces an array (N, Qy, Qx) of patterns where only its first axis is indexed."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any], read: Callable[[IndexArray], Array]) -> None:
        self.shape, self.dtype = shape, dtype
        self._read = read

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Total number of pixels."""
        return int(np.prod(self.shape))

    def __getitem__(self, chosen: Any) -> Array:
        return self._read(np.arange(len(self))[chosen])

    def as_array(self) -> Array:
        """Return itself, under the type that a data set declares."""
        return cast(Array, self)


def shuffled(patterns: Array, order: IndexArray) -> PatternView:
    """The patterns (N, Qy, Qx) in the order of the numbers ``order`` (N,)."""
    shape = (len(order), int(patterns.shape[1]), int(patterns.shape[2]))
    return PatternView(shape, patterns.dtype, lambda index: patterns[order[index]])


def transposed(patterns: Array) -> Array:
    """The patterns (N, Qx, Qy) with rows and columns exchanged; those of a view are exchanged on reading."""
    if not isinstance(patterns, PatternView):
        return patterns.swapaxes(-1, -2)
    count, rows, columns = patterns.shape
    return PatternView(
        (count, columns, rows), patterns.dtype, lambda index: patterns[index].swapaxes(-1, -2)
    ).as_array()
