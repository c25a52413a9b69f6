"""Shifts of the images formed by parts of the bright field (parallax): the controls, the picture, the result."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import Any

from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import CalibrationEntry
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen, Takers
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import UNKNOWN, number
from ptylive.server.wire.messages import array_from_plain

logger = logging.getLogger(__name__)
HEAD = ["", "found", "standard error", "π/4 at the rim", "in use"]
INTRODUCTION = "shifts between images from parts of the bright field, and the aberrations that explain them"


class AlignmentPanel(Quiet):
    """Aligns on request, and applies the result to the scan when that is clicked."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._uid: str | None = None
        self._open = False
        self._in_use: Mapping[str, CalibrationEntry] = {}
        self._clear("")

    def _clear(self, message: str) -> None:
        self._message, self._picture = message, ""
        self._rows: list[list[str]] = []
        self._values: dict[str, float] = {}

    def follow(self, seen: Seen) -> None:
        """Discard the results when another scan is displayed."""
        self._in_use = seen.view.state.calibration
        if seen.view.state.uid != self._uid or seen.looking_back:
            self._uid, self._open = seen.view.state.uid, False
            self._clear("")

    def ask(self, request: Request) -> None:
        """Open or close the dialog, align, or use the result."""
        if request.key == "run" and self._open:
            self._align(request)
        elif request.key == "use" and self._values:
            text = "aberrations and rotation set from the aligned images; undo reverts them"
            self._orders.send("configure", text, values=self._values)
            self._open = False
        elif request.key in ("open", "close"):
            self._open = request.key == "open"
            if not self._rows:
                self._message = INTRODUCTION

    def _align(self, request: Request) -> None:
        """``name``: the reference; ``numbers``: bin in pixels (0: automatic), order, rounds, 1 to search anywhere."""
        if len(request.numbers) != 4:
            return
        bin_px, order, rounds, free = request.numbers
        self._clear("…")
        uid = self._uid
        self._orders.ask(
            "align",
            lambda reply: self._take(reply, uid),
            on_refusal=self._clear,
            bin_px=bin_px or None,
            order=int(order),
            rounds=int(rounds),
            reference=request.name,
            free=bool(free),
        )

    def _take(self, reply: Reply, uid: str | None) -> None:
        if uid != self._uid:
            return
        try:
            picture = base64.b64encode(array_from_plain(reply["png"]).tobytes()).decode()
            rows = [[*_row(name, entry), self._used(name)] for name, entry in reply["aberrations"].items()]
            values = {str(name): float(value) for name, value in reply["values"].items()}
            turn, error = (float(reply[name]) for name in ("rotation_deg", "rotation_error_deg"))
            message = f"{int(reply['bins'])} bins; correlation of images {float(reply['correlation']):.2f}, "
            message += f"shifts left unexplained: {number(float(reply['left_A']))} Å"
            message += f". {reply['doubt']}" if reply.get("doubt") else ""
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            logger.warning("an alignment could not be read: %s", problem)
            self._clear("the answer could not be read")
            return
        forced = "given" if error == 0 else f"± {error:.2f}°"
        turned = ["rotation", f"{turn:.2f}°".replace("-", "−"), forced, "", self._used("rotation_deg", "°")]
        self._rows = [HEAD, *rows, turned]
        self._message, self._values, self._picture = message, values, f"data:image/png;base64,{picture}"

    def _used(self, name: str, unit: str = " Å") -> str:
        """A value as the maps currently use it, for comparison before it is replaced."""
        entry = self._in_use.get(name)
        known = entry is not None and isinstance(entry.value, int | float)
        return f"{number(float(entry.value))}{unit}" if entry is not None and known else UNKNOWN

    def lists(self) -> Mapping[str, Any]:
        """Data for the page to draw."""
        content = {"open": self._open, "said": self._message, "rows": self._rows, "src": self._picture}
        return {"alignment": content}

    def takers(self) -> Takers:
        """Handlers of clicks in the dialog."""
        return {"align": self.ask}


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    """Name, value, standard error, and the amount that gives a phase of a quarter of pi at the rim."""
    value, error, limit = (number(float(entry[key])) for key in ("value_A", "error_A", "limit_A"))
    return [name, f"{value} Å", f"± {error} Å", f"{limit} Å"]
