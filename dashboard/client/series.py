"""Replies about work with many jobs, as the dashboard reads them: typed, and tolerant of missing fields."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from ptylive.dashboard.client.state import Message

logger = logging.getLogger(__name__)


class VariedValue(Message):
    """A value that trials vary."""

    name: str
    title: str = ""
    unit: str = ""

    @property
    def label(self) -> str:
        """Label for an axis or a column."""
        return f"{self.title or self.name} / {self.unit}" if self.unit else self.title or self.name


class Trial(Message):
    """A finished trial; ``values`` in the order of the varied values."""

    number: int
    state: str = ""
    values: list[Any] = Field(default_factory=list)
    loss: float | None = None
    seconds: float = 0.0
    reason: str = ""


class Estimate(Message):
    """What trials reveal about a value."""

    name: str
    sentence: str = ""
    told: bool = False


class TuneReply(Message):
    """Reply to `tune_status` (docs/protocol.md)."""

    state: str = "none"
    message: str = ""
    other: str = ""
    """The scan that is being tuned, if it is not the displayed one."""
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
    """One scan of a batch."""

    recording: str
    state: str = ""
    doing: str = ""
    reason: str = ""
    remarks: list[str] = Field(default_factory=list)
    epoch: int = 0
    loss: float | None = None
    seconds: float = 0.0


class BatchReply(Message):
    """Reply to `batch_status` (docs/protocol.md)."""

    state: str = "none"
    message: str = ""
    place: str = ""
    rows: list[BatchRow] = Field(default_factory=list)


Reply = TypeVar("Reply", bound=Message)


def understood(kind: type[Reply], plain: Mapping[str, Any]) -> Reply:
    """Parse a reply; if it is invalid, return an empty reply and write a line to the log."""
    try:
        return kind.model_validate(plain)
    except ValidationError as error:
        logger.warning("a reply could not be read: %s", error.errors()[0]["msg"])
        return kind()
