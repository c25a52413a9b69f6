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
