"""Contraction of the filter bank: interface and compiled loops; whole arrays of a GPU are in :mod:`bank_arrays`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ptylive.schema.model import ComplexArray, FloatArray, IndexArray

Reads = tuple[IndexArray, FloatArray]
"""Plane that each frequency reads (nb,), and the sign (nb,) of the imaginary part."""
WORTH_SHARING = 4096
"""Least number of frequencies worth waking another thread."""


class Helpers(Protocol):
    """Threads that share the pieces of a range."""

    def split(self, items: int, work: Callable[[int, int, int], None], *, least: int = 1) -> None:
        """Call work(thread, start, stop) for pieces of range(items), and wait for all of them."""
        ...


class Contraction(Protocol):
    """sum_n weights[q, n] planes[reads[q], n] for all frequencies of a filter."""

    def contract(self, weights: ComplexArray, planes: ComplexArray, reads: Reads, scale: float) -> ComplexArray:
        """Contract weights (nb, N) with planes (frequencies, N) to (nb,) complex64."""
        ...

    def contract_pair(
        self, weights: ComplexArray, planes: ComplexArray, reads: Reads, others: Reads, scale: float
    ) -> tuple[ComplexArray, ComplexArray]:
        """Contract with two different ways of reading the planes."""
        ...

    def to_host(self, planes: ComplexArray) -> ComplexArray:
        """Return planes in the memory of the processor."""
        ...


class CompiledContraction:
    """Contraction by compiled loops; ``helpers`` share the frequencies, otherwise the caller's thread does all."""

    def __init__(self, helpers: Helpers | None = None) -> None:
        self._helpers = helpers

    def contract(self, weights: ComplexArray, planes: ComplexArray, reads: Reads, scale: float) -> ComplexArray:
        """See :class:`Contraction`."""
        from ptylive.engine.backend.imaging.bank_numba import contract

        out = np.empty(len(weights), dtype=np.complex64)

        def work(_lane: int, start: int, stop: int) -> None:
            part = slice(start, stop)
            contract(weights[part], planes, reads[0][part], reads[1][part], np.float32(scale), out[part])

        self._share(len(weights), work)
        return out

    def contract_pair(
        self, weights: ComplexArray, planes: ComplexArray, reads: Reads, others: Reads, scale: float
    ) -> tuple[ComplexArray, ComplexArray]:
        """See :class:`Contraction`; every weight is read once."""
        from ptylive.engine.backend.imaging.bank_numba import contract_pair

        out, other_out = np.empty(len(weights), dtype=np.complex64), np.empty(len(weights), dtype=np.complex64)

        def work(_lane: int, start: int, stop: int) -> None:
            part = slice(start, stop)
            both_reads = (reads[0][part], reads[1][part], others[0][part], others[1][part])
            contract_pair(weights[part], planes, *both_reads, np.float32(scale), out[part], other_out[part])

        self._share(len(weights), work)
        return out, other_out

    def to_host(self, planes: ComplexArray) -> ComplexArray:
        """See :class:`Contraction`; they are there already."""
        return planes

    def _share(self, frequencies: int, work: Callable[[int, int, int], None]) -> None:
        if self._helpers is None:
            work(0, 0, frequencies)
        else:
            self._helpers.split(frequencies, work, least=WORTH_SHARING)
