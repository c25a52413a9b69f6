"""The filter bank's contraction on whole arrays of a device: GPU counterpart of :mod:`bank_numba`, single precision.

Filters stay on the device as long as they are in use and fit; planes already on the device stay there
(:mod:`transform_arrays`). One number per frequency is copied back.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.bank import Reads
from ptylive.schema.model import Array, ComplexArray

KEPT_SHARE = 0.5
"""Share of the free memory above which filters are sent again for every refresh, in portions."""


class ArrayContraction:
    """See :class:`ptylive.engine.backend.imaging.bank.Contraction`; planes may be on the device or on the host."""

    def __init__(self, device: ArrayDevice) -> None:
        self._device = device
        self._kept: dict[int, tuple[weakref.ref[Array], Any]] = {}

    def contract(self, weights: ComplexArray, planes: ComplexArray, reads: Reads, scale: float) -> ComplexArray:
        """See :class:`ptylive.engine.backend.imaging.bank.Contraction`."""
        (found,) = self._contracted(weights, planes, (reads,), scale)
        return found

    def contract_pair(
        self, weights: ComplexArray, planes: ComplexArray, reads: Reads, others: Reads, scale: float
    ) -> tuple[ComplexArray, ComplexArray]:
        """See :class:`ptylive.engine.backend.imaging.bank.Contraction`; every weight is read once."""
        found, other = self._contracted(weights, planes, (reads, others), scale)
        return found, other

    def _contracted(
        self, weights: ComplexArray, planes: Any, ways: tuple[Reads, ...], scale: float
    ) -> list[ComplexArray]:
        device, xp = self._device, self._device.xp
        there = planes
        if isinstance(planes, np.ndarray) and xp is not np:
            there = self._copy(planes, "transforms")
        count, row_bytes = len(weights), weights[:1].nbytes
        step = device.portion(3 * row_bytes, "frequencies of a filter")  # weights, what they meet, room for a sum
        outs = [xp.empty(count, np.complex64) for _ in ways]
        kept = self._kept_weights(weights)
        where = [(self._copy(index, "a filter's frequencies"), self._copy(sign, "their signs")) for index, sign in ways]
        for first in range(0, count, step):
            part = slice(first, first + step)
            w = xp.asarray(weights[part]) if kept is None else kept[part]
            for out, (index, sign) in zip(outs, where, strict=True):
                read = there[index[part]]
                imaginary = read.imag
                xp.multiply(imaginary, sign[part, None], out=imaginary)
                xp.multiply(read, w, out=read)
                out[part] = read.sum(axis=1) * np.float32(scale)
        return [device.to_host(out) for out in outs]

    def _kept_weights(self, weights: ComplexArray) -> Any:
        """Return weights on the device, or None if they would take too much of its memory."""
        known = self._known(weights)
        if known is None and weights.nbytes > KEPT_SHARE * self._device.free_bytes():
            return None
        return self._copy(weights, "filters") if known is None else known

    def _copy(self, array: Array, what: str) -> Any:
        """Return a copy on the device, kept for as long as the host's array lives."""
        known = self._known(array)
        if known is not None:
            return known
        self._device.check_room(array.nbytes, what)
        made, key, kept = self._device.xp.asarray(array), id(array), self._kept
        kept[key] = (weakref.ref(array, lambda _gone: kept.pop(key, None)), made)
        return made

    def _known(self, array: Array) -> Any:
        found = self._kept.get(id(array))
        return found[1] if found is not None and found[0]() is array else None
