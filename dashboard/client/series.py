"""Replies about work of many jobs, as the dashboard reads them: typed, and forgiving about what is missing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from ptylive.dashboard.client.state import Message

logger = logging.getLogger(__name__)


class VariedValue(Message):
    """One of the values that trials vary."""

    name: str
    title: str = ""
    unit: str = ""

    @property
    def label(self) -> str:
        """For an axis or a column."""
        return f"{self.title or self.name} / {self.unit}" if self.unit else self.title or self.name


class Trial(Message):
    """A trial that has ended; ``values`` in the order of those that are varied."""

    number: int
    state: str = ""
    values: list[Any] = Field(default_factory=list)
    loss: float | None = None
    seconds: float = 0.0
    reason: str = ""


class Estimate(Message):
    """What trials tell of a value."""

    name: str
    sentence: str = ""
    told: bool = False


class TuneReply(Message):
    """Of `tune_status` (docs/protocol.md)."""

    state: str = "none"
    message: str = ""
    other: str = ""
    """The scan that is being tuned, where that is not the one that is shown."""
    place: str = ""
    wanted: int = 0
    ended: int = 0
    under_way: int = 0
    asked: dict[str, Any] = Field(default_factory=dict)
    values: list[VariedValue] = Field(default_factory=list)
    trials: list[Trial] = Field(default_factory=list)
    curves: list[dict[str, Any]] = Field(default_factory=list)
    sentences: list[str] = Field(default_factory=list)
    estimates: list[Estimate] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    corrections: dict[str, Any] = Field(default_factory=dict)


class BatchRow(Message):
    """A scan of a batch."""

    recording: str
    state: str = ""
    doing: str = ""
    reason: str = ""
    remarks: list[str] = Field(default_factory=list)
    epoch: int = 0
    loss: float | None = None
    seconds: float = 0.0


class BatchReply(Message):
    """Of `batch_status` (docs/protocol.md)."""

    state: str = "none"
    message: str = ""
    place: str = ""
    rows: list[BatchRow] = Field(default_factory=list)


Reply = TypeVar("Reply", bound=Message)


def understood(kind: type[Reply], plain: Mapping[str, Any]) -> Reply:
    """A reply, or one that says nothing, and a line in the log, where it is not understood."""
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        logger.warning("a reply was not understood: %s", error.errors()[0]["msg"])
        return kind()
