"""Types of values that several settings of a refinement share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Auto = Literal["auto"]
Counts = Annotated[float, Field(ge=0)]
StepFactor = Annotated[float, Field(gt=0, le=2)]
Repeats = Annotated[int, Field(ge=0, le=100_000)]
Weight = Annotated[float, Field(ge=0, le=1e30)]
"""Weight of a regulariser, in units of the loss over all patterns."""


def listed(value: object) -> object:
    """Accept one word or number in place of a list: return a list of it alone."""
    return (value,) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def rows_listed(value: object) -> object:
    """Accept one row of numbers in place of a list of rows: return a list of it alone."""
    rows = isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(item, int | float) for item in value)
    return (value,) if rows else value
