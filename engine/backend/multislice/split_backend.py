"""Several GPUs: each has a share of the patterns, the first one also the parameters and the sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.problem import (
    HELD,
    Corrections,
    LossGradient,
    MultisliceBackend,
    MultisliceProblem,
)
from ptylive.schema.model import Array, IndexArray


class SplitMultislice:
    """:class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend` composed of one backend per device.

    Pattern n belongs to device n modulo the number of devices, so that every mini-batch is distributed about evenly.
    Launches do not wait: all devices are busy before the first result is fetched.
    """

    def __init__(
        self,
        problem: MultisliceProblem,
        devices: Sequence[AbstractContextManager[Any]],
        open_share: Callable[[MultisliceProblem], MultisliceBackend],
    ) -> None:
        self._count, self._devices = problem.count, tuple(devices)
        self._backends: list[MultisliceBackend] = []
        for number, device in enumerate(self._devices):
            with device:
                self._backends.append(open_share(problem.part(self._device_patterns(number))))
        self.xp: ModuleType = self._backends[0].xp
        self.name = f"{self._backends[0].name} x {len(self._devices)}"

    def loss_and_gradient(
        self,
        object_planes: Any,
        probe_planes: Any,
        indices: IndexArray | None = None,
        *,
        probe_gradient: bool = True,
        corrections: Corrections = HELD,
    ) -> LossGradient:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        xp, parts = self.xp, []
        for number, share in self._shares(indices):
            with self._devices[number]:
                result = self._backends[number].loss_and_gradient(
                    xp.asarray(object_planes),
                    xp.asarray(probe_planes),
                    share,
                    probe_gradient=probe_gradient,
                    corrections=corrections.of_patterns(self._device_patterns(number), xp),
                )
            parts.append((number, result))
        with self._devices[0]:
            fetched = [self._fetched(number, result) for number, result in parts]
            total = fetched[0]
            for part in fetched[1:]:
                total = total + part
        return total

    def illumination(self, probe_planes: Any, indices: IndexArray | None = None) -> Any:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        parts = []
        for number, share in self._shares(indices):
            with self._devices[number]:
                parts.append(self._backends[number].illumination(self.xp.asarray(probe_planes), share))
        with self._devices[0]:
            return sum(self.xp.asarray(part) for part in parts)

    def to_numpy(self, array: Any) -> Array:
        """See :class:`~ptylive.engine.backend.multislice.problem.MultisliceBackend`."""
        return self._backends[0].to_numpy(array)

    def close(self) -> None:
        """Close the backends of all devices."""
        for device, backend in zip(self._devices, self._backends, strict=True):
            with device:
                backend.close()

    def _shares(self, indices: IndexArray | None) -> list[tuple[int, IndexArray]]:
        """The devices that have patterns to evaluate, each with those patterns' numbers within its share."""
        chosen = np.arange(self._count) if indices is None else np.asarray(indices)
        devices = len(self._devices)
        shares = [(number, chosen[chosen % devices == number] // devices) for number in range(devices)]
        return [(number, share) for number, share in shares if len(share)]

    def _device_patterns(self, number: int) -> slice:
        """The numbers of a device's patterns among all patterns."""
        return slice(number, None, len(self._devices))

    def _fetched(self, number: int, result: LossGradient) -> LossGradient:
        """A share's result on the first device, with per-pattern gradients at their places among all patterns."""
        loss, planes, probe = (self.xp.asarray(value) for value in (result.loss, result.object, result.probe))
        return LossGradient(
            loss, planes, probe, result.corrections.among_all(self._device_patterns(number), self._count, self.xp)
        )
