"""Row transforms on a GPU: coefficients are copied there once, transforms stay there."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptylive.engine.backend.device import ArrayDevice
from ptylive.engine.backend.imaging.transform_arrays import ArrayTransforms
from ptylive.engine.imaging.accumulation.rows import RowTransforms
from ptylive.schema.model import DoubleArray, FloatArray, IndexArray


class DeviceRows(RowTransforms):
    """Row transforms as in :class:`RowTransforms`; ``planes`` are an array of the device."""

    def __init__(self, device: ArrayDevice) -> None:
        super().__init__()
        self._device = device
        self._arrays: ArrayTransforms | None = None

    def _make_room(self, shape: tuple[int, int, int], padded: tuple[int, int]) -> None:
        """Raises NoRoom if they do not fit on the device."""
        self._arrays = None  # released before more is allocated
        self._arrays = ArrayTransforms(self._device, shape, padded)

    def _rows_at_a_time(self, columns: int) -> int:
        return self._transforms.rows_at_a_time(columns)

    def _put(self, rows: IndexArray, values: FloatArray) -> None:
        self._transforms.transform(rows, values)

    def _total(self) -> DoubleArray:
        return self._transforms.total()

    def planes(self, mean: DoubleArray, visited: FloatArray) -> Any:
        """See :meth:`RowTransforms.planes`."""
        return self._transforms.planes(mean.astype(np.float32) - self._reference, visited)

    @property
    def _transforms(self) -> ArrayTransforms:
        assert self._arrays is not None  # noqa: S101  (update comes first)
        return self._arrays
