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
from ptylive.dashboard.words import defocus, typeset
from ptylive.schema.advice.cannot_tell import cannot_tell_sentences
from ptylive.schema.advice.half_turn import half_turn_in
from ptylive.schema.advice.orientation import orientation_in, rivals_words
from ptylive.schema.calibration import RIVALS, Calibration, Origin, Quantity

FREE_OF_ROTATION = frozenset({"adf", "bf", "abf"})
"""Maps that are sums over the detector, which no rotation makes wrong; so are those of virtual detectors."""
BADGE, CALIBRATION_BADGE = "rotation in doubt", "calibration in doubt"
SAME_DEG = 5.0
"""Largest difference between angles of one orientation: the maps find it within a degree or two."""


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
        refinements = [each for each in (view.state.refinement, view.refinement) if each is not None]
        message = "; ".join(each.message for each in refinements if each.message and _is_of(each.uid, view.state))
        self._doubt = of_refinement(view.state, message) or of_data(checks) or of_maps(view.state) or Doubt("")

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
        return {"doubt": typeset(self._doubt.text), **badges}

    def marks(self) -> dict[str, str]:
        """Whether there is a doubt, and a click that removes it."""
        contents = {"doubt": self._doubt.text, "remedy": self._doubt.command}
        return {name: "on" if words else "off" for name, words in contents.items()}


def _is_of(uid: str | None, state: ServerState) -> bool:
    """Whether a refinement is one of the displayed scan, which its server need not say."""
    return not uid or uid == state.uid


def turns(kind: str) -> bool:
    """Whether a map depends on the rotation of the scan."""
    return kind not in FREE_OF_ROTATION and not kind.startswith("vd_")


def of_refinement(state: ServerState, message: str) -> Doubt | None:
    """Doubt if a refinement of the displayed scan found another orientation than the maps, or could not tell."""
    if state.refinement.state not in ("done", "stopped") or not _is_of(state.refinement.uid, state):
        return None
    return (
        _half_turn_doubt(state, message)
        or _orientation_doubt(state, message)
        or next((Doubt(words, badge=CALIBRATION_BADGE) for words in cannot_tell_sentences(message)), None)
    )


def _half_turn_doubt(state: ServerState, message: str) -> Doubt | None:
    found = half_turn_in(message)
    if found is None or _apart_deg(state, found[0]) < 90.0:
        return None
    (rotation_deg, c10_A), orientation = found, orientation_in(message)
    text = f"{state.refinement.run} found the other half turn: {rotation_deg:.1f}°, {defocus(c10_A)}"
    text += "; the maps show it reversed"
    transform = {} if orientation is None else {"detector_transform": orientation[0]}
    return Doubt(text, "configure", {"values": {"rotation_deg": rotation_deg, "C10": c10_A, **transform}})


def _orientation_doubt(state: ServerState, message: str) -> Doubt | None:
    found, half_turn = orientation_in(message), half_turn_in(message)
    if found is None:
        return None
    transform, rotation_deg = found[0], found[1] if half_turn is None else half_turn[0]
    if transform == (state.calibrated("detector_transform") or "none") and _apart_deg(state, rotation_deg) < SAME_DEG:
        return None
    text = f"{state.refinement.run} found another orientation: {rotation_deg:.1f}°, detector transform {transform}"
    text += "; phases of the maps are wrong"
    return Doubt(text, "configure", {"values": {"rotation_deg": rotation_deg, "detector_transform": transform}})


def _apart_deg(state: ServerState, rotation_deg: float) -> float:
    """Angle between a rotation and the one in use."""
    used = state.calibrated("rotation_deg")
    return abs((rotation_deg - float(used or 0.0) + 180.0) % 360.0 - 180.0)


def of_maps(state: ServerState) -> Doubt | None:
    """Doubt if the maps could not exclude other orientations, and no refinement has compared them."""
    if state.refinement.state == "done" and _is_of(state.refinement.uid, state):
        return None
    entry = Quantity(state.calibrated(RIVALS), Origin.ESTIMATED)
    words = rivals_words(Calibration({RIVALS: entry}).rivals)
    return Doubt(words) if words else None


def of_data(checks: Iterable[Mapping[str, Any]]) -> Doubt | None:
    """Doubt if the data contradict the values in use."""
    for check in checks:
        names = [name for name in check.get("use") or () if name in ESTIMABLE]
        if names:
            return Doubt(f"{check.get('name')} {check.get('text')}", "calibrate", {"names": names})
    return None
