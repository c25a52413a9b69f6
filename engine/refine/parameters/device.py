"""Copy constant arrays of a refinement to the device once, instead of at every evaluation."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import numpy as np

Part = TypeVar("Part")


def on_device(part: Part, xp: Any) -> Part:
    """Return ``part`` with every array in it, also within dataclasses and tuples, in the module ``xp``."""
    moved: Any = part
    if isinstance(part, np.ndarray):
        moved = xp.asarray(part)
    elif isinstance(part, tuple):
        moved = tuple(on_device(each, xp) for each in part)
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        moved = dataclasses.replace(part, **{name: on_device(value, xp) for name, value in values.items()})
    return moved  # type: ignore[no-any-return]
