"""Contradictions of the values in use by data or a refinement, each with a click that adopts the other value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders
from ptylive.dashboard.client.state import ServerState
from ptylive.dashboard.panels.calibration import ESTIMABLE
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import defocus
from ptylive.schema.advice.cannot_tell import heard_cannot_tell
from ptylive.schema.advice.half_turn import heard_half_turn

FREE_OF_ROTATION = frozenset({"adf", "bf", "abf"})
"""Maps that are sums over the detector, which no rotation makes wrong; so are those of virtual detectors."""
BADGE, UNTOLD = "rotation in doubt", "calibration in doubt"


@dataclass(frozen=True)
class Doubt:
    """A sentence, and what the click sends: a command with its arguments."""

    text: str
    command: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    badge: str = BADGE
    """Badge of maps that depend on the rotation."""


class Doubts:
    """The first relevant doubt about the newest scan; ``checks`` gives the findings of `check`."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._doubt = Doubt("")

    def follow(self, view: FeedView, checks: Iterable[Mapping[str, Any]]) -> None:
        """Check what contradicts the values in use."""
        messages = [view.state.refinement.message, None if view.refinement is None else view.refinement.message]
        message = " ".join(filter(None, messages))
        self._doubt = of_refinement(view.state, message) or of_data(checks) or Doubt("")

    def use(self, _request: Request) -> None:
        """Adopt the contradicting values."""
        if self._doubt.command:
            self._orders.send(self._doubt.command, "values adopted; undo reverts them", **self._doubt.arguments)

    def texts(self, kinds: Iterable[str], otherwise: Callable[[str], str] = lambda _kind: "") -> dict[str, str]:
        """The sentence, and a badge for each panel whose map (``kinds``, in their order) depends on the rotation.

        ``otherwise``: badges of maps without this one.
        """
        doubted = bool(self._doubt.text)
        badges = {
            f"map_{i}_badge": self._doubt.badge if doubted and turns(kind) else otherwise(kind)
            for i, kind in enumerate(kinds)
        }
        return {"doubt": self._doubt.text, **badges}

    def marks(self) -> dict[str, str]:
        """Whether there is a doubt, and a click that removes it."""
        contents = {"doubt": self._doubt.text, "remedy": self._doubt.command}
        return {name: "on" if words else "off" for name, words in contents.items()}


def turns(kind: str) -> bool:
    """Whether a map depends on the rotation of the scan."""
    return kind not in FREE_OF_ROTATION and not kind.startswith("vd_")


def of_refinement(state: ServerState, message: str) -> Doubt | None:
    """Doubt if a refinement of the displayed scan found the other half turn than the maps, or could not tell."""
    if state.refinement.state not in ("done", "stopped"):
        return None
    return _half_turn_doubt(state, message) or next(
        (Doubt(words, badge=UNTOLD) for words in heard_cannot_tell(message)), None
    )


def _half_turn_doubt(state: ServerState, message: str) -> Doubt | None:
    found, used = heard_half_turn(message), state.calibrated("rotation_deg")
    if found is None:
        return None
    rotation_deg, c10_A = found
    difference_deg = abs((rotation_deg - float(used or 0.0) + 180.0) % 360.0 - 180.0)
    if difference_deg < 90.0:
        return None
    text = f"{state.refinement.run} found the other half turn: {rotation_deg:.1f}°, {defocus(c10_A)}"
    text += "; the maps show it reversed"
    return Doubt(text, "configure", {"values": {"rotation_deg": rotation_deg, "C10": c10_A}})


def of_data(checks: Iterable[Mapping[str, Any]]) -> Doubt | None:
    """Doubt if the data contradict the values in use."""
    for check in checks:
        names = [name for name in check.get("use") or () if name in ESTIMABLE]
        if names:
            return Doubt(f"{check.get('name')} {check.get('text')}", "calibrate", {"names": names})
    return None
