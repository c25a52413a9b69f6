"""What comes back from a page apart from Bokeh's widgets: keys, and the page's own small buttons and fields.

The browser is not trusted: a request that is not understood is dropped and logged.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ptylive.schema.plausible import thousands

MAX_VALUE_CHARACTERS = 16384
MAX_REQUEST_CHARACTERS = 2 * MAX_VALUE_CHARACTERS
logger = logging.getLogger(__name__)


class Request(BaseModel):
    """One request; ``what`` determines which fields are used."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    what: Literal[
        "key", "set", "estimate", "undo", "depth", "run", "compare", "withdraw", "open", "note", "detector",
        "preset", "past", "pin", "overwrite", "record", "replay", "delete", "numbers", "ready", "files", "take", "tune",
        "landscape", "batch", "together", "place", "use", "pick", "search",
        "beside", "fetch", "show_run", "contrast", "use_row", "orientations", "change_depth", "guide", "film",
        "decide", "layout", "restore", "metadata", "reset", "align", "on_screen", "end_scan",
    ]  # fmt: skip
    key: str = Field(default="", max_length=20)
    panel: int = Field(default=0, ge=0, le=12)
    name: str = Field(default="", max_length=255)  # a file name
    value: str = Field(default="", max_length=MAX_VALUE_CHARACTERS)
    numbers: list[float] = Field(default_factory=list, max_length=8)


def parse_request(content: str) -> Request | None:
    """Parse a request; return None, and write a line to the log, if it is invalid."""
    if not content or len(content) > MAX_REQUEST_CHARACTERS:
        return None
    try:
        return Request.model_validate(json.loads(content))
    except RecursionError:
        logger.warning("a request of the page was nested too deeply")
        return None
    except (ValueError, ValidationError) as error:
        logger.warning("a request of the page could not be read: %s", str(error).splitlines()[0])
        return None


class RequestDispatcher:
    """Passes every request to the handler of its kind."""

    def __init__(
        self,
        takers: Mapping[str, Callable[[Request], None]],
        may: Callable[[Request], bool] = lambda _request: True,
    ) -> None:
        self._takers, self._may = takers, may

    def take(self, content: str) -> None:
        """Handle an incoming request."""
        request = parse_request(content)
        if request is not None and not self._may(request):
            return
        if request is not None and request.what in self._takers:
            self._takers[request.what](request)
        elif request is not None:
            logger.warning("requests of kind %r are not handled", request.what)


_NUMBER = re.compile(r"[-+]?[\d.,]+")


def decimal_point(text: str) -> str:
    """A number typed with a decimal comma, with a point; commas between groups of three digits stay.

    `12,5 nm` is 12.5 nm, but `300,000` may be either: it stays as it is, which is no number.
    """
    return text if any(map(thousands, _NUMBER.findall(text))) else text.replace(",", ".")


def as_plain(text: str) -> Any:
    """Typed text as a number, a list of numbers, or the text itself."""
    cleaned = text.strip().replace("−", "-")
    parts = [part for part in cleaned.replace(";", ",").split(",") if part.strip()]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return cleaned
    return numbers[0] if len(numbers) == 1 else numbers or cleaned
