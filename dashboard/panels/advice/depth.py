"""The specimen thickness that a refinement found, reported before its first epoch, with a click to change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ptylive.dashboard.panels.advice.advisor import Quiet, Seen, Takers
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import number
from ptylive.schema.advice.depth import FoundDepth

IDLE = ("none", "queued")


class DepthAdvice(Quiet):
    """Reports the thickness; ``take_over`` puts settings into the refine form and shows it."""

    def __init__(self, take_over: Callable[[dict[str, Any]], None]) -> None:
        self._take_over = take_over
        self._found: FoundDepth | None = None

    def follow(self, seen: Seen) -> None:
        """Read the thickness from the refinement of the displayed scan."""
        refinement, state = seen.view.refinement, seen.view.state
        of_other_scan = refinement is not None and bool(refinement.uid) and refinement.uid != state.uid
        if of_other_scan or state.refinement.state in IDLE or seen.looking_back:
            self._found = None
            return
        words = [state.refinement.message, None if refinement is None else refinement.message]
        self._found = FoundDepth.heard(" ; ".join(filter(None, words)))

    def texts(self) -> Mapping[str, str]:
        """The sentence; empty if no thickness was found."""
        found = self._found
        if found is None:
            return {"depth_found": ""}
        slices = f"{found.slices} slices of {number(found.thickness_A / found.slices, 2)}\N{NO-BREAK SPACE}Å"
        ends = f"{found.thinnest_A:.3g} to {found.thickest_A:.3g}\N{NO-BREAK SPACE}Å"
        return {"depth_found": f"thickness {ends}: {slices}"}

    def marks(self) -> Mapping[str, str]:
        """Whether there is something to change."""
        return {"depth_found": "off" if self._found is None else "on"}

    def change(self, _request: Request) -> None:
        """Put the thickness found into the form, to be changed."""
        if self._found is not None:
            slices, thickness_A = self._found.slices, round(self._found.thickness_A, 1)
            self._take_over({"num_slices": slices, "total_thickness_A": thickness_A})

    def takers(self) -> Takers:
        """Handler of a click on *change*."""
        return {"change_depth": self.change}
