"""The eight relative orientations of scan and detector as small pictures, the likeliest first."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen, Takers
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import AS_RECORDED
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.snapshot import draw, png
from ptylive.server.wire.messages import array_from_plain

MOST = 8
UNDECIDED_CURL = 0.2
"""Curl of the likeliest orientation above which the centre of mass does not distinguish the orientations."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Orientation:
    """One of the orientations, as displayed."""

    rotation_deg: float
    transform: str
    curl: float
    in_use: bool
    picture: str
    """Address of the picture's data."""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Orientation:
        """Parse an orientation in the reply of the command. Raises KeyError, TypeError, ValueError if it is invalid."""
        shades = array_from_plain(plain["picture"]).astype(np.float32)
        drawn = png(draw(shades, ColourMap.MAGMA, limits=(1.0, 255.0), least_side=1))
        return cls(
            float(plain["rotation_deg"]),
            str(plain["detector_transform"]),
            float(plain["curl"]),
            bool(plain.get("in_use")),
            "data:image/png;base64," + base64.b64encode(drawn).decode(),
        )

    @property
    def text(self) -> str:
        """Caption below the picture."""
        turned = AS_RECORDED if self.transform == "none" else self.transform.replace("_", " ").replace("+", " + ")
        return f"{self.rotation_deg:.1f}°, {turned}; curl {100 * self.curl:.0f} %".replace("-", "−")


class OrientationChoice(Quiet):
    """Requests the orientations when opened, and applies the one that is clicked to the scan."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._uid: str | None = None
        self._open = False
        self._message = ""
        self._orientations: list[Orientation] = []

    def follow(self, seen: Seen) -> None:
        """Close the dialog when another scan is displayed."""
        if seen.view.state.uid != self._uid or seen.looking_back:
            self._uid = seen.view.state.uid
            self._close()

    def ask(self, request: Request) -> None:
        """Open or close the dialog, or use one of the orientations."""
        if request.key == "use":
            self._use(request)
        elif self._open or request.key == "close":
            self._close()
        else:
            self._open, self._message, self._orientations = True, "…", []
            uid = self._uid
            self._orders.ask("orientations", lambda reply: self._take(reply, uid), on_refusal=self._refused)

    def _close(self) -> None:
        self._open, self._message, self._orientations = False, "", []

    def _refused(self, line: str) -> None:
        self._message = line

    def _take(self, reply: Reply, uid: str | None) -> None:
        if not self._open or uid != self._uid:
            return
        try:
            orientations = [Orientation.of(plain) for plain in list(reply["orientations"])[:MOST]]
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("orientations could not be read: %s", error)
            self._message = "the answer could not be read"
            return
        if not orientations:
            self._message = "too few points, or no scan step, to distinguish orientations"
            return
        certain = orientations[0].curl < UNDECIDED_CURL
        self._message = (
            "the first has the least curl; of two that differ by half a turn, atoms are bright in the first"
            if certain
            else "the centre of mass does not distinguish them: choose by what you know about the specimen"
        )
        self._orientations = orientations

    def _use(self, request: Request) -> None:
        index = int(request.numbers[0]) if len(request.numbers) == 1 else -1
        if not 0 <= index < len(self._orientations):
            return
        orientation = self._orientations[index]
        values = {"rotation_deg": round(orientation.rotation_deg, 3), "detector_transform": orientation.transform}
        self._orders.send("configure", f"orientation: {orientation.text}; undo reverts it", values=values)
        self._close()

    def lists(self) -> Mapping[str, Any]:
        """Data for the page to draw."""
        orientations = [
            {"src": orientation.picture, "text": orientation.text, "in_use": orientation.in_use}
            for orientation in self._orientations
        ]
        return {"orientations": {"open": self._open, "said": self._message, "ways": orientations}}

    def takers(self) -> Takers:
        """Handlers of clicks in the dialog."""
        return {"orientations": self.ask}
