"""Kinds of values that settings of a refinement share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Auto = Literal["auto"]
Counts = Annotated[float, Field(ge=0)]
StepFactor = Annotated[float, Field(gt=0, le=2)]
Repeats = Annotated[int, Field(ge=0, le=100_000)]
Weight = Annotated[float, Field(ge=0, le=1e30)]
"""Of a regulariser, in units of the loss over all patterns."""


def listed(value: object) -> object:
    """One word or number where a list of any length is asked for: the list of it alone."""
    return (value,) if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def rows_listed(value: object) -> object:
    """One row of numbers where a list of rows is asked for: the list of it alone."""
    rows = isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(one, int | float) for one in value)
    return (value,) if rows else value
