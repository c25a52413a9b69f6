"""Where refinements, trials and batches requested on this page are to run."""

from __future__ import annotations

from typing import Any

from ptylive.dashboard.client.state import Place, ServerState
from ptylive.dashboard.requests import Request


class PlaceChoice:
    """One choice for the whole page among the places that the server's configuration allows; initially the server's."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._chosen = ""

    def follow(self, state: ServerState) -> None:
        """Adopt the available places; a choice that no longer exists is withdrawn."""
        self._places = state.places
        if self._chosen not in [place.name for place in self._places]:
            self._chosen = ""

    def choose(self, request: Request) -> None:
        """Choose a place; one that is not offered is ignored."""
        if request.value in [place.name for place in self._places]:
            self._chosen = request.value

    def arguments(self) -> dict[str, Any]:
        """Arguments for a command; empty if there is nothing to choose."""
        return {"place": self._name} if len(self._places) > 1 else {}

    @property
    def _name(self) -> str:
        return self._chosen or (self._places[0].name if self._places else "")

    def lists(self) -> dict[str, Any]:
        """Data for the page to draw."""
        options = [{"name": place.name, "words": place.words} for place in self._places]
        return {"places": {"options": options, "chosen": self._name}}

    def marks(self) -> dict[str, str]:
        """Whether there is a choice."""
        return {"places": "many" if len(self._places) > 1 else "one"}
