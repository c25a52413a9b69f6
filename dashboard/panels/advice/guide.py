"""Four steps through the demo scan, each done when the page has seen it happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptylive.dashboard.client.state import FINAL_STATES, ServerState
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen, Takers
from ptylive.dashboard.requests import Request

STEPS = (
    ("The scan arrives", "Maps appear row by row; parts not scanned yet are dark green."),
    ("Look at a pattern", "Click a map: Diffraction shows the pattern of that point. Alt and the arrows move it."),
    ("Change the defocus", "✎ next to defocus, 10 nm, Enter: the maps follow. undo restores the sent value."),
    ("Refine", "Press Refine this scan. Thickness, probe modes and the rest are found from the data."),
)


class Guide(Quiet):
    """Shown once the demo has been requested; ``picked``: whether a point is marked."""

    def __init__(self, picked: Callable[[], bool]) -> None:
        self._picked = picked
        self._on = False
        self._uid: str | None = None
        self._of: str | None = None
        """Scan whose defocus at its end is kept."""
        self._defocus: Any = None
        self._done = [False] * len(STEPS)

    def begin(self, state: ServerState) -> None:
        """Start the guide; the scan on display at this moment is not the demo."""
        self._on, self._uid, self._done = True, state.uid, [False] * len(STEPS)
        self._of, self._defocus = None, None

    def follow(self, seen: Seen) -> None:
        """Check which steps have been done, on the scan that arrived after the start."""
        state = seen.view.state
        if not self._on or state.uid == self._uid:
            return
        ended = state.state in FINAL_STATES
        defocus = state.calibrated("C10")
        if ended and state.uid != self._of:
            self._of, self._defocus = state.uid, defocus
        happened = (
            ended,
            self._picked(),
            state.uid == self._of and defocus != self._defocus,
            state.refinement.state == "done",
        )
        self._done = [done_before or done_now for done_before, done_now in zip(self._done, happened, strict=True)]

    def close(self, _request: Request) -> None:
        """End the guide."""
        self._on = False

    def lists(self) -> Mapping[str, Any]:
        """Data for the page to draw; empty when the guide is off."""
        if not self._on:
            return {"guide": []}
        current = self._done.index(False) if False in self._done else len(STEPS)
        return {
            "guide": [
                {"title": title, "text": text, "state": "done" if self._done[i] else "now" if i == current else "later"}
                for i, (title, text) in enumerate(STEPS)
            ]
        }

    def takers(self) -> Takers:
        """Handler of its ✕."""
        return {"guide": self.close}
