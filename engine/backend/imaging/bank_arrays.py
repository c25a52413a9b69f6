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
        self._copies: dict[int, tuple[weakref.ref[Array], Any]] = {}

    def contract(self, weights: ComplexArray, planes: ComplexArray, reads: Reads, scale: float) -> ComplexArray:
        """See :class:`ptylive.engine.backend.imaging.bank.Contraction`."""
        (result,) = self._contracted(weights, planes, (reads,), scale)
        return result

    def contract_pair(
        self, weights: ComplexArray, planes: ComplexArray, reads: Reads, others: Reads, scale: float
    ) -> tuple[ComplexArray, ComplexArray]:
        """See :class:`ptylive.engine.backend.imaging.bank.Contraction`; every weight is read once."""
        first, second = self._contracted(weights, planes, (reads, others), scale)
        return first, second

    def to_host(self, planes: Any) -> ComplexArray:
        """See :class:`ptylive.engine.backend.imaging.bank.Contraction`."""
        return np.asarray(planes if isinstance(planes, np.ndarray) else self._device.to_host(planes))

    def _contracted(
        self, weights: ComplexArray, planes: Any, reads: tuple[Reads, ...], scale: float
    ) -> list[ComplexArray]:
        device, xp = self._device, self._device.xp
        on_device = planes
        if isinstance(planes, np.ndarray) and xp is not np:
            on_device = self._copy(planes, "transforms")
        count, row_bytes = len(weights), weights[:1].nbytes
        step = device.portion(3 * row_bytes, "frequencies of a filter")  # weights, what they meet, room for a sum
        outs = [xp.empty(count, np.complex64) for _ in reads]
        stored = self._weights_on_device(weights)
        device_reads = [
            (self._copy(index, "a filter's frequencies"), self._copy(sign, "their signs")) for index, sign in reads
        ]
        for first in range(0, count, step):
            part = slice(first, first + step)
            w = xp.asarray(weights[part]) if stored is None else stored[part]
            for out, (index, sign) in zip(outs, device_reads, strict=True):
                read = on_device[index[part]]
                imaginary = read.imag
                xp.multiply(imaginary, sign[part, None], out=imaginary)
                xp.multiply(read, w, out=read)
                out[part] = read.sum(axis=1) * np.float32(scale)
        return [device.to_host(out) for out in outs]

    def _weights_on_device(self, weights: ComplexArray) -> Any:
        """Return weights on the device, or None if they would take too much of its memory."""
        stored = self._stored(weights)
        if stored is None and weights.nbytes > KEPT_SHARE * self._device.free_bytes():
            return None
        return self._copy(weights, "filters") if stored is None else stored

    def _copy(self, array: Array, what: str) -> Any:
        """Return a copy on the device, kept for as long as the host's array lives."""
        stored = self._stored(array)
        if stored is not None:
            return stored
        self._device.check_room(array.nbytes, what)
        copied, key, copies = self._device.xp.asarray(array), id(array), self._copies
        copies[key] = (weakref.ref(array, lambda _gone: copies.pop(key, None)), copied)
        return copied

    def _stored(self, array: Array) -> Any:
        entry = self._copies.get(id(array))
        return entry[1] if entry is not None and entry[0]() is array else None
