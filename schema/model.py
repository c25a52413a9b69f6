"""Base of every typed record that crosses a boundary."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex64]
IndexArray = npt.NDArray[np.int64]
LabelArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]


class Model(BaseModel):
    """Immutable; unknown keys are ignored, as the wire protocol demands (docs/protocol.md)."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False)


class StrictModel(BaseModel):
    """Immutable; unknown keys are errors. For hand-written input: configuration and presets."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)
